//! What a session's doors cost, on the whole of their way: a program in a sealed session, its door, the link, the gateway,
//! a server on loopback. The baseline is the same program on this machine's own network.

mod client;
mod far;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use session_core::api::{SessionApi, SessionApiExt};
use session_core::gateway::{EGRESS_PORT, MODEL_PORT};
use session_core::id::SessionId;
use session_core::session::{CreateSession, PromptRequest};
use testkit::model::{Gate, Reply, Script};
use xtask::error::{Context, Error, Result};

use self::client::{Answer, Client, Place};
use self::far::Far;
use super::Lab;
use super::cases::Figures;
use super::lifecycle::{end_session, new_container};
use super::stats::Series;

/// What the far end is called inside.
pub(super) const HOST: &str = "far.example.com";
/// Latencies are taken in alternating batches: starting a program for each would drown them.
const BATCH: usize = 50;
/// More streams than one session may have open at its model door, so they come from several.
const STREAMS: [usize; 8] = [25; 8];
const CONNECTIONS: usize = 500;
/// What is sent to measure a rate.
const BULK: usize = 256 << 20;
/// The text of one event of a long answer.
const EVENT_TEXT: usize = 1 << 10;
const PATIENCE: Duration = Duration::from_secs(60);

/// From a request to the model to the first byte of its answer, on a kept connection.
pub(super) async fn first_byte(lab: &mut Lab) -> Result<Figures> {
    let mut pair = Pair::at_model(lab, 1).await?;
    let figures = latencies(lab, &mut pair, "first_byte").await;
    pair.close(lab).await?;
    figures
}

/// Answers that all wait for the last one to be asked for, and then stream.
pub(super) async fn streams(lab: &mut Lab) -> Result<Figures> {
    let mut pair = Pair::at_model(lab, STREAMS.len()).await?;
    let figures = all_streams(lab, &mut pair).await;
    lab.model.set_script(Script::always("Done."));
    pair.close(lab).await?;
    figures
}

/// One long answer of the model.
pub(super) async fn answer(lab: &mut Lab) -> Result<Figures> {
    let mut pair = Pair::at_model(lab, 1).await?;
    let reply = Reply::Raw {
        status: 200,
        content_type: "text/event-stream".to_owned(),
        body: long_answer(),
    };
    lab.model.set_script(Script::new().reply(reply).forever());
    let figures = rates(lab, &mut pair, "answer").await;
    lab.model.set_script(Script::always("Done."));
    pair.close(lab).await?;
    figures
}

/// From the dial to the moment at which the host can be spoken with.
pub(super) async fn connect(lab: &mut Lab) -> Result<Figures> {
    let far = Far::start().await?;
    let mut pair = Pair::at_host(lab, far.address).await?;
    let figures = latencies(lab, &mut pair, "open_one").await;
    pair.close(lab).await?;
    figures
}

/// Connections that are all open at once, and all carry something.
pub(super) async fn connections(lab: &mut Lab) -> Result<Figures> {
    let far = Far::start().await?;
    let mut pair = Pair::at_host(lab, far.address).await?;
    let figures = all_connections(lab, &mut pair).await;
    pair.close(lab).await?;
    figures
}

/// One long download.
pub(super) async fn download(lab: &mut Lab) -> Result<Figures> {
    let far = Far::start().await?;
    let mut pair = Pair::at_host(lab, far.address).await?;
    let figures = rates(lab, &mut pair, "download").await;
    pair.close(lab).await?;
    figures
}

/// Programs in sessions, and the same program outside.
struct Pair {
    ours: Vec<Client>,
    baseline: Client,
    sessions: Vec<SessionId>,
    container: String,
}

impl Pair {
    /// At the model door. The sessions' agents run, so that their token is there to be used.
    async fn at_model(lab: &mut Lab, sessions: usize) -> Result<Self> {
        let door = (Ipv4Addr::LOCALHOST, MODEL_PORT).into();
        let model = lab.model.address();
        let pair = Self::open(lab, &CreateSession::default(), sessions, (door, None), model).await?;
        let request = PromptRequest {
            prompt: "Say that it is done.".to_owned(),
            ..PromptRequest::default()
        };
        let prompted = pair
            .sessions
            .iter()
            .map(|session| lab.manager.prompt_and_wait(session, request.clone()));
        let prompted = try_join_all(prompted).await;
        prompted.context(|| "cannot prompt the agents".to_owned())?;
        Ok(pair)
    }

    /// At the egress door of one session, which may reach that host.
    async fn at_host(lab: &mut Lab, host: SocketAddr) -> Result<Self> {
        let far = format!("{HOST}:{}", host.port());
        let entry = far.parse().context(|| format!("{far} is no host"))?;
        let request = CreateSession {
            allow: vec![entry],
            ..CreateSession::default()
        };
        let door = (Ipv4Addr::LOCALHOST, EGRESS_PORT).into();
        Self::open(lab, &request, 1, (door, Some(far)), host).await
    }

    async fn open(
        lab: &mut Lab,
        request: &CreateSession,
        count: usize,
        (door, far): (SocketAddr, Option<String>),
        direct: SocketAddr,
    ) -> Result<Self> {
        let created = try_join_all((0..count).map(|_| lab.manager.create(request.clone()))).await;
        let created = created.context(|| "cannot create a session".to_owned())?;
        let sessions: Vec<_> = created.into_iter().map(|session| session.id).collect();
        let container = new_container(&mut lab.engine, "host").await?;
        let ours = sessions.iter().map(|session| Client {
            place: Place::Session(lab.manager.clone(), *session),
            near: door,
            far: far.clone(),
        });
        let ours = ours.collect();
        let baseline = Client {
            place: Place::Container(lab.engine.another().await?, container.clone()),
            near: direct,
            far: None,
        };
        Ok(Self {
            ours,
            baseline,
            sessions,
            container,
        })
    }

