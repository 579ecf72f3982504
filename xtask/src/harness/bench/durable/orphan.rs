//! A container with our signature and no record: how long it is there.

use std::time::{Duration, Instant};

use serde_json::json;
use session_core::id::{ContainerName, SessionId};
use session_core::label::{self, Signer};
use session_core::state_dir::StateDir;
use xtask::error::{Context, Error, Result};

use super::super::cases::Figures;
use super::super::pairs::{Side, repeat};
use super::super::served::Served;
use super::super::{BASELINE_LABEL, Lab, plain_container};
use crate::raw::Engine;

const ROUNDS: u32 = 6;
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// From when the engine has it to when the engine has it no more. Each appears when the one before was just removed, so that
/// it waits for a whole turn of the reconciler: the worst case, and not the mean.
pub(in super::super) async fn orphan(lab: &mut Lab) -> Result<Figures> {
    let served = Served::start(lab).await?;
    let measured = async {
        let mut ours = Orphan {
            engine: lab.engine.another().await?,
            signer: signer(&served)?,
        };
        repeat(lab.rounds(ROUNDS), &mut ours).await
    };
    let measured = measured.await;
    served.stop().await?;
    measured
}

/// With the key of the daemon that looks for orphans.
fn signer(served: &Served) -> Result<Signer> {
    let doing = || "cannot read the key of the state directory".to_owned();
    let state = StateDir::open(served.state.path()).context(doing)?;
    Ok(Signer::new(state.signing_key().context(doing)?))
}

struct Orphan {
    engine: Engine,
    signer: Signer,
}

impl Orphan {
    async fn is_there(&mut self, session: &SessionId) -> Result<bool> {
        let label = format!("{}={session}", label::SESSION);
        Ok(!self.engine.labelled(&label).await?.is_empty())
    }
}

impl Side for Orphan {
    async fn once(&mut self) -> Result<Duration> {
        let session = SessionId::new();
        let mut labels = json!(self.signer.labels(&session));
        // Found and removed at the end of the run, should the daemon leave it.
        labels[BASELINE_LABEL] = json!("");
        let mut config = plain_container("none");
        config["Labels"] = labels;
        let name = ContainerName::of(&session).to_string();
        let container = self.engine.create_named(&name, &config).await?;
        let appeared = Instant::now();
        // It may be gone already, and then it need not run.
        if let Err(error) = self.engine.start(&container).await
            && self.is_there(&session).await?
        {
            return Err(error);
        }
        while self.is_there(&session).await? {
            if appeared.elapsed() > PATIENCE {
                return Err(Error::new("nobody removes the orphan"));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(appeared.elapsed())
    }
}
