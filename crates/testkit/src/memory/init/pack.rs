//! Packs a file or a directory as it is: entries in the order of their names, links as links.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use session_link::{CopyOutOptions, CopyReport, ErrorKind, LinkError, Result};
use tar::{Builder, EntryType, Header};

use super::transfer::ChunkWriter;

const OPERATION: &str = "copy_out";

/// Packs `root` into `out`.
pub(super) fn pack(root: &Path, out: ChunkWriter, options: &CopyOutOptions) -> Result<CopyReport> {
    let mut packer = Packer {
        archive: Builder::new(out),
        options,
        report: CopyReport::default(),
        entries: 0,
    };
    let metadata = fs::symlink_metadata(root).map_err(failed)?;
    if metadata.is_dir() {
        packer.children(root, Path::new(""))?;
    } else {
        packer.entry(root, Path::new(root.file_name().unwrap_or_default()), &metadata)?;
    }
    let mut out = packer.archive.into_inner().map_err(failed)?;
    io::Write::flush(&mut out).map_err(failed)?;
    Ok(packer.report)
}

fn failed(error: io::Error) -> LinkError {
    LinkError::io(OPERATION, "a file operation failed", error)
}

struct Packer<'a> {
    archive: Builder<ChunkWriter>,
    options: &'a CopyOutOptions,
    report: CopyReport,
    entries: u64,
}

impl Packer<'_> {
    fn children(&mut self, directory: &Path, name: &Path) -> Result<()> {
        let mut children: Vec<_> = fs::read_dir(directory)
            .map_err(failed)?
            .collect::<io::Result<_>>()
            .map_err(failed)?;
        children.sort_by_key(fs::DirEntry::file_name);
        for child in children {
            let file_name = child.file_name();
            if self
                .options
                .exclude
                .iter()
                .any(|excluded| file_name == excluded.as_str())
            {
                continue;
            }
            let metadata = fs::symlink_metadata(child.path()).map_err(failed)?;
            self.entry(&child.path(), &name.join(&file_name), &metadata)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> Result<()> {
        self.entries += 1;
        if self.entries > self.options.max_entries {
            return Err(LinkError::new(
                ErrorKind::LimitReached,
                OPERATION,
                "there is more than is allowed",
            ));
        }
        let mut header = Header::new_gnu();
        header.set_mode(metadata.permissions().mode() & 0o7777);
        header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
        header.set_size(0);
        if metadata.is_dir() {
            header.set_entry_type(EntryType::Directory);
            self.report.directories += 1;
            self.archive
                .append_data(&mut header, name, io::empty())
                .map_err(failed)?;
            return self.children(path, name);
        }
        if metadata.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            self.report.symlinks += 1;
            let target = fs::read_link(path).map_err(failed)?;
            return self
                .archive
                .append_link(&mut header, name, target)
                .map_err(failed);
        }
        if !metadata.is_file() {
            self.report.skipped += 1;
            return Ok(());
        }
        header.set_entry_type(EntryType::Regular);
        header.set_size(metadata.len());
        self.report.files += 1;
        self.report.bytes += metadata.len();
        let file = File::open(path).map_err(failed)?;
        self.archive.append_data(&mut header, name, file).map_err(failed)
    }
}
