//! From a name to its addresses.
//!
//! The resolver is hickory's, not the system library's: a look-up of that one holds a thread and cannot be given up, so a
//! session that asks for names whose servers never answer would use up the threads of everybody. It reads the system's
//! configuration (`resolv.conf`) and the hosts file, and keeps answers for as long as their owners say. Names are
//! looked up as they are written: a search list would make another name of them than the one that was judged.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// After this time the system's configuration is read again: laptops change networks, people edit hosts files.
const REREAD: Duration = Duration::from_secs(30);
/// Answers that are kept.
const CACHE: u64 = 1024;

/// Resolves names.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of a name, which is in lower case and without a trailing dot. Empty when it has none.
    ///
    /// Asked once for a connection; the answer is judged and one of its addresses is dialled. May be dropped at any time.
    ///
    /// # Errors
    /// When nobody could be asked.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's name servers and its hosts file.
#[derive(Default)]
pub struct SystemResolver {
    current: Mutex<Option<(Instant, Arc<TokioResolver>)>>,
}

impl SystemResolver {
    async fn current(&self) -> io::Result<Arc<TokioResolver>> {
        let mut current = self.current.lock().await;
        if let Some((read_at, resolver)) = current.as_ref()
            && read_at.elapsed() < REREAD
        {
            return Ok(Arc::clone(resolver));
        }
        // It reads files, so not on an async thread.
        let made = tokio::task::spawn_blocking(read_configuration)
            .await
            .map_err(io::Error::other)??;
        let made = Arc::new(made);
        *current = Some((Instant::now(), Arc::clone(&made)));
        Ok(made)
    }
}

fn read_configuration() -> io::Result<TokioResolver> {
    let mut builder = TokioResolver::builder_tokio().map_err(io::Error::other)?;
    builder.options_mut().cache_size = CACHE;
    builder.build().map_err(io::Error::other)
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let resolver = self.current().await?;
        // The dot at the end says that the name is complete.
        match resolver.lookup_ip(format!("{host}.")).await {
            Ok(answer) => Ok(answer.iter().collect()),
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

impl fmt::Debug for SystemResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemResolver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_hosts_file_counts() {
        // Where the machine has no name server configured, there is nothing to test.
        let resolver = SystemResolver::default();
        if let Ok(addresses) = resolver.resolve("localhost").await {
            assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback));
        }
    }
}
