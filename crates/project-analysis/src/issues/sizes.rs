//! Files that are unusually large for something that is kept in a repository.

use schemars::JsonSchema;
use serde::Serialize;

use super::Issues;
use crate::project::File;

/// From here on a file is oversized, in bytes.
pub(crate) const OVERSIZED: u64 = 5 << 20;
/// And a source file already from here.
const OVERSIZED_SOURCE: u64 = 512 << 10;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OversizedFile {
    /// The path.
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
    /// From how many bytes a file of its kind is oversized.
    pub threshold: u64,
}

pub(super) fn look(file: &File, issues: &mut Issues) {
    let language = crate::structure::languages::language(&file.path);
    let is_source =
        language.is_some_and(|language| !matches!(language, "JSON" | "SVG" | "Text" | "XML" | "YAML"));
    let is_source = is_source && !super::is_generated(file);
    let threshold = if is_source { OVERSIZED_SOURCE } else { OVERSIZED };
    if file.bytes > threshold {
        issues.oversized_files.push(OversizedFile {
            path: file.path.clone(),
            bytes: file.bytes,
            threshold,
        });
    }
}
