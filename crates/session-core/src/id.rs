//! Identifiers and validated names.
//!
//! Engines paste names into URLs and paths, so what is not one of these types never reaches a runtime. Ids are
//! written as UUIDs and all 128 bits are random: knowing one id says nothing about another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, ErrorKind};

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new random id.
            #[expect(clippy::new_without_default, reason = "a default id would hide that every call differs")]
            pub fn new() -> Self {
                Self(Uuid::from_bytes(rand::random()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.as_hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Uuid::try_parse(text).map(Self).map_err(|source| {
                    Error::new(ErrorKind::InvalidArgument, concat!("read a ", $what), "this is not a UUID")
                        .with_source(source)
                })
            }
        }
    };
}

uuid_id!(
    /// Names one session, for ever: a destroyed session's id is not used again.
    SessionId,
    "session id"
);
uuid_id!(
    /// Names one turn.
    TurnId,
    "turn id"
);
uuid_id!(
    /// Names one command in a session; also its process id on the link.
    CommandId,
    "command id"
);
uuid_id!(
    /// Names one terminal in a session; also its process id on the link.
    TerminalId,
    "terminal id"
);

uuid_id!(
    /// Names one checkpoint of a session's work.
    CheckpointId,
    "checkpoint id"
);

impl CommandId {
    /// The id that stands for a hash.
    pub(crate) fn from_hash(hash: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(hash).into_uuid())
    }
}

impl From<CommandId> for TerminalId {
    /// The terminal whose key is kept as that of the command.
    fn from(command: CommandId) -> Self {
        Self(command.0)
    }
}

/// The name of a session's container, and the prefix of its storage. Derived from the session's id alone, so that
/// whatever a crash left behind can be found from the record, and the record from what was left.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ContainerName(String);

impl TryFrom<String> for ContainerName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let session = Self::session(&text).map(|session| Self::of(&session));
        session.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                "read a container's name",
                "this is no name of ours",
            )
        })
    }
}

impl ContainerName {
    const PREFIX: &'static str = "cofferdam-";

    /// The container of `session`.
    pub fn of(session: &SessionId) -> Self {
        Self(format!("{}{session}", Self::PREFIX))
    }

    /// The session to which a name belongs; `None` for names that are not of this form.
    pub fn session(name: &str) -> Option<SessionId> {
        name.strip_prefix(Self::PREFIX)?.parse().ok()
    }

    /// The name as text: lower case letters, digits and `-` only.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An engine's own id of a container: it stays when somebody gives the container another name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// The id as text: at most 128 letters, digits, `-`, `_` and `.`, the first of them no `.`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if text.is_empty() || text.len() > 128 || text.starts_with('.') || !text.chars().all(allowed) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "read a container's id",
                "this is not an id",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ContainerId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A reference to an image: `name[:tag][@digest]`, at most 255 bytes of the characters that references may have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(
        value_type = String,
        max_length = 255,
        pattern = r"^[A-Za-z0-9][A-Za-z0-9._:@-]*(/[A-Za-z0-9_:@-][A-Za-z0-9._:@-]*)*$",
        example = "debian:12"
    )
)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef(String);

impl ImageRef {
    /// The reference as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let steps_up = text
            .split('/')
            .any(|part| part.is_empty() || part.starts_with('.'));
        if !starts_well || steps_up || text.len() > 255 || !text.chars().all(allowed) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "read an image reference",
                "this is not a reference",
            )
            .with_context("image", text.chars().take(80).collect::<String>().escape_debug())
            .with_hint("write it as NAME[:TAG], for example debian:12"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ImageRef {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> Self {
        image.0
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_container_name_leads_back_to_its_session() {
        let id = SessionId::new();
        assert_eq!(ContainerName::session(ContainerName::of(&id).as_str()), Some(id));
        assert_eq!(ContainerName::session("cofferdam-"), None);
        assert_eq!(ContainerName::session("other"), None);
    }

    #[test]
    fn image_references_that_could_leave_a_url_path_are_refused() {
        for bad in [
            "", "-x", "../x", "a/../b", "a b", "a?b", "a#b", "a\0b", "a%2fb", "a//b", "/a",
        ] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad:?}");
        }
        for good in [
            "debian",
            "debian:12",
            "ghcr.io/a/b:1",
            "localhost:5000/x@sha256:abc",
            "cofferdam-session:latest",
        ] {
            assert!(good.parse::<ImageRef>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn ids_that_could_leave_a_url_path_are_refused() {
        let long = "a".repeat(129);
        for bad in ["", ".", "..", "a/b", "a b", "a?b", "a%2fb", long.as_str()] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad:?}");
        }
        assert!("0a".repeat(32).parse::<ContainerId>().is_ok());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = text.parse::<ContainerId>();
            let _ = text.parse::<ImageRef>();
            let _ = text.parse::<SessionId>();
            let _ = ContainerName::session(&text);
        }
    }
}
