//! Where the bytes are.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::project::Project;

/// How many of the largest are told.
const LARGEST: usize = 20;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Sizes {
    /// The largest files, at most 20.
    pub largest_files: Vec<Sized>,
    /// The directories with the most bytes in and below them, at most 20; the root is not among them.
    pub largest_directories: Vec<SizedDirectory>,
}

/// A file and its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Sized {
    /// The path.
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
}

/// A directory and what is below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SizedDirectory {
    /// The path.
    pub path: String,
    /// Files in and below it.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
}

pub(super) fn of(project: &Project) -> Sizes {
    let mut files: Vec<_> = project.files.iter().collect();
    files.sort_by(|one, other| {
        other
            .bytes
            .cmp(&one.bytes)
            .then_with(|| one.path.cmp(&other.path))
    });
    let largest_files = files.iter().take(LARGEST).map(|file| Sized {
        path: file.path.clone(),
        bytes: file.bytes,
    });
    Sizes {
        largest_files: largest_files.collect(),
        largest_directories: directories(project),
    }
}

fn directories(project: &Project) -> Vec<SizedDirectory> {
    let mut sums: BTreeMap<&str, (u64, u64)> = project.directories().map(|path| (path, (0, 0))).collect();
    for file in &project.files {
        let mut above = file.directory();
        while !above.is_empty() {
            if let Some((files, bytes)) = sums.get_mut(above) {
                *files += 1;
                *bytes = bytes.saturating_add(file.bytes);
            }
            above = crate::text::parent(above);
        }
    }
    let mut directories: Vec<_> = sums.into_iter().filter(|(_, (files, _))| *files > 0).collect();
    // Stable: equal ones stay in the order of their paths.
    directories.sort_by_key(|(_, (_, bytes))| std::cmp::Reverse(*bytes));
    let largest = directories.into_iter().take(LARGEST);
    largest
        .map(|(path, (files, bytes))| SizedDirectory {
            path: path.to_owned(),
            files,
            bytes,
        })
        .collect()
}