    /// The program of the only session.
    fn inside(&mut self) -> Result<&mut Client> {
        self.ours
            .first_mut()
            .ok_or_else(|| Error::new("there is no session to be measured"))
    }

    async fn close(self, lab: &mut Lab) -> Result<()> {
        for session in &self.sessions {
            end_session(&lab.manager, session).await?;
        }
        lab.engine.remove(&self.container).await
    }
}

/// Times of single acts, in alternating batches.
async fn latencies(lab: &Lab, pair: &mut Pair, what: &str) -> Result<Figures> {
    let (mut ours, mut baseline) = (Series::default(), Series::default());
    for batch in 0..=lab.rounds(10) {
        let inside = pair.inside()?.ask(what, BATCH, 0).await?;
        let outside = pair.baseline.ask(what, BATCH, 0).await?;
        // The first ones warm up.
        if batch > 0 {
            inside.times.into_iter().for_each(|time| ours.push(time));
            outside.times.into_iter().for_each(|time| baseline.push(time));
        }
    }
    Ok(Figures::Times { ours, baseline })
}

/// Times of long transfers, which must all be complete.
async fn rates(lab: &Lab, pair: &mut Pair, what: &str) -> Result<Figures> {
    let (mut ours, mut baseline) = (Series::default(), Series::default());
    for round in 0..=lab.rounds(8) {
        let inside = whole(pair.inside()?.ask(what, 1, BULK).await?)?;
        let outside = whole(pair.baseline.ask(what, 1, BULK).await?)?;
        if round > 0 {
            ours.push(inside);
            baseline.push(outside);
        }
    }
    Ok(Figures::Rate {
        bytes: BULK,
        ours,
        baseline,
    })
}

fn whole(answer: Answer) -> Result<Duration> {
    match answer.times.as_slice() {
        [time] if answer.complete == 1 => Ok(*time),
        _ => Err(Error::new("a transfer broke off")),
    }
}

async fn all_streams(lab: &Lab, pair: &mut Pair) -> Result<Figures> {
    let mut at_once = AtOnce::default();
    for round in 0..=lab.rounds(5) {
        let asking = pair.ours.iter_mut().zip(STREAMS);
        let asking = asking.map(|(client, count)| client.ask("streams", count, 0));
        let inside = gated(lab, try_join_all(asking)).await?;
        let asking = pair.baseline.ask("streams", STREAMS.iter().sum(), 0);
        let outside = gated(lab, asking).await?;
        if round > 0 {
            at_once.push(&inside, &outside);
        }
    }
    Ok(at_once.figures())
}

/// Runs clients while the model holds all its answers back until it was asked for every one of them.
async fn gated<T>(lab: &Lab, clients: impl Future<Output = Result<T>>) -> Result<T> {
    let gate = Gate::new();
    lab.model
        .set_script(Script::always("Done.".repeat(200)).gated(&gate));
    let expected = STREAMS.iter().sum::<usize>() as u64;
    let asked = lab.model.conversation_count() + expected;
    let opening = async {
        // Past the time the gate opens all the same: what is missing then is seen in the figures.
        drop(tokio::time::timeout(PATIENCE, lab.model.wait_for_conversation(asked)).await);
        gate.open();
    };
    tokio::join!(clients, opening).0
}

async fn all_connections(lab: &Lab, pair: &mut Pair) -> Result<Figures> {
    let mut at_once = AtOnce::default();
    for round in 0..=lab.rounds(5) {
        let inside = pair.inside()?.ask("open_many", CONNECTIONS, 0).await?;
        let outside = pair.baseline.ask("open_many", CONNECTIONS, 0).await?;
        if round > 0 {
            at_once.push(&[inside], &outside);
        }
    }
    Ok(at_once.figures())
}

/// Rounds of many at once: the slowest part counts, and the worst round.
#[derive(Default)]
struct AtOnce {
    complete: Option<usize>,
    ours: Series,
    baseline: Series,
}

impl AtOnce {
    fn push(&mut self, inside: &[Answer], outside: &Answer) {
        let slowest = |answers: &[Answer]| answers.iter().flat_map(|answer| &answer.times).max().copied();
        let complete = inside.iter().map(|answer| answer.complete).sum();
        self.complete = Some(self.complete.unwrap_or(usize::MAX).min(complete));
        self.ours.push(slowest(inside).unwrap_or_default());
        self.baseline
            .push(outside.times.iter().max().copied().unwrap_or_default());
    }

    fn figures(self) -> Figures {
        Figures::AtOnce {
            complete: self.complete.unwrap_or_default(),
            ours: self.ours,
            baseline: self.baseline,
        }
    }
}

/// An answer as the model would stream it, of events with a kilobyte of text each.
fn long_answer() -> Bytes {
    let delta = |text: &str| {
        format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
             \"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
        )
    };
    let event = delta(&"x".repeat(EVENT_TEXT));
    let mut answer = event.repeat(BULK.div_ceil(event.len()));
    answer.push_str("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    Bytes::from(answer)
}
