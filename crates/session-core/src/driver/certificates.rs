//! The operator's certificates in a session: one file in its home directory, with those of the image behind them.
//!
//! Programs that are told of a bundle trust nothing else, and a network that looks into TLS does not look into all of it.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use session_link::{Link, ProcessId, SpawnSpec};

use super::{Driver, send_archive};
use crate::ambient::CERTIFICATES;
use crate::error::{Error, ErrorKind, Result};
use crate::link_error::from_link;
use crate::runtime::ContainerSpec;
use crate::session::SessionInfo;

const OPERATION: &str = "put the certificates into the session";
/// Copies what the image trusts; an image without a shell, or without such a file, has the operator's alone.
const ADD_SYSTEM: &str = r#"
for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
  if [ -s "$file" ]; then cat "$file" >>"$1"; exit; fi
done
"#;
const TIME_LIMIT: Duration = Duration::from_secs(10);

impl Driver {
    pub(super) async fn put_certificates(&self, info: &SessionInfo) -> Result<()> {
        let (Some(bundle), true) = (&self.foundation.certificates, info.certificates) else {
            return Ok(());
        };
        let link = self.live_link()?;
        let archive = Box::pin(stream::iter([archive(bundle)]));
        send_archive(link, ContainerSpec::HOME_DIR, archive, OPERATION).await?;
        if let Err(error) = add_system(link).await {
            tracing::debug!(session = %self.id, %error, "the image's own certificates were not added");
        }
        Ok(())
    }
}

/// The file below the home directory.
fn archive(bundle: &Bytes) -> Result<Bytes> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(bundle.len() as u64);
    header.set_mode(0o644);
    let written = builder
        .append_data(&mut header, CERTIFICATES, bundle.as_ref())
        .and_then(|()| builder.into_inner());
    written.map(Bytes::from).map_err(|source| {
        Error::new(ErrorKind::Internal, OPERATION, "the archive cannot be made").with_source(source)
    })
}

async fn add_system(link: &Link) -> Result<()> {
    let failed = |error| from_link(OPERATION, error);
    let path = format!("{}/{CERTIFICATES}", ContainerSpec::HOME_DIR);
    let id = ProcessId::new("certificates").map_err(failed)?;
    let mut spec = SpawnSpec::new(id.clone(), ["/bin/sh", "-c", ADD_SYSTEM, "cofferdam", &path]);
    spec.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
    spec.time_limit = Some(TIME_LIMIT);
    let mut process = link.run(spec).await.map_err(failed)?;
    while process.next().await.map_err(failed)?.is_some() {}
    link.forget(&id).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_archive_holds_one_file_below_the_home_directory() {
        let bytes = archive(&Bytes::from_static(b"bundle")).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut entries = archive.entries().unwrap();
        let mut entry = entries.next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().to_str(), Some(CERTIFICATES));
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        assert_eq!(content, "bundle");
        assert!(entries.next().is_none());
    }
}
