//! One file alone, under a name that its destination gives it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FileType, fstat};

use super::writer::Writer;
use super::{Failure, OPERATION, thread, walk};
use crate::api::ArchiveStream;
use crate::error::{Error, ErrorKind, Result};

/// Packs what `open` opens as one file named `name`, as [`pack()`](super::pack()) packs a file. `open` runs on the
/// thread that packs, so it may block, and decides by which way the file is reached.
///
/// Nothing happens before the stream is polled, which must be within a tokio runtime. Errors are items of the stream:
/// `HostIo` for what cannot be opened or read, which the caller gives the path that people know, and `InvalidArgument`
/// for what is no regular file and for a name that is none.
pub fn pack_file<O>(name: impl Into<String>, open: O) -> ArchiveStream
where
    O: FnOnce() -> io::Result<File> + Send + 'static,
{
    let name = name.into();
    thread::stream_of(move |writer| pack_as(&name, open, writer))
}

fn pack_as(name: &str, open: impl FnOnce() -> io::Result<File>, writer: &mut Writer) -> Result<(), Failure> {
    if !is_name(name) {
        let refused = invalid("a file cannot have this name").with_context("name", name.escape_debug());
        return Err(Failure::Told(refused));
    }
    let file = open().map_err(unreadable)?;
    let stat = fstat(&file).map_err(unreadable)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Failure::Told(invalid("this is not a regular file")));
    }
    walk::file(writer, name.as_bytes(), &file, &stat)?.map_err(unreadable)
}

/// One step of a path that leads to something by that name.
fn is_name(name: &str) -> bool {
    Path::new(name).file_name() == Some(OsStr::new(name)) && !name.contains('\0')
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, OPERATION, message)
}

fn unreadable(source: impl Into<io::Error>) -> Failure {
    let error = Error::new(ErrorKind::HostIo, OPERATION, "it could not be read");
    Failure::Told(error.with_source(source.into()))
}
