//! The first bytes of a link, in both directions at once: who is there and which protocol they speak.
//!
//! ```text
//! 0        8          10        14
//! | magic  | version  | length  | JSON of that length
//! ```
//!
//! The version stands outside the JSON, so that even an end that cannot read the rest can say what is wrong.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::{ErrorKind, LinkError, Result};

/// The version of everything in [`crate::wire`]. Both ends must speak the same.
pub const PROTOCOL_VERSION: u16 = 2;

/// The longest JSON of a preface.
pub const MAX_PREFACE: u32 = 4096;

const MAGIC: [u8; 8] = *b"COFRDAM\n";
const HEADER: usize = 14;

/// What `session-init` says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol it speaks.
    pub protocol: u16,
    /// Its own version.
    pub init_version: String,
    /// A random name of this boot of the container: another one means that every process is gone.
    pub boot_id: String,
    /// The session it was started for.
    pub session: String,
}

/// What the host says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The protocol it speaks.
    pub protocol: u16,
}

impl Hello {
    /// Bounds and alphabet of what a container says, so that it can be shown and stored.
    ///
    /// # Errors
    /// `Protocol` if a field is empty, too long or not plain text.
    pub fn check(&self) -> Result<()> {
        let plain = |text: &str| text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_graphic());
        let named = !self.boot_id.is_empty() && !self.init_version.is_empty();
        if named && plain(&self.boot_id) && plain(&self.init_version) && plain(&self.session) {
            return Ok(());
        }
        Err(LinkError::protocol(
            "establish",
            "the hello has a field that is empty, too long or not plain text",
        ))
    }
}

/// The bytes of a preface that carries `message`.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(message).map_err(|error| {
        LinkError::invalid("establish", "the preface cannot be encoded").with_source(error)
    })?;
    let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
    if length > MAX_PREFACE {
        return Err(LinkError::invalid("establish", "the preface is too long"));
    }
    let mut bytes = Vec::with_capacity(HEADER + json.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&PROTOCOL_VERSION.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&json);
    Ok(bytes)
}

/// Writes the preface that carries `message`.
///
/// # Errors
/// `Closed` if the carrier does not take it.
pub async fn send<IO: AsyncWrite + Unpin, T: Serialize>(io: &mut IO, message: &T) -> Result<()> {
    let bytes = encode(message)?;
    let lost = |error| LinkError::carrier("establish", error);
    io.write_all(&bytes).await.map_err(lost)?;
    io.flush().await.map_err(lost)
}

/// Reads the other end's preface, and not one byte more.
///
/// # Errors
/// `Protocol` for anything that is not a preface, `UnsupportedVersion`, `Closed` if the carrier ends.
pub async fn receive<IO: AsyncRead + Unpin, T: DeserializeOwned>(io: &mut IO) -> Result<T> {
    let lost = |error| LinkError::carrier("establish", error);
    let mut header = [0; HEADER];
    io.read_exact(&mut header).await.map_err(lost)?;
    let length = check_header(&header)?;
    let mut json = vec![0; length];
    io.read_exact(&mut json).await.map_err(lost)?;
    serde_json::from_slice(&json)
        .map_err(|error| LinkError::protocol("establish", "the preface cannot be read").with_source(error))
}

fn check_header(header: &[u8; HEADER]) -> Result<usize> {
    let [magic @ .., v1, v0, l3, l2, l1, l0] = header;
    if *magic != MAGIC {
        return Err(LinkError::protocol(
            "establish",
            "the other end does not speak this protocol",
        ));
    }
    let version = u16::from_be_bytes([*v1, *v0]);
    if version != PROTOCOL_VERSION {
        let said = format!("this end speaks protocol {PROTOCOL_VERSION}, the other {version}");
        return Err(LinkError::new(ErrorKind::UnsupportedVersion, "establish", said));
    }
    let length = u32::from_be_bytes([*l3, *l2, *l1, *l0]);
    if length > MAX_PREFACE {
        return Err(LinkError::protocol("establish", "the preface is too long"));
    }
    Ok(length as usize)
}
