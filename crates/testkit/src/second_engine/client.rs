//! The few calls to an engine's API that its fixture needs, by hand over its socket: no second client of the engine has to be
//! kept for them (I2).

use std::io::{Error, Result};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// How long a sign of life may take.
const PING: Duration = Duration::from_secs(2);
/// How much of a refusal is told.
const SHOWN: usize = 500;

#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub(super) async fn answers(&self) -> bool {
        let asked = tokio::time::timeout(PING, self.ask(Method::GET, "/_ping", Empty::<Bytes>::new()));
        matches!(asked.await, Ok(Ok(answer)) if answer.status().is_success())
    }

    /// The id of an image, if it is there.
    pub(super) async fn image_id(&self, image: &str) -> Result<Option<String>> {
        let path = format!("/images/{image}/json");
        let answer = self.ask(Method::GET, &path, Empty::<Bytes>::new()).await?;
        if answer.status() == 404 {
            return Ok(None);
        }
        let image = json(&path, answer).await?;
        Ok(image["Id"].as_str().map(str::to_owned))
    }

    /// A list, also where the engine wraps it.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let answer = self.ask(Method::GET, path, Empty::<Bytes>::new()).await?;
        Ok(match json(path, answer).await? {
            Value::Array(items) => items,
            Value::Object(mut fields) => match fields.remove("Volumes") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            },
            _ => Vec::new(),
        })
    }

    /// Removes one thing; that it is gone already is fine.
    pub(super) async fn remove(&self, path: &str) -> Result<()> {
        let answer = self.ask(Method::DELETE, path, Empty::<Bytes>::new()).await?;
        if answer.status() == 404 {
            return Ok(());
        }
        good(path, answer).await.map(drop)
    }

    /// Streams images from one engine into this one.
    pub(super) async fn copy_images(&self, from: &Self, images: &[&str]) -> Result<()> {
        let names: Vec<_> = images.iter().map(|image| format!("names={image}")).collect();
        let path = format!("/images/get?{}", names.join("&"));
        let saved = from.ask(Method::GET, &path, Empty::<Bytes>::new()).await?;
        let saved = refuse_failure(&path, saved).await?;
        let path = "/images/load?quiet=1";
        let loaded = self.ask(Method::POST, path, saved.into_body()).await?;
        let said = good(path, loaded).await?;
        // The engine says "200 OK" before it begins, and the rest in the body.
        let said = String::from_utf8_lossy(&said).into_owned();
        if said.contains("errorDetail") {
            return Err(Error::other(format!("images cannot be loaded: {said}")));
        }
        Ok(())
    }

    /// One call on a connection of its own.
    async fn ask<B>(&self, method: Method, path: &str, body: B) -> Result<Response<Incoming>>
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let io = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io))
            .await
            .map_err(Error::other)?;
        // It ends with the answer's last byte, or when the answer is dropped.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "engine")
            .header("content-type", "application/x-tar")
            .body(body)
            .map_err(Error::other)?;
        sender.send_request(request).await.map_err(Error::other)
    }
}

async fn json(path: &str, answer: Response<Incoming>) -> Result<Value> {
    Ok(serde_json::from_slice(&good(path, answer).await?)?)
}

async fn good(path: &str, answer: Response<Incoming>) -> Result<Bytes> {
    let answer = refuse_failure(path, answer).await?;
    let body = answer.into_body().collect().await.map_err(Error::other)?;
    Ok(body.to_bytes())
}

async fn refuse_failure(path: &str, answer: Response<Incoming>) -> Result<Response<Incoming>> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(Error::other)?;
    let said = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    let said: String = said.chars().take(SHOWN).collect();
    Err(Error::other(format!("{path}: {status}: {said}")))
}
