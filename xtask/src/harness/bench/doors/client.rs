//! The program that is measured: in a sealed session, or in a bare container that shares this machine's network.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use session_core::api::SessionApiExt;
use session_core::command::CommandRequest;
use session_core::id::SessionId;
use session_core::manager::SessionManager;
use xtask::error::{Context, Error, Result};

use crate::raw::Engine;

const PROGRAM: &str = include_str!("client.py");
const OUTPUT_LIMIT: usize = 1 << 20;
const TIME_LIMIT: Duration = Duration::from_secs(180);

/// Where the program runs.
pub(super) enum Place {
    /// In a session: the doors are all that it has.
    Session(SessionManager, SessionId),
    /// In a container of the same image, on this machine's network.
    Container(Engine, String),
}

/// A program that can be asked to do something, and where it goes for it.
pub(super) struct Client {
    pub(super) place: Place,
    /// The address that it dials.
    pub(super) near: SocketAddr,
    /// What it asks the door at that address for.
    pub(super) far: Option<String>,
}

/// What came of it.
pub(super) struct Answer {
    pub(super) times: Vec<Duration>,
    /// How many conversations went to their end.
    pub(super) complete: usize,
}

impl Client {
    /// Does something so often, or with so many bytes.
    pub(super) async fn ask(&mut self, what: &str, count: usize, bytes: usize) -> Result<Answer> {
        let asked = json!({
            "what": what, "count": count, "bytes": bytes, "far": self.far,
            "near": [self.near.ip().to_string(), self.near.port()],
        });
        let argv = ["python3", "-c", PROGRAM, &asked.to_string()];
        let (code, said) = match &mut self.place {
            Place::Session(manager, session) => {
                let mut request = CommandRequest::new(argv);
                request.time_limit = Some(TIME_LIMIT);
                let ran = manager.command_output(session, request, OUTPUT_LIMIT).await;
                let ran = ran.context(|| "cannot run the client in the session".to_owned())?;
                let code = ran.exit.code.map(i64::from);
                (code, [ran.stdout, ran.stderr].concat())
            }
            Place::Container(engine, container) => {
                let ran = engine.exec(container, &argv, &[]).await?;
                (Some(ran.exit_code), ran.output)
            }
        };
        if code != Some(0) {
            return Err(Error::new(format!("the client failed at `{what}` ({code:?})"))
                .output(String::from_utf8_lossy(&said)));
        }
        answer(&said)
    }
}

fn answer(said: &[u8]) -> Result<Answer> {
    let doing = || "the client's answer is none".to_owned();
    let said: Value = serde_json::from_slice(said).context(doing)?;
    let times = said["seconds"].as_array().into_iter().flatten();
    let times = times.map(|time| Duration::try_from_secs_f64(time.as_f64()?).ok());
    let times: Option<Vec<_>> = times.collect();
    let complete = said["complete"].as_u64().map(usize::try_from);
    match (times, complete) {
        (Some(times), Some(Ok(complete))) if !times.is_empty() => Ok(Answer { times, complete }),
        _ => Err(Error::new(doing()).output(said.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_or_refused() {
        let read = answer(br#"{"seconds": [0.5, 0.25], "complete": 2}"#).expect("an answer");
        assert_eq!(read.times, [500, 250].map(Duration::from_millis));
        assert_eq!(read.complete, 2);
        for bad in [
            "",
            "{}",
            r#"{"seconds": [], "complete": 0}"#,
            r#"{"seconds": [-1], "complete": 1}"#,
        ] {
            assert!(answer(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
