//! Files in and out, over the link.

use futures::stream;
use session_link::{CopyOut, CopyOutOptions};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::SessionManager;
use super::commands::inside;
use super::lifetimes::AtWork;
use crate::api::ArchiveStream;
use crate::driver::send_archive;
use crate::error::Result;
use crate::event::EventKind;
use crate::id::SessionId;
use crate::link_error::from_link;
use crate::policy;
use crate::session::CopyReport;
use crate::state::Operation;

impl SessionManager {
    pub(super) async fn copy_archive_in(
        &self,
        session: &SessionId,
        dest: &str,
        archive: ArchiveStream,
    ) -> Result<CopyReport> {
        let operation = "copy into the session";
        let _at_work = self.inner.foundation.work.token();
        policy::limits::validate_copy_path(dest)?;
        let record = self.record(session, operation).await?;
        record.info.state.permits(Operation::Files)?;
        let _work = self.begin_work(&record, operation).await?;
        let (link, _) = self.driver(&record).link().await?;
        let path = inside(dest);
        let report = send_archive(&link, &path, archive, operation).await?;
        fail::fail_point!("manager.copy_in.after", |_| crate::fault::link(operation));
        let (bytes, entries) = (report.bytes, report.entries);
        self.note(
            session,
            EventKind::FilesCopied {
                inward: true,
                path,
                bytes,
                entries,
            },
        );
        Ok(report)
    }

    pub(super) async fn copy_archive_out(&self, session: &SessionId, path: &str) -> Result<ArchiveStream> {
        let operation = "copy out of the session";
        policy::limits::validate_copy_path(path)?;
        let record = self.record(session, operation).await?;
        record.info.state.permits(Operation::Files)?;
        let work = self.begin_work(&record, operation).await?;
        let (link, _) = self.driver(&record).link().await?;
        let path = inside(path);
        fail::fail_point!("manager.copy_out.before", |_| crate::fault::link(operation));
        let copy = link
            .copy_out(&path, CopyOutOptions::default())
            .await
            .map_err(|error| from_link(operation, error))?;
        let reading = Reading {
            _at_work: (self.inner.foundation.work.token(), work),
            manager: self.clone(),
            session: *session,
            path,
            copy,
        };
        Ok(Box::pin(stream::try_unfold(reading, |mut reading| async move {
            match reading
                .copy
                .next()
                .await
                .map_err(|error| from_link("copy out of the session", error))?
            {
                Some(chunk) => Ok(Some((chunk, reading))),
                None => {
                    reading.note();
                    Ok(None)
                }
            }
        })))
    }
}

struct Reading {
    _at_work: (TaskTrackerToken, AtWork),
    manager: SessionManager,
    session: SessionId,
    path: String,
    copy: CopyOut,
}

impl Reading {
    fn note(self) {
        let report = self.copy.report().unwrap_or_default();
        self.manager.note(
            &self.session,
            EventKind::FilesCopied {
                inward: false,
                path: self.path,
                bytes: report.bytes,
                entries: report.files + report.directories + report.symlinks,
            },
        );
    }
}
