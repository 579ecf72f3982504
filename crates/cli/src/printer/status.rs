//! The one line at the bottom of standard error that changes: what is going on, and since when.
//!
//! Every other write to standard error first takes this line away and puts it back after, so the two never mix.

use std::io::Write;
use std::time::{Duration, Instant};

use super::style::Paint;
use crate::render::duration;
use crate::sanitize;

/// How often the line changes.
pub const TICK: Duration = Duration::from_millis(120);

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const CLEAR: &[u8] = b"\r\x1b[2K";
/// Longer ones would wrap on a terminal of the usual width, and a wrapped line cannot be taken away.
const WIDTH: usize = 76;

/// Standard error with its changing line.
pub(super) struct StatusStream {
    sink: Box<dyn Write + Send>,
    paint: Paint,
    shown: bool,
    what: Option<(String, Instant)>,
    frame: usize,
}

impl StatusStream {
    pub(super) fn new(sink: Box<dyn Write + Send>, paint: Paint) -> Self {
        Self {
            sink,
            paint,
            shown: false,
            what: None,
            frame: 0,
        }
    }

    /// Writes above the line. What cannot be written to standard error can be told nowhere, so errors end here.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.clear();
        let _ = self.sink.write_all(bytes);
        let _ = self.sink.flush();
    }

    /// Says what goes on from now; the clock starts again when it is something else.
    pub(super) fn set(&mut self, what: Option<&str>) {
        match what {
            None => {
                self.what = None;
                self.clear();
            }
            Some(text) if self.what.as_ref().is_none_or(|(known, _)| known != text) => {
                self.what = Some((text.to_owned(), Instant::now()));
                self.draw();
            }
            Some(_) => {}
        }
    }

    /// The next picture.
    pub(super) fn tick(&mut self) {
        self.frame = (self.frame + 1) % FRAMES.len();
        self.draw();
    }

    fn draw(&mut self) {
        let Some((what, since)) = &self.what else { return };
        let clock = duration(since.elapsed());
        let text = sanitize::one_line(what);
        let text = sanitize::shorten(&text, WIDTH);
        let line = self
            .paint
            .dim(format_args!("{} {text} {clock}", FRAMES[self.frame]));
        let _ = self.sink.write_all(CLEAR);
        let _ = self.sink.write_all(line.as_bytes());
        let _ = self.sink.flush();
        self.shown = true;
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = self.sink.write_all(CLEAR);
            let _ = self.sink.flush();
        }
    }
}
