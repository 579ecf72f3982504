//! Arguments are bytes, JSON is text: an argument travels as a string where it is one, as a list of bytes where not.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

#[derive(Serialize)]
#[serde(untagged)]
enum Borrowed<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Owned {
    Text(String),
    Bytes(Vec<u8>),
}

/// For `#[serde(with = …)]` on a `Vec<OsString>`.
pub(crate) mod list {
    use super::{
        Borrowed, Deserialize, Deserializer, OsStr, OsStrExt, OsString, OsStringExt, Owned, Serializer, de,
    };

    pub(crate) fn serialize<S: Serializer>(list: &[OsString], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(|item| {
            let item: &OsStr = item;
            item.to_str()
                .map_or(Borrowed::Bytes(item.as_bytes()), Borrowed::Text)
        }))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OsString>, D::Error> {
        let list = Vec::<Owned>::deserialize(deserializer)?;
        list.into_iter()
            .map(|item| match item {
                Owned::Text(text) if text.as_bytes().contains(&0) => {
                    Err(de::Error::custom("NUL in an argument"))
                }
                Owned::Bytes(bytes) if bytes.contains(&0) => Err(de::Error::custom("NUL in an argument")),
                Owned::Text(text) => Ok(text.into()),
                Owned::Bytes(bytes) => Ok(OsString::from_vec(bytes)),
            })
            .collect()
    }
}
