//! Canary keys, and the search for them: how a promise that a secret is *nowhere* is tested.
//!
//! A search reads whatever can be read (a stream, a tree of files, a process with its memory) and looks for the key as it is and
//! in the forms in which keys leak: base64 at each alignment, hexadecimal, percent-encoded and UTF-16. It must never be run inside
//! what it searches, or it finds itself.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use memchr::memmem::Finder;

const CHUNK: usize = 1 << 20;
/// Fewer characters of an encoded middle could be found by chance.
const MIN_NEEDLE: usize = 16;

/// A secret to look for.
#[derive(Debug, Clone)]
pub struct Canary {
    text: String,
    needles: Vec<Finder<'static>>,
    longest: usize,
}

impl Canary {
    /// A key that nobody has seen before and that looks like the provider's.
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = now.as_nanos() ^ (u128::from(std::process::id()) << 96);
        // Splitmix: unlike a plain number, it shares no long part with anything else.
        let mut state =
            u64::try_from(seed & u128::from(u64::MAX)).unwrap_or_default() ^ 0x5DEE_CE66_D1CE_CAFE;
        let mut text = String::from("sk-ant-canary-");
        for _ in 0..3 {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut word = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            // Writing into a string cannot fail.
            let _written = write!(text, "{:016x}", word ^ (word >> 31));
        }
        Self::of(text)
    }

    /// A search for a secret that exists already.
    pub fn of(text: impl Into<String>) -> Self {
        let text = text.into();
        let forms = forms(text.as_bytes());
        let longest = forms.iter().map(Vec::len).max().unwrap_or_default();
        let needles = forms.iter().map(|form| Finder::new(form).into_owned()).collect();
        Self {
            text,
            needles,
            longest,
        }
    }

    /// The secret itself.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the secret is in these bytes, in any form.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.needles.iter().any(|needle| needle.find(bytes).is_some())
    }

    /// A search through bytes that come piece by piece.
    pub fn search(&self) -> Search<'_> {
        Search {
            canary: self,
            tail: Vec::new(),
            found: false,
            bytes: 0,
        }
    }

    /// Whether the secret is in what this yields to its end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_in_reader(&self, mut reader: impl Read) -> io::Result<bool> {
        let mut search = self.search();
        let mut chunk = vec![0; CHUNK];
        loop {
            match reader.read(&mut chunk) {
                Ok(0) => return Ok(search.found()),
                Ok(read) => search.feed(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The files below a directory that hold the secret, in their content, name or symlink target. Sockets and devices are
    /// looked at by name alone.
    ///
    /// # Errors
    /// When something below cannot be read; what vanishes meanwhile is no error.
    pub fn files_in(&self, root: &Path) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut waiting = vec![root.to_owned()];
        while let Some(path) = waiting.pop() {
            match self.look_at(&path, &mut waiting) {
                Ok(true) => found.push(path),
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn look_at(&self, path: &Path, waiting: &mut Vec<PathBuf>) -> io::Result<bool> {
        let kind = fs::symlink_metadata(path)?.file_type();
        let named = self.is_in(path.as_os_str().as_encoded_bytes());
        if kind.is_dir() {
            for entry in fs::read_dir(path)? {
                waiting.push(entry?.path());
            }
        } else if kind.is_symlink() {
            return Ok(named || self.is_in(fs::read_link(path)?.as_os_str().as_encoded_bytes()));
        } else if kind.is_file() {
            return Ok(named || self.is_in_reader(File::open(path)?)?);
        }
        Ok(named)
    }

    /// Where in a process of this machine the secret is: `environ`, `cmdline`, and `mem` when `memory` is wanted. A process that
    /// ends meanwhile holds nothing.
    ///
    /// # Errors
    /// When this user may not look at it.
    pub fn in_process(&self, pid: u32, memory: bool) -> io::Result<Vec<&'static str>> {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let mut found = Vec::new();
        for part in ["environ", "cmdline"] {
            if gone_is_none(fs::read(dir.join(part)))?.is_some_and(|bytes| self.is_in(&bytes)) {
                found.push(part);
            }
        }
        if memory && gone_is_none(self.is_in_memory(&dir))?.unwrap_or(false) {
            found.push("mem");
        }
        Ok(found)
    }

    fn is_in_memory(&self, process: &Path) -> io::Result<bool> {
        let maps = fs::read_to_string(process.join("maps"))?;
        let mut memory = File::open(process.join("mem"))?;
        let mut chunk = vec![0; CHUNK];
        for (start, end) in maps.lines().filter_map(writable_range) {
            let mut search = self.search();
            let mut at = start;
            while at < end {
                let length = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
                memory.seek(SeekFrom::Start(at))?;
                // A mapping may be gone by now, or refuse to be read; the rest of it then says nothing either.
                let Ok(read) = memory.read(&mut chunk[..length]) else {
                    break;
                };
                if read == 0 {
                    break;
                }
                search.feed(&chunk[..read]);
                at += read as u64;
            }
            if search.found() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Default for Canary {
    fn default() -> Self {
        Self::new()
    }
}

/// A search through a stream. What spans two pieces is found, too.
#[derive(Debug)]
pub struct Search<'a> {
    canary: &'a Canary,
    tail: Vec<u8>,
    found: bool,
    bytes: u64,
}

impl Search<'_> {
    /// Looks through the next piece.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.found {
            return;
        }
        let keep = self.canary.longest.saturating_sub(1);
        // What began in the last piece ends in the first bytes of this one.
        self.tail.extend_from_slice(&bytes[..bytes.len().min(keep)]);
        self.found = self.canary.is_in(&self.tail) || self.canary.is_in(bytes);
        if bytes.len() >= keep {
            self.tail.clear();
            self.tail.extend_from_slice(&bytes[bytes.len() - keep..]);
        } else {
            let excess = self.tail.len().saturating_sub(keep);
            self.tail.drain(..excess);
        }
    }

    /// Whether the secret was in what was fed so far.
    pub fn found(&self) -> bool {
        self.found
    }

    /// How many bytes were fed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn gone_is_none<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    const NO_SUCH_PROCESS: i32 = 3;
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(NO_SUCH_PROCESS) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The range of a line of `/proc/PID/maps` that the process can write to: a program's own text holds no secret of ours.
fn writable_range(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    if !words.next()?.starts_with("rw") {
        return None;
    }
    Some((
        u64::from_str_radix(start, 16).ok()?,
        u64::from_str_radix(end, 16).ok()?,
    ))
}

fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        secret.to_vec(),
        hex(secret).into_bytes(),
        hex(secret).to_uppercase().into_bytes(),
    ];
    forms.push(secret.iter().flat_map(|byte| [*byte, 0]).collect());
    let percent: String = secret.iter().map(|byte| format!("%{byte:02X}")).collect();
    forms.push(percent.into_bytes());
    for alignment in 0..3 {
        forms.push(base64_middle(secret, alignment, b"+/"));
        forms.push(base64_middle(secret, alignment, b"-_"));
    }
    forms.sort_unstable();
    forms.dedup();
    forms.retain(|form| form.len() >= MIN_NEEDLE);
    forms
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The part of an encoding that depends on the secret alone, when so many bytes stand before it in its group of three.
fn base64_middle(secret: &[u8], alignment: usize, last_two: &[u8; 2]) -> Vec<u8> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let letter = |value: u32| match value & 63 {
        62 => last_two[0],
        63 => last_two[1],
        value => ALPHABET[value as usize],
    };
    let whole = secret.get((3 - alignment) % 3..).unwrap_or_default();
    let groups = whole.chunks_exact(3).map(|group| {
        let value = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        [
            letter(value >> 18),
            letter(value >> 12),
            letter(value >> 6),
            letter(value),
        ]
    });
    groups.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "sk-ant-canary-0123456789abcdef";

    #[test]
    fn every_form_is_found() {
        let canary = Canary::of(SECRET);
        for form in [
            SECRET.to_owned(),
            hex(SECRET.as_bytes()),
            "eHNrLWFudC1jYW5hcnktMDEyMzQ1Njc4OWFiY2RlZg==".to_owned(),
            "c2stYW50LWNhbmFyeS0wMTIzNDU2Nzg5YWJjZGVm".to_owned(),
            "eHhzay1hbnQtY2FuYXJ5LTAxMjM0NTY3ODlhYmNkZWY=".to_owned(),
        ] {
            assert!(canary.is_in(format!("before {form} after").as_bytes()), "{form}");
        }
        let wide: Vec<u8> = SECRET.bytes().flat_map(|byte| [byte, 0]).collect();
        assert!(canary.is_in(&wide));
        assert!(!canary.is_in(b"sk-ant-canary-0123456789abcde_"));
    }

    #[test]
    fn what_spans_pieces_is_found() {
        let canary = Canary::of(SECRET);
        let text = format!("{}{SECRET}{}", "x".repeat(300), "y".repeat(300));
        for size in [1, 2, 7, 29, 31, 64, 299, 301, 1000] {
            let mut search = canary.search();
            text.as_bytes().chunks(size).for_each(|piece| search.feed(piece));
            assert!(search.found(), "in pieces of {size}");
            assert_eq!(search.bytes(), text.len() as u64);
        }
        let mut search = canary.search();
        search.feed(&SECRET.as_bytes()[..20]);
        search.feed(b"-");
        search.feed(&SECRET.as_bytes()[20..]);
        assert!(!search.found());
    }

    #[test]
    fn files_names_and_links_are_searched() {
        let canary = Canary::new();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("deep")).unwrap();
        fs::write(dir.path().join("deep/clean"), "nothing").unwrap();
        assert_eq!(canary.files_in(dir.path()).unwrap(), Vec::<PathBuf>::new());
        fs::write(dir.path().join("deep/dirty"), format!("key={}\n", canary.text())).unwrap();
        std::os::unix::fs::symlink(canary.text(), dir.path().join("link")).unwrap();
        assert_eq!(canary.files_in(dir.path()).unwrap().len(), 2);
    }

    #[test]
    fn a_process_is_searched_with_its_memory() {
        let canary = Canary::new();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .env("KEY", canary.text())
            .spawn()
            .unwrap();
        // Until it has become the program that it shall be.
        while fs::read(format!("/proc/{}/cmdline", child.id())).unwrap() != b"sleep\x0060\x00" {
            std::thread::yield_now();
        }
        let found = canary.in_process(child.id(), true).unwrap();
        let clean = Canary::new().in_process(child.id(), true).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, ["environ", "mem"]);
        assert_eq!(clean, Vec::<&str>::new());
    }

    #[test]
    fn no_two_canaries_are_alike() {
        assert_ne!(Canary::new().text(), Canary::new().text());
        assert!(Canary::new().text().len() > 40);
    }
}
