//! Patches and lists of changed files for a terminal.

use session_core::session::{ChangedFile, WorkspaceDiff};

use super::count;
use crate::printer::Paint;
use crate::sanitize;

/// A patch with its escapes made visible and its lines coloured. Not a patch any more: for eyes only.
pub fn patch(text: &str, paint: Paint) -> String {
    let safe = sanitize::lines(text);
    let mut shown = String::with_capacity(safe.len() + safe.len() / 8);
    for line in safe.split_terminator('\n') {
        shown += &line_of_patch(line, paint);
        shown.push('\n');
    }
    shown
}

fn line_of_patch(line: &str, paint: Paint) -> String {
    const HEADERS: [&str; 6] = [
        "diff --git ",
        "index ",
        "--- ",
        "+++ ",
        "new file ",
        "deleted file ",
    ];
    if HEADERS.iter().any(|header| line.starts_with(header)) {
        return paint.bold(line);
    }
    match line.bytes().next() {
        Some(b'@') => paint.cyan(line),
        Some(b'+') => paint.green(line),
        Some(b'-') => paint.red(line),
        _ => line.to_owned(),
    }
}

/// One line that counts, then one line for each of the first files.
pub fn changed_files(diff: &WorkspaceDiff, paint: Paint) -> String {
    const SHOWN: usize = 20;
    if diff.files.is_empty() {
        return "no changes in the workspace".to_owned();
    }
    let number = u64::try_from(diff.files.len()).unwrap_or(u64::MAX);
    let mut text = paint.bold(format_args!("{} changed", count(number, "file")));
    for file in diff.files.iter().take(SHOWN) {
        text += &format!("\n  {}", changed_file(file, paint));
    }
    if diff.files.len() > SHOWN {
        text += &paint.dim(format_args!("\n  … and {} more", diff.files.len() - SHOWN));
    }
    text
}

fn changed_file(file: &ChangedFile, paint: Paint) -> String {
    let path = sanitize::one_line(&file.path);
    let letter = sanitize::one_line(file.status.encode_utf8(&mut [0; 4])).into_owned();
    match file.status {
        'A' => format!("{} {path}", paint.green(letter)),
        'D' => format!("{} {path}", paint.red(letter)),
        _ => format!("{} {path}", paint.yellow(letter)),
    }
}
