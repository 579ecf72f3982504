//! Each trick that an archive can try, by hand.

mod entries;
mod escapes;
mod headers;
mod streams;
mod withheld;

use super::*;

async fn refused(bytes: impl Into<Vec<u8>>, why: &str) {
    let error = Host::new().refuse(bytes).await;
    assert_eq!(error.kind(), ErrorKind::ArchiveRefused, "{error}");
    assert!(error.to_string().contains(why), "{error} does not say {why:?}");
    assert!(error.hint().is_some());
}

/// A member whose name stands in a PAX header.
fn pax(record: &[u8]) -> Tar {
    let mut length = record.len() + 3;
    while length != record.len() + 2 + length.to_string().len() {
        length += 1;
    }
    let line = [format!("{length} ").as_bytes(), record, b"\n"].concat();
    Tar::default().dir("x").with(EntryType::XHeader, "pax", &line)
}
