//! What the runtime keeps on the engine for itself and nobody needs any more.

use std::time::Duration;

use jiff::Timestamp;

use super::{Finding, Removal};
use crate::error::Result;
use crate::id::ImageRef;
use crate::manager::SessionManager;
use crate::runtime::UserIds;
use crate::session::SessionFilter;

/// How often a supervising manager looks for it: it costs the engine more than a list, and grows by days.
pub(in crate::manager) const STALE_EVERY: Duration = Duration::from_secs(60 * 60);

impl SessionManager {
    /// What the runtime has for images that no session used for long.
    pub(super) async fn stale_things(&self) -> Result<Vec<Finding>> {
        let unused = self.inner.options.keep_images;
        let wanted = self.wanted_images(unused).await?;
        let stale = self.inner.foundation.runtime.stale(&wanted, unused).await?;
        Ok(stale
            .into_iter()
            .map(|garbage| Finding {
                garbage,
                removal: Removal::Stale,
            })
            .collect())
    }

    /// The images of sessions that live, or lived within this time.
    async fn wanted_images(&self, within: Duration) -> Result<Vec<(ImageRef, UserIds)>> {
        let all = SessionFilter {
            all: true,
            ..SessionFilter::default()
        };
        let since = Timestamp::now().checked_sub(within).unwrap_or(Timestamp::MIN);
        let mut wanted = vec![(self.inner.options.default_image.clone(), UserIds::DEFAULT)];
        for record in self.inner.foundation.store.sessions(&all).await? {
            let image = (record.info.image, record.info.user);
            if (!record.info.state.has_ended() || record.info.updated_at >= since) && !wanted.contains(&image)
            {
                wanted.push(image);
            }
        }
        Ok(wanted)
    }
}
