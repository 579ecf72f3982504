//! A file system that is really full: at every number of free pages, from the first write of a new store on.

use std::path::PathBuf;
use std::process::Command;

use super::*;

/// A file system of this many pages, mounted and unmounted with the test.
struct SmallDisk {
    at: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(pages: usize) -> Self {
        let at = tempfile::tempdir().unwrap();
        let options = format!("size={},mode=0700", pages * 4096);
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at.path())
            .status()
            .unwrap();
        assert!(mounted.success());
        Self { at }
    }

    fn grow(&self, pages: usize) {
        let options = format!("remount,size={}", pages * 4096);
        let grown = Command::new("mount")
            .args(["-o", &options])
            .arg(self.at.path())
            .status()
            .unwrap();
        assert!(grown.success());
    }

    fn state(&self) -> PathBuf {
        self.at.path().join("state")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.at.path()).status();
        assert!(unmounted.unwrap().success());
    }
}

/// Opens a store, makes a session and lets its agent talk until the disk is full; tells how many events were
/// acknowledged of which session.
async fn fill(disk: &SmallDisk, acked: &mut Vec<Event>) -> Result<()> {
    let dir = StateDir::open(&disk.state())?;
    dir.signing_key()?;
    let store = Store::open(&dir).await?;
    let record = record();
    let session = record.info.id;
    store.insert_session(record).await?;
    acked.extend(store.commit(&session, state(SessionState::Ready)).await?);
    loop {
        acked.extend(store.commit(&session, say(["x".repeat(1500)])).await?);
    }
}

#[tokio::test]
#[ignore = "needs root, to mount a small file system"]
async fn whenever_the_disk_gets_full_it_is_said_and_nothing_acknowledged_is_lost() {
    let mut most = 0;
    for pages in 1..120 {
        let disk = SmallDisk::mount(pages);
        let mut acked = Vec::new();
        let error = fill(&disk, &mut acked).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostIo, "{pages} pages: {error:?}");
        assert!(error.is_retryable(), "{pages} pages: {error:?}");
        assert!(error.hint().is_some(), "{pages} pages: {error:?}");

        most = most.max(acked.len());
        if let Some(first) = acked.first() {
            // Readable while the disk is full, by whoever has it open or opens it now.
            let dir = StateDir::open(&disk.state()).unwrap();
            let store = Store::open(&dir).await.unwrap();
            assert_eq!(all_events(&store, &first.session).await, acked, "{pages} pages");
        }

        disk.grow(1000);
        let dir = StateDir::open(&disk.state()).unwrap();
        dir.signing_key().unwrap();
        let store = Store::open(&dir).await.unwrap();
        if let Some(first) = acked.first() {
            let session = first.session;
            assert_eq!(all_events(&store, &session).await, acked, "{pages} pages");
            let stored = store.commit(&session, say(["again"])).await.unwrap();
            assert_eq!(stored[0].seq, acked.len() as u64 + 1);
        }
        store.verify().await.unwrap();
        store.close().await;
    }
    assert!(most > 10, "most disks had room for some events");
}
