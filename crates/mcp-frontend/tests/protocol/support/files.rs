//! Archives for the fake.

use session_core::session::CopyReport;

/// An archive of files.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// The names and contents of an archive's files.
pub(crate) fn contents(archive: &[u8]) -> Vec<(String, String)> {
    use std::io::Read as _;
    let mut reader = tar::Archive::new(archive);
    let entries = reader.entries().unwrap().map(Result::unwrap);
    entries
        .filter(|entry| entry.header().entry_type().is_file())
        .map(|mut entry| {
            let name = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (name, text)
        })
        .collect()
}

/// What went through.
pub(crate) fn report(archive: &[u8]) -> CopyReport {
    let mut reader = tar::Archive::new(archive);
    let sizes: Vec<u64> = reader
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().size())
        .collect();
    CopyReport {
        entries: sizes.len() as u64,
        bytes: sizes.iter().sum(),
    }
}
