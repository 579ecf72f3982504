//! A Docker engine of the tests' own, to be killed: [`SecondEngine`].
//!
//! What an engine's restart does to sessions cannot be tried on the engine of a developer's machine: other people's
//! containers run there. This one shares nothing with it: its own images, its own containers, its own sockets and control
//! groups, a network of its own without a bridge and a packet filter.
//!
//! Images are copied from another engine, once: its data stay below the directory it was opened on, so that the next test
//! run starts with them in a second.

mod burial;
mod client;
mod daemon;

use std::fs::File;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use self::client::Client;
use self::daemon::{Daemon, Places};

/// How long an engine may take to answer after its start, or to end after it was told to.
const PATIENCE: Duration = Duration::from_secs(30);
const PULSE: Duration = Duration::from_millis(20);

/// A second `dockerd`. What it runs is ended with it, also when it is dropped or was killed.
#[derive(Debug)]
pub struct SecondEngine {
    places: Places,
    client: Client,
    daemon: Option<Daemon>,
    /// Held for as long as we live: two engines on one directory would ruin it.
    _lock: File,
}

impl SecondEngine {
    /// Why there can be none on this machine, if so.
    pub fn unavailable() -> Option<&'static str> {
        if !rustix::process::geteuid().is_root() {
            return Some("only root can start an engine");
        }
        let found = ["/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd"]
            .iter()
            .any(|path| Path::new(path).exists());
        (!found).then_some("dockerd is not installed")
    }

    /// Starts one whose data are below `root`, without containers and volumes, with the images that were loaded there
    /// before. Waits while another process has it, and ends what one that was killed has left running.
    ///
    /// # Errors
    /// When it cannot be started here (see [`SecondEngine::unavailable`]); with the last lines of its log.
    pub async fn open(root: &Path) -> Result<Self> {
        std::fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        let lock = File::create(root.join("lock"))?;
        let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock))
            .await
            .map_err(Error::other)??;
        let places = Places::new(&root);
        burial::bury(&places);
        let mut engine = Self {
            client: Client::new(places.socket()),
            places,
            daemon: None,
            _lock: lock,
        };
        engine.start().await?;
        engine.clean().await?;
        Ok(engine)
    }

    /// Its address in the form of `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.places.socket().display())
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.places.socket()
    }

    /// Copies images from the engine that listens on `from`, unless the same ones are here.
    ///
    /// # Errors
    /// When the other engine has no such image, or one of the two fails.
    pub async fn load(&self, from: &Path, images: &[&str]) -> Result<()> {
        let source = Client::new(from.to_owned());
        let mut same = true;
        for image in images {
            let wanted = source.image_id(image).await?.ok_or_else(|| {
                Error::other(format!("the engine at {} has no image {image}", from.display()))
            })?;
            same &= self.client.image_id(image).await?.as_ref() == Some(&wanted);
        }
        if same {
            return Ok(());
        }
        // Old versions would stay for ever otherwise: nobody else looks after this engine.
        for image in self.client.list("/images/json").await? {
            self.client
                .remove(&format!("/images/{}?force=1", text(&image["Id"])))
                .await?;
        }
        self.client.copy_images(&source, images).await
    }

    /// Starts it again after [`SecondEngine::kill`].
    ///
    /// # Errors
    /// When it runs, or does not answer in time; with the last lines of its log.
    pub async fn start(&mut self) -> Result<()> {
        if self.daemon.is_some() {
            return Err(Error::other("the second engine runs already"));
        }
        let mut daemon = Daemon::spawn(&self.places)?;
        let started = Instant::now();
        while !self.client.answers().await {
            let ended = daemon.ended()?;
            if ended || started.elapsed() > PATIENCE {
                let what = if ended { "ended" } else { "does not answer" };
                return Err(self.places.failure(what));
            }
            tokio::time::sleep(PULSE).await;
        }
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Ends it as a power cut would: its containers run on, ownerless, until it starts again and ends them.
    ///
    /// # Errors
    /// When it does not run or cannot be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        let daemon = self.daemon.take();
        let daemon = daemon.ok_or_else(|| Error::other("the second engine does not run"))?;
        daemon.kill().await?;
        burial::end_helper(&self.places);
        Ok(())
    }

    /// Kills it and starts it again.
    ///
    /// # Errors
    /// As [`SecondEngine::kill`] and [`SecondEngine::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        self.start().await
    }

    /// Lets it end its containers in an orderly way and end itself, as a service manager would.
    ///
    /// # Errors
    /// When it does not run, or does not end in time.
    pub async fn shut_down(&mut self) -> Result<()> {
        let daemon = self.daemon.take();
        let daemon = daemon.ok_or_else(|| Error::other("the second engine does not run"))?;
        daemon.terminate(PATIENCE).await
    }

    /// Makes it hang: it accepts connections and answers nothing, until [`SecondEngine::thaw`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.signal(rustix::process::Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.signal(rustix::process::Signal::CONT)
    }

    fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let daemon = self.daemon.as_ref();
        daemon
            .ok_or_else(|| Error::other("the second engine does not run"))?
            .signal(signal)
    }

    /// Removes all containers and volumes; images stay.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn clean(&self) -> Result<()> {
        for container in self.client.list("/containers/json?all=1").await? {
            let id = text(&container["Id"]);
            self.client
                .remove(&format!("/containers/{id}?force=1&v=1"))
                .await?;
        }
        for volume in self.client.list("/volumes").await? {
            let name = text(&volume["Name"]);
            self.client.remove(&format!("/volumes/{name}?force=1")).await?;
        }
        Ok(())
    }

    /// Names of the containers that are there, running or not.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn containers(&self) -> Result<Vec<String>> {
        let all = self.client.list("/containers/json?all=1").await?;
        let name = |container: &Value| text(&container["Names"][0]).trim_start_matches('/').to_owned();
        Ok(all.iter().map(name).collect())
    }

    /// Removes what tests made and ends it.
    ///
    /// # Errors
    /// When something cannot be removed; it is ended in any case.
    pub async fn close(mut self) -> Result<()> {
        let cleaned = match self.daemon {
            Some(_) => self.clean().await,
            None => Ok(()),
        };
        if self.daemon.is_some() {
            self.shut_down().await?;
        }
        cleaned
        // What is left of it is buried by `drop`.
    }
}

impl Drop for SecondEngine {
    fn drop(&mut self) {
        // A test that failed leaves nothing running either, and no mount that keeps `target` from being removed.
        drop(self.daemon.take());
        burial::bury(&self.places);
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_can_be_no_engine_the_reason_is_told() {
        let root = rustix::process::geteuid().is_root();
        assert!(root || SecondEngine::unavailable().is_some());
    }
}
