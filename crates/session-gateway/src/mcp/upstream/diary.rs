//! What a server writes to its standard error: always read, kept in a bounded file, and its last words for people.
//!
//! A program whose standard error nobody reads stops when the pipe is full. What it writes there is often the only word of
//! why it does not work, and an attacker's text all the same: control characters are shown instead of obeyed, and the
//! server's own secrets are masked.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use rustix::fs::OFlags;
use tokio::sync::watch;
use tokio::time::Instant;

use super::words;
use crate::mcp::wire::Mask;

/// A longer line is written as several.
const MAX_LINE: usize = 4 << 10;
/// A file that is longer becomes the old one.
const MAX_FILE: u64 = 1 << 20;
/// Bytes that are written in a second. What a server writes beyond is counted.
const MAX_RATE: usize = 256 << 10;
const SECOND: Duration = Duration::from_secs(1);
/// Lines that are looked through for the reason of an end.
const KEPT: usize = 24;

/// The file of one server, for all of its instances.
#[derive(Debug)]
pub(super) struct DiaryFile {
    path: PathBuf,
    open: Mutex<Option<(File, u64)>>,
}

impl DiaryFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            open: Mutex::new(None),
        }
    }

    /// Appends whole lines. Blocks.
    fn append(&self, text: &str) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let length = text.len() as u64;
        if matches!(&*open, Some((_, size)) if size + length > MAX_FILE) {
            *open = None;
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
        }
        let (file, size) = match &mut *open {
            Some(open) => open,
            None => open.insert(open_file(&self.path)?),
        };
        *size += length;
        file.write_all(text.as_bytes())
    }
}

