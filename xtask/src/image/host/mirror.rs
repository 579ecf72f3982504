//! Which Debian mirror this machine uses, from either format of apt's source lists.

use std::path::Path;

use super::address::Address;

const DIR: &str = "/etc/apt";

/// Where Debian's packages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    /// The archive itself.
    pub(crate) main: Address,
    /// The archive of security updates, when one is known.
    pub(crate) security: Option<Address>,
}

impl Mirror {
    /// The text of a `sources.list` for a suite.
    pub(crate) fn sources(&self, suite: &str) -> String {
        let main = &self.main;
        let mut text = format!("deb {main} {suite} main\ndeb {main} {suite}-updates main\n");
        if let Some(security) = &self.security {
            text.push_str(&format!("deb {security} {suite}-security main\n"));
        }
        text
    }
}

/// The mirror of this machine, if it runs Debian.
pub(crate) fn of_this_machine() -> Option<Mirror> {
    let release = std::fs::read_to_string("/etc/os-release").ok()?;
    let codename = debian_codename(&release)?;
    let texts = source_files(Path::new(DIR));
    parse(texts.iter().map(String::as_str), codename)
}

/// The mirror in the texts of source lists; only entries for that suite count.
///
/// Debian serves the security updates of `…/debian` at `…/debian-security`, and mirrors keep to that; it is what we use
/// when no entry says otherwise.
pub(crate) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>, suite: &str) -> Option<Mirror> {
    let entries: Vec<_> = texts.into_iter().flat_map(entries).collect();
    let of = |suite: &str| {
        let entry = entries
            .iter()
            .find(|entry| entry.suite == suite && entry.address.is_some())?;
        entry.address.clone()
    };
    let main = of(suite)?;
    let security = of(&format!("{suite}-security")).or_else(|| beside(&main));
    Some(Mirror { main, security })
}

fn beside(main: &Address) -> Option<Address> {
    let main = main.to_string();
    let main = main.trim_end_matches('/');
    main.ends_with("/debian")
        .then(|| Address::parse(&format!("{main}-security")))?
}

fn debian_codename(os_release: &str) -> Option<&str> {
    let value = |key: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map(|v| v.trim_matches('"'))
    };
    (value("ID=") == Some("debian")).then(|| value("VERSION_CODENAME="))?
}

fn source_files(dir: &Path) -> Vec<String> {
    let listed = std::fs::read_dir(dir.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut files: Vec<_> = listed
        .filter(|path| {
            path.extension()
                .is_some_and(|end| end == "list" || end == "sources")
        })
        .collect();
    files.sort();
    files.insert(0, dir.join("sources.list"));
    files
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    address: Option<Address>,
    suite: String,
}

/// The entries of a text in either format; one in the old format has no `Key:` lines and the other way round.
fn entries(text: &str) -> Vec<Entry> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let mut entries: Vec<_> = lines.filter_map(one_line).collect();
    let stanzas = text.split("\n\n");
    entries.extend(stanzas.flat_map(stanza));
    entries
}

/// `deb [options] URI suite components…`
fn one_line(line: &str) -> Option<Entry> {
    let rest = line.strip_prefix("deb ").map(str::trim_start)?;
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut words = rest.split_whitespace();
    Some(Entry {
        address: Address::parse(words.next()?),
        suite: words.next()?.to_owned(),
    })
}

/// `Types:`, `URIs:`, `Suites:` and so on, one a line; a continued value is of no interest here.
fn stanza(text: &str) -> Vec<Entry> {
    let value = |key: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value.trim())
    };
    let binary = value("Types").is_some_and(|types| types.split_whitespace().any(|kind| kind == "deb"));
    let enabled = value("Enabled").is_none_or(|enabled| !enabled.eq_ignore_ascii_case("no"));
    let (Some(uris), Some(suites), true) = (value("URIs"), value("Suites"), binary && enabled) else {
        return Vec::new();
    };
    let suites = suites.split_whitespace();
    let entry = |suite: &str| Entry {
        address: uris.split_whitespace().find_map(Address::parse),
        suite: suite.to_owned(),
    };
    suites.map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(main: &str, security: Option<&str>) -> Option<Mirror> {
        let address = |text: &str| Address::parse(text).expect("an address");
        Some(Mirror {
            main: address(main),
            security: security.map(address),
        })
    }

    #[test]
    fn reads_the_old_format() {
        let text = "# deb http://old/debian bookworm main\n\
                    deb-src http://src/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://m/debian bookworm main contrib\n\
                    deb http://s/security bookworm-security main\n";
        assert_eq!(
            parse([text], "bookworm"),
            mirror("http://m/debian", Some("http://s/security"))
        );
        assert_eq!(parse([text], "trixie"), None);
    }

    #[test]
    fn reads_the_new_format() {
        let text = "Types: deb deb-src\n# why\nURIs: http://m/debian\nSuites: trixie trixie-updates\nComponents: main\n\n\
                    Types: deb\nURIs: http://m/debian-security/\nSuites: trixie-security\nComponents: main\n";
        assert_eq!(
            parse([text], "trixie"),
            mirror("http://m/debian", Some("http://m/debian-security/"))
        );
    }

    #[test]
    fn leaves_out_what_is_off_and_what_holds_a_password() {
        let off = "Types: deb\nEnabled: no\nURIs: http://off/debian\nSuites: bookworm\n";
        let secret = "deb http://me:pw@m/debian bookworm main\n";
        let good = "deb http://m/other bookworm main\n";
        assert_eq!(parse([off, secret], "bookworm"), None);
        assert_eq!(
            parse([off, secret, good], "bookworm"),
            mirror("http://m/other", None)
        );
    }

    #[test]
    fn security_updates_stand_beside_the_archive() {
        let text = "deb http://m/debian/ bookworm main\n";
        let found = parse([text], "bookworm");
        assert_eq!(
            found,
            mirror("http://m/debian/", Some("http://m/debian-security"))
        );
        assert_eq!(
            found.expect("a mirror").sources("bookworm"),
            "deb http://m/debian/ bookworm main\ndeb http://m/debian/ bookworm-updates main\n\
             deb http://m/debian-security bookworm-security main\n"
        );
    }

    #[test]
    fn only_debian_has_a_debian_mirror() {
        assert_eq!(
            debian_codename("ID=debian\nVERSION_CODENAME=trixie\n"),
            Some("trixie")
        );
        assert_eq!(
            debian_codename("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n"),
            None
        );
    }
}
