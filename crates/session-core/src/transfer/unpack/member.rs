//! Archive members, put together from the headers that describe them.
//!
//! The `tar` crate reads blocks and numbers; in its cooked mode it also gathers long names and PAX headers, of any
//! length and in memory. So we take its raw mode and gather them ourselves, bounded, and refuse whatever two readers
//! could understand differently.

use std::io::{self, Read};

use tar::{Archive, Entries, EntryType, Header};

use super::feed::FeedReader;
use super::pax::Pax;
use super::{OPERATION, over_limit, refused};
use crate::error::{Error, ErrorKind, Result};
use crate::transfer::{ArchiveLimits, MAX_PATH_BYTES};

/// The longest PAX header: room for a path, a link and an extended attribute of the kernel's largest size.
const MAX_PAX_BYTES: u64 = 256 << 10;
/// The latest time that is applied: the end of the year 9999.
const MAX_MTIME: i64 = 253_402_300_799;

/// One thing to extract.
pub(super) struct Member<'a> {
    /// As the archive says it.
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    /// Permission bits without setuid, setgid and sticky.
    pub(super) mode: u32,
    /// Seconds since 1970; `None` when the archive does not say, or says what cannot be.
    pub(super) mtime: Option<i64>,
    /// Of the content; 0 for all but files.
    pub(super) size: u64,
    pub(super) content: Content<'a>,
}

pub(super) type Content<'a> = tar::Entry<'a, FeedReader>;

pub(super) enum Kind {
    File,
    Dir,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
}

/// What describes the next member.
#[derive(Default)]
struct Described {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl Described {
    fn is_empty(&self) -> bool {
        self.path.is_none() && self.link.is_none() && self.pax.is_none()
    }
}

pub(super) struct Members<'a> {
    entries: Entries<'a, FeedReader>,
    limits: ArchiveLimits,
    headers: u64,
    bytes: u64,
}

impl<'a> Members<'a> {
    pub(super) fn of(archive: &'a mut Archive<FeedReader>, limits: ArchiveLimits) -> Result<Self> {
        let entries = archive.entries().map_err(broken)?.raw(true);
        Ok(Self {
            entries,
            limits,
            headers: 0,
            bytes: 0,
        })
    }

    /// The next member; `None` at the end, which may have come too early.
    pub(super) fn next(&mut self) -> Result<Option<Member<'a>>> {
        let mut described = Described::default();
        loop {
            let Some(entry) = self.entries.next() else {
                return if described.is_empty() {
                    Ok(None)
                } else {
                    Err(refused("a header describes an entry that does not follow", b""))
                };
            };
            let mut entry = entry.map_err(broken)?;
            let size = entry.header().entry_size().map_err(broken)?;
            self.count(size)?;
            match entry.header().entry_type() {
                EntryType::GNULongName => once(&mut described.path, long_name(&mut entry, size)?)?,
                EntryType::GNULongLink => once(&mut described.link, long_name(&mut entry, size)?)?,
                EntryType::XHeader => once(&mut described.pax, Pax::parse(&extension(&mut entry, size)?)?)?,
                EntryType::XGlobalHeader => harmless(&Pax::parse(&extension(&mut entry, size)?)?)?,
                _ => return member(entry, described, size).map(Some),
            }
        }
    }

    fn count(&mut self, size: u64) -> Result<()> {
        self.headers += 1;
        if self.headers > self.limits.entries {
            return Err(over_limit(
                "the archive has too many entries",
                self.limits.entries,
            ));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.bytes {
            return Err(over_limit("the archive holds too many bytes", self.limits.bytes));
        }
        Ok(())
    }
}

fn member(entry: Content<'_>, described: Described, size: u64) -> Result<Member<'_>> {
    let header = entry.header();
    let pax = described.pax.unwrap_or_default();
    let path = one_of(described.path, pax.path)?.unwrap_or_else(|| header.path_bytes().into_owned());
    let link = one_of(described.link, pax.link)?;
    if pax.size.is_some_and(|stated| stated != size) {
        return Err(refused("two headers state different sizes", &path));
    }
    let kind = kind(header, link, &path)?;
    if size > 0 && !matches!(kind, Kind::File) {
        return Err(refused("an entry that is no file has content", &path));
    }
    let mode = header.mode().map_err(broken)? & 0o777;
    let mtime = pax.mtime.or_else(|| header.mtime().ok()?.try_into().ok());
    let mtime = mtime.filter(|mtime| (0..=MAX_MTIME).contains(mtime));
    Ok(Member {
        path,
        kind,
        mode,
        mtime,
        size,
        content: entry,
    })
}

fn kind(header: &Header, link: Option<Vec<u8>>, path: &[u8]) -> Result<Kind> {
    let link = || {
        let link = link
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        let fits = !link.is_empty() && link.len() <= MAX_PATH_BYTES && !link.contains(&0);
        if fits {
            Ok(link)
        } else {
            Err(refused(
                "the target of a link is empty, too long or contains a NUL",
                path,
            ))
        }
    };
    match header.entry_type() {
        // Old archives mark directories so; others take it for a file.
        EntryType::Regular if path.ends_with(b"/") => {
            Err(refused("a file has the name of a directory", path))
        }
        EntryType::Regular => Ok(Kind::File),
        EntryType::Directory => Ok(Kind::Dir),
        EntryType::Symlink => Ok(Kind::Symlink(link()?)),
        EntryType::Link => Ok(Kind::HardLink(link()?)),
        EntryType::Block | EntryType::Char | EntryType::Fifo => {
            Err(refused("devices and pipes are never made", path))
        }
        EntryType::GNUSparse => Err(refused("sparse files are not taken", path)),
        other => Err(refused(
            format!("entries of type {:?} are not taken", char::from(other.as_byte())),
            path,
        )),
    }
}

/// Global headers apply to all that follows. None may rename or resize it.
fn harmless(pax: &Pax) -> Result<()> {
    if *pax == Pax::default() {
        Ok(())
    } else {
        Err(refused("a global header changes other entries", b""))
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(refused("two headers describe the same entry", b"")),
    }
}

fn one_of<T>(gnu: Option<T>, pax: Option<T>) -> Result<Option<T>> {
    match (gnu, pax) {
        (Some(_), Some(_)) => Err(refused("two headers describe the same entry", b"")),
        (gnu, pax) => Ok(gnu.or(pax)),
    }
}

fn long_name(entry: &mut Content<'_>, size: u64) -> Result<Vec<u8>> {
    if size > MAX_PATH_BYTES as u64 + 1 {
        return Err(refused("a name is too long", b""));
    }
    let mut name = read_exactly(entry, size)?;
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn extension(entry: &mut Content<'_>, size: u64) -> Result<Vec<u8>> {
    if size > MAX_PAX_BYTES {
        return Err(refused("an extension header is too long", b""));
    }
    read_exactly(entry, size)
}

fn read_exactly(entry: &mut Content<'_>, size: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = entry.take(size).read_to_end(&mut bytes).map_err(broken)?;
    if read as u64 == size {
        Ok(bytes)
    } else {
        Err(cut_short())
    }
}

/// The archive ends before it should.
pub(super) fn cut_short() -> Error {
    refused("the archive is incomplete", b"")
}

/// What the crate could not read.
pub(super) fn broken(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::ConnectionAborted {
        return Error::new(ErrorKind::Cancelled, OPERATION, "the stream broke off").with_source(error);
    }
    refused("the archive is malformed", b"").with_source(error)
}
