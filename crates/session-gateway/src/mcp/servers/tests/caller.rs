//! Callers.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rmcp::ErrorData;
use rmcp::model::{ClientResult, ProgressNotificationParam, ServerRequest};
use tokio_util::sync::CancellationToken;

use crate::mcp::call::Caller;

/// Keeps what it is told, and answers nothing.
#[derive(Default)]
pub(crate) struct Quiet {
    pub(crate) progress: Mutex<Vec<ProgressNotificationParam>>,
    pub(crate) asked: Mutex<Vec<ServerRequest>>,
    pub(crate) cancel: CancellationToken,
}

impl Quiet {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }
}

#[async_trait]
impl Caller for Quiet {
    async fn progress(&self, progress: ProgressNotificationParam) {
        self.progress.lock().unwrap().push(progress);
    }

    async fn ask(&self, request: ServerRequest) -> Result<ClientResult, ErrorData> {
        self.asked.lock().unwrap().push(request);
        Err(ErrorData::invalid_request("nobody is there", None))
    }

    fn cancelled(&self) -> CancellationToken {
        self.cancel.clone()
    }
}
