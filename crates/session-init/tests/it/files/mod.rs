//! Files: what goes in comes out, and what is made to do harm does none.

mod bounds;
mod harm;
mod packing;
mod trees;

use std::path::Path;

use bytes::Bytes;
use session_link::{CopyInOptions, CopyOutOptions, CopyReport, Link, Result};
use tar::{Builder, EntryType, Header};

async fn copy_in(link: &Link, dest: &Path, tar: &[u8], options: CopyInOptions) -> Result<CopyReport> {
    let mut copy = link.copy_in(dest.to_str().expect("text"), options).await?;
    for piece in tar.chunks(100_003) {
        copy.write(Bytes::copy_from_slice(piece)).await?;
    }
    copy.finish().await
}

async fn copy_out(link: &Link, path: &Path) -> Result<(Vec<u8>, CopyReport)> {
    let mut copy = link
        .copy_out(path.to_str().expect("text"), CopyOutOptions::default())
        .await?;
    let mut tar = Vec::new();
    while let Some(bytes) = copy.next().await? {
        tar.extend_from_slice(&bytes);
    }
    Ok((tar, copy.report().expect("complete")))
}

#[derive(Clone, Copy)]
struct Bad<'a> {
    path: &'a [u8],
    kind: EntryType,
    link: &'a [u8],
    mode: u32,
}

fn entry(builder: &mut Builder<Vec<u8>>, bad: Bad<'_>, contents: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(bad.kind);
    header.set_mode(bad.mode);
    header.set_size(contents.len() as u64);
    let old = header.as_old_mut();
    old.name[..bad.path.len()].copy_from_slice(bad.path);
    old.linkname[..bad.link.len()].copy_from_slice(bad.link);
    header.set_cksum();
    builder.append(&header, contents).expect("appended");
}

fn regular(path: &[u8]) -> Bad<'_> {
    Bad {
        path,
        kind: EntryType::Regular,
        link: b"",
        mode: 0o644,
    }
}

fn archive(entries: &[Bad<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for bad in entries {
        let contents: &[u8] = if bad.kind.is_file() { b"evil" } else { b"" };
        entry(&mut builder, *bad, contents);
    }
    builder.into_inner().expect("an archive")
}
