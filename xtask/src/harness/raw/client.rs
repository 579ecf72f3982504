//! HTTP/1.1 over the engine's socket.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use xtask::error::{Context, Error, Result};

/// Spoken by every engine from 20.10 on.
const VERSION: &str = "v1.41";
/// No call of a measurement takes longer.
const PATIENCE: Duration = Duration::from_secs(120);
/// Output of an exec is framed: eight bytes of header before each piece.
const FRAME_HEADER: usize = 8;

/// One connection that is kept, and more for what takes a connection over.
#[derive(Debug)]
pub(super) struct Client {
    socket: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    pub(super) async fn connect(socket: &str) -> Result<Self> {
        Ok(Self {
            socket: socket.to_owned(),
            sender: open(socket).await?,
        })
    }

    pub(super) fn socket(&self) -> &str {
        &self.socket
    }

    pub(super) async fn get(&mut self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, &Value::Null).await
    }

    pub(super) async fn post(&mut self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, body).await
    }

    pub(super) async fn delete(&mut self, path: &str) -> Result<()> {
        self.call(Method::DELETE, path, &Value::Null).await.map(drop)
    }

    /// Posts to what answers with a raw stream, and reads that to its end.
    pub(super) async fn hijack(&self, path: &str) -> Result<Vec<u8>> {
        let doing = || format!("the engine's stream at {path} broke off");
        let mut sender = open(&self.socket).await?;
        let mut request = request(&Method::POST, path, &json!({ "Detach": false, "Tty": false }))?;
        let headers = request.headers_mut();
        headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, hyper::header::HeaderValue::from_static("tcp"));
        let response = sender.send_request(request).await.context(doing)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(path, response).await);
        }
        let upgraded = hyper::upgrade::on(response).await.context(doing)?;
        let mut framed = Vec::new();
        let reading = TokioIo::new(upgraded).read_to_end(&mut framed).await;
        reading.context(doing)?;
        Ok(unframed(&framed))
    }

    /// Reads a long answer piece by piece, on a connection of its own.
    pub(super) async fn stream(&self, path: &str, mut each: impl FnMut(&[u8])) -> Result<()> {
        let doing = || format!("the engine's answer to {path} broke off");
        let mut sender = open(&self.socket).await?;
        let request = request(&Method::GET, path, &Value::Null)?;
        let response = sender.send_request(request).await.context(doing)?;
        if !response.status().is_success() {
            return Err(refusal(path, response).await);
        }
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            if let Some(data) = frame.context(doing)?.data_ref() {
                each(data);
            }
        }
        Ok(())
    }

    async fn call(&mut self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let doing = || format!("the engine does not answer {method} {path}");
        let request = request(&method, path, body)?;
        if self.sender.is_closed() {
            self.sender = open(&self.socket).await?;
        }
        self.sender.ready().await.context(doing)?;
        let answered = tokio::time::timeout(PATIENCE, self.sender.send_request(request));
        let response = answered.await.context(doing)?.context(doing)?;
        if !response.status().is_success() && response.status() != StatusCode::NOT_MODIFIED {
            return Err(refusal(path, response).await);
        }
        let body = response.into_body().collect().await.context(doing)?.to_bytes();
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).context(|| format!("the engine's answer to {path} is not JSON"))
    }
}

async fn open(socket: &str) -> Result<SendRequest<Full<Bytes>>> {
    let doing = || format!("cannot connect to the engine at {socket}");
    let stream = UnixStream::connect(socket).await.context(doing)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.context(doing)?;
    // It ends when the sender is dropped or the engine hangs up; both are seen by the next call.
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

fn request(method: &Method, path: &str, body: &Value) -> Result<Request<Full<Bytes>>> {
    let body = if body.is_null() {
        Bytes::new()
    } else {
        Bytes::from(body.to_string())
    };
    Request::builder()
        .method(method)
        .uri(format!("/{VERSION}{path}"))
        .header(HOST, "engine")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .context(|| format!("{path} is no request"))
}

async fn refusal(path: &str, response: Response<hyper::body::Incoming>) -> Error {
    let status = response.status();
    let body = response.into_body().collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Error::new(format!("the engine answers {status} to {path}")).output(String::from_utf8_lossy(&body))
}

fn unframed(mut framed: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    while let Some((header, rest)) = framed.split_at_checked(FRAME_HEADER) {
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
        output.extend_from_slice(&rest[..length]);
        framed = &rest[length..];
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_off() {
        let framed = b"\x01\0\0\0\0\0\0\x03one\x02\0\0\0\0\0\0\x03two\x01\0\0\0\0\0\0\xffcut";
        assert_eq!(unframed(framed), b"onetwocut");
        assert_eq!(unframed(b"\x01\0\0"), b"");
    }
}