fn open_file(path: &Path) -> io::Result<(File, u64)> {
    if let Some(directory) = path.parent() {
        super::stdio::make_directory(directory)?;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let file = options
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// What one instance writes.
#[derive(Debug)]
pub(super) struct Diary {
    tail: Arc<Mutex<VecDeque<String>>>,
    reading: watch::Receiver<bool>,
}

impl Diary {
    /// Reads to the end in a task of its own. `whose` stands before each line in the file.
    pub(super) fn keep<S>(pieces: S, file: Arc<DiaryFile>, whose: String, mask: Mask) -> Self
    where
        S: Stream<Item = Bytes> + Send + Unpin + 'static,
    {
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let (reading_tx, reading) = watch::channel(true);
        let mut writer = Writer {
            file,
            whose,
            tail: Arc::clone(&tail),
            begun: Instant::now(),
            written: 0,
            left_out: 0,
            failed: false,
        };
        tokio::spawn(async move {
            let mut pieces = pieces;
            let mut cutter = Cutter::new(mask);
            while let Some(piece) = pieces.next().await {
                writer.write(cutter.push(&piece)).await;
            }
            writer.write(cutter.finish()).await;
            reading_tx.send_replace(false);
        });
        Self { tail, reading }
    }

    /// Waits until there is nothing more to read.
    pub(super) async fn finished(&mut self) {
        let _ = self.reading.wait_for(|reading| !reading).await;
    }

    /// The line that most likely says why the server ended.
    pub(super) fn last_words(&self) -> Option<String> {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let telling = |line: &&String| {
            let line = line.to_ascii_lowercase();
            ["error", "exception", "fatal", "panicked", "not found", "no such"]
                .iter()
                .any(|word| line.contains(word))
        };
        tail.iter().rev().find(telling).or_else(|| tail.back()).cloned()
    }
}

/// Cuts what is read into lines without secrets.
struct Cutter {
    mask: Mask,
    buffer: Vec<u8>,
}

impl Cutter {
    fn new(mask: Mask) -> Self {
        Self {
            mask,
            buffer: Vec::new(),
        }
    }

    fn push(&mut self, mut piece: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        while !piece.is_empty() {
            let end = memchr::memchr(b'\n', piece);
            let room = (MAX_LINE + self.mask.longest()).saturating_sub(self.buffer.len());
            let taken = end.unwrap_or(piece.len()).min(room);
            self.buffer.extend_from_slice(&piece[..taken]);
            piece = &piece[taken..];
            if piece.first() == Some(&b'\n') {
                piece = &piece[1..];
                lines.push(self.line(usize::MAX));
            } else if !piece.is_empty() {
                // What may be the beginning of a secret stays behind.
                lines.push(self.line(MAX_LINE));
            }
        }
        lines
    }

    fn finish(&mut self) -> Vec<String> {
        if self.buffer.is_empty() {
            Vec::new()
        } else {
            vec![self.line(usize::MAX)]
        }
    }

    fn line(&mut self, most: usize) -> String {
        let masked = self.mask.bytes(&self.buffer);
        let cut = most.min(masked.len());
        let line = words::escaped(String::from_utf8_lossy(&masked[..cut]).trim_end_matches('\r'));
        self.buffer = masked[cut..].to_vec();
        line
    }
}

/// Writes lines, not too many of them.
struct Writer {
    file: Arc<DiaryFile>,
    whose: String,
    tail: Arc<Mutex<VecDeque<String>>>,
    begun: Instant,
    written: usize,
    left_out: usize,
    failed: bool,
}

impl Writer {
    async fn write(&mut self, lines: Vec<String>) {
        let mut text = String::new();
        for line in lines.into_iter().filter(|line| !line.trim().is_empty()) {
            self.admit(&line, &mut text);
            let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
            if tail.len() == KEPT {
                tail.pop_front();
            }
            tail.push_back(words::one_line(&line));
        }
        if text.is_empty() || self.failed {
            return;
        }
        let file = Arc::clone(&self.file);
        let written = tokio::task::spawn_blocking(move || file.append(&text)).await;
        if let Ok(Err(error)) = written {
            // Once: a full disk must not fill the log, too.
            self.failed = true;
            tracing::warn!(%error, "what an MCP server writes to its standard error cannot be kept");
        }
    }

    fn admit(&mut self, line: &str, text: &mut String) {
        if self.begun.elapsed() >= SECOND {
            self.begun = Instant::now();
            self.written = 0;
            if self.left_out > 0 {
                let left_out = std::mem::take(&mut self.left_out);
                self.line(&format!("[{left_out} bytes left out]"), text);
            }
        }
        if self.written + line.len() > MAX_RATE {
            self.left_out += line.len();
            return;
        }
        self.written += line.len();
        self.line(line, text);
    }

    fn line(&self, line: &str, text: &mut String) {
        let now = jiff::Timestamp::now();
        text.push_str(&format!("{now:.3} {} {line}\n", self.whose));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::SecretString;

    const CANARY: &str = "canary-7f3a-9b2c";

    fn mask() -> Mask {
        Mask::new([&SecretString::from(CANARY)])
    }

    async fn keep(directory: &Path, pieces: Vec<Bytes>) -> (Option<String>, String) {
        let path = directory.join("git.log");
        let file = Arc::new(DiaryFile::new(path.clone()));
        let mut diary = Diary::keep(futures::stream::iter(pieces), file, "shared".to_owned(), mask());
        diary.finished().await;
        (
            diary.last_words(),
            std::fs::read_to_string(path).unwrap_or_default(),
        )
    }

    #[tokio::test]
    async fn the_file_holds_lines_without_secrets_and_control_characters() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let text = format!("Traceback:\r\n  ImportError: no {CANARY}\x1b[2J\n\nbye");
        let pieces = text.as_bytes().chunks(3).map(Bytes::copy_from_slice).collect();
        let (last, file) = keep(directory.path(), pieces).await;
        assert_eq!(
            last.unwrap(),
            format!("ImportError: no {}\\u{{1b}}[2J", "*".repeat(16))
        );
        assert_eq!(file.lines().count(), 3);
        assert!(
            file.contains(" shared bye") && !file.contains("canary") && !file.contains('\x1b'),
            "{file}"
        );
        let mode = std::fs::metadata(directory.path().join("git.log"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_flood_is_counted_and_the_file_is_turned_once() {
        let directory = tempfile::tempdir().unwrap();
        let line = Bytes::from(format!("{}\n", "x".repeat(1000)));
        let (_, file) = keep(directory.path(), vec![line; 2000]).await;
        assert!(file.len() < 2 * MAX_RATE, "{}", file.len());
        let log = DiaryFile::new(directory.path().join("docs.log"));
        for _ in 0..30 {
            log.append(&"y".repeat(100_000)).unwrap();
        }
        for name in ["docs.log", "docs.log.1"] {
            let size = std::fs::metadata(directory.path().join(name)).unwrap().len();
            assert!(size <= MAX_FILE && size > 0, "{name}: {size}");
        }
    }

    proptest! {
        /// In whatever pieces and at whatever place of however long a line a secret comes, it is masked.
        #[test]
        fn no_secret_gets_by_a_cut(before in 0_usize..9000, piece in 1_usize..5000, twice in any::<bool>()) {
            let text = format!("{}{CANARY}{}{}\n", "a".repeat(before), "b".repeat(before % 37), if twice { CANARY } else { "" });
            let mut cutter = Cutter::new(mask());
            let mut lines: Vec<String> = text.as_bytes().chunks(piece).flat_map(|piece| cutter.push(piece)).collect();
            lines.extend(cutter.finish());
            let whole = lines.concat();
            prop_assert_eq!(whole.len(), text.len() - 1);
            prop_assert!(!whole.contains("canary") && !whole.contains("9b2c"), "{}", whole);
            prop_assert!(lines.iter().all(|line| line.len() <= MAX_LINE + CANARY.len() * 2));
        }
    }
}
