//! [`ContainerRuntime::prepare`](session_core::runtime::ContainerRuntime::prepare).

use std::sync::Arc;
use std::time::{Duration, Instant};

use session_core::error::ErrorKind;
use session_core::runtime::ContainerSpec;

use super::stage::{Stage, run};
use crate::conformance::{Case, Outcome, cases, refused_with_hint};

/// What "takes long" means.
const LONG: Duration = Duration::from_secs(2);

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["prepare":
        is_idempotent_and_quick_the_second_time,
        fails_with_image_not_found_when_there_is_none,
        nothing_that_the_image_declares_takes_part,
    ]
}

async fn is_idempotent_and_quick_the_second_time(stage: Arc<Stage>) -> Outcome {
    let image = stage.lab.image();
    let first = stage.prepare(&image).await?;
    let began = Instant::now();
    let second = stage.prepare(&image).await?;
    ensure!(
        began.elapsed() < LONG,
        "the second call took {:?}",
        began.elapsed()
    );
    ensure_eq!(second, first, "the prepared image");
    Ok(())
}

async fn fails_with_image_not_found_when_there_is_none(stage: Arc<Stage>) -> Outcome {
    let image = stage.lab.missing_image();
    let progress = session_core::runtime::NoProgress;
    let prepared = stage.runtime.prepare(&image, stage.lab.user(), &progress).await;
    refused_with_hint(prepared, ErrorKind::ImageNotFound)?;
    Ok(())
}

async fn nothing_that_the_image_declares_takes_part(stage: Arc<Stage>) -> Outcome {
    let image = stage.prepare(&stage.lab.foreign_image()).await?;
    let spec = stage.spec();
    stage.runtime.launch(&spec, &image).await?;
    let link = stage.link(&spec.name).await?;
    let user = spec.user;
    ensure_eq!(
        run(&link, &["id", "-u"]).await?.text(),
        user.uid.to_string(),
        "the user"
    );
    ensure_eq!(
        run(&link, &["id", "-g"]).await?.text(),
        user.gid.to_string(),
        "the group"
    );
    ensure_eq!(
        run(&link, &["pwd"]).await?.text(),
        ContainerSpec::WORKSPACE_DIR,
        "the working directory"
    );
    ensure_eq!(
        run(&link, &["env"]).await?.text(),
        "PATH=/usr/bin:/bin",
        "the environment"
    );
    let listed = stage.runtime.list(stage.signer.owner()).await?;
    ensure_eq!(listed.len(), 1, "what is listed");
    ensure_eq!(
        stage.signer.verify(&listed[0].labels),
        Some(spec.session),
        "the session of the labels"
    );
    Ok(())
}
