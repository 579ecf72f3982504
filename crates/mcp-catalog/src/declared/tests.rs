use proptest::prelude::*;
use session_core::mcp::McpSelection;

use super::*;
use crate::testing::{CANARY, json_with_canary, name};

const WHOLE: &str = r#"
only_published = true
search_above = 7

# The repositories.
[servers.git]
command = "mcp-server-git"
env = { TOKEN = { env = "GIT_TOKEN" } }

[servers.docs]
url = "https://docs.example.com/mcp"
headers = { Authorization = { prefix = "Bearer ", env = "DOCS_TOKEN" } }

[servers.old]
command = "old"
enabled = false

[profiles.default]
servers = ["git", "docs", "old"]
tools = ["git__*", "docs__search"]
search = true

[profiles.all]
servers = ["git"]
"#;

fn error_of(text: &str) -> Error {
    let error = Declared::parse(text).expect_err(text);
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.hint().is_some(), "{text}");
    error
}

fn context<'a>(error: &'a Error, key: &str) -> Option<&'a str> {
    error
        .context()
        .iter()
        .find(|(known, _)| *known == key)
        .map(|(_, value)| value.as_str())
}

#[test]
fn a_whole_file_is_read() {
    let declared = Declared::parse(WHOLE).unwrap();
    assert!(declared.only_published);
    assert_eq!(declared.search_above, 7);
    assert_eq!(declared.servers.len(), 3);
    let profile = &declared.profiles[&name("default")];
    assert_eq!(profile.servers, [name("git"), name("docs"), name("old")]);
    assert_eq!(profile.search, Some(true));
    assert_eq!(Declared::parse("").unwrap(), Declared::default());
    assert_eq!(Declared::default().search_above, 40);
}

#[test]
fn what_does_not_hold_is_an_error_with_its_line_and_place() {
    for (text, line, field, words) in [
        ("not toml", "1", None, "not TOML"),
        (
            "[servers.a]\ncommand = \"a\"\n[servers.a]\ncommand = \"b\"",
            "3",
            None,
            "twice",
        ),
        (
            "[servers.a]\ncommand = \"a\"\ncommand = \"b\"",
            "3",
            None,
            "twice",
        ),
        ("serves = 1", "1", Some("serves"), "no such key"),
        (
            "[servers.a]\n\ncomand = \"a\"",
            "3",
            Some("servers.a.comand"),
            "no such key",
        ),
        (
            "# x\n[servers.A]\ncommand = \"a\"",
            "2",
            Some("servers.A"),
            "no name",
        ),
        (
            "[servers.a__b]\ncommand = \"a\"",
            "1",
            Some("servers.a__b"),
            "no name",
        ),
        (
            "[servers.a]\nargs = []",
            "1",
            Some("servers.a"),
            "neither a command nor a url",
        ),
        (
            "[servers.a]\ncommand = \"a\"\nargs = [\n  \"b\",\n  1,\n]",
            "5",
            Some("servers.a.args.1"),
            "expected a string",
        ),
        (
            "[servers.a]\ncommand = \"a\"\n[servers.a.env]\nB = \"c\"\nD = 2020-01-01",
            "5",
            Some("servers.a.env.D"),
            "a value is text",
        ),
        (
            "[servers.a]\nurl = \"http://a.example\"",
            "2",
            Some("servers.a.url"),
            "https",
        ),
        (
            "[profiles.p]\nservers = [\"a\"]",
            "2",
            Some("profiles.p.servers.0"),
            "server a",
        ),
        (
            "[servers.a]\ncommand = \"a\"\n[profiles.p]\nservers = [\"a\",\n\"a\"]",
            "5",
            Some("profiles.p.servers.1"),
            "twice",
        ),
        (
            "[profiles.p]\ntools = []",
            "1",
            Some("profiles.p"),
            "missing field `servers`",
        ),
        (
            "[profiles.p]\nservers = []\ntools = [\"*a\"]",
            "3",
            Some("profiles.p.tools.0"),
            "tool",
        ),
        ("search_above = -1", "1", Some("search_above"), "expected u32"),
        ("servers = 1", "1", Some("servers"), "expected a map"),
        (
            "[[servers.a]]\ncommand = \"a\"",
            "1",
            Some("servers.a"),
            "expected a table",
        ),
    ] {
        let error = error_of(text);
        assert!(error.message().contains(words), "{text}: {}", error.message());
        assert_eq!(context(&error, "line"), Some(line), "{text}: {error}");
        assert_eq!(context(&error, "field"), field, "{text}: {error}");
    }
}

#[test]
fn a_file_that_is_one_value_is_an_error_and_no_panic() {
    for text in [
        "\u{feff}",
        "[",
        "a = [",
        "[servers]\na = nan",
        "a.b.c = inf",
        "\0",
        "a = \"\u{1}\"",
    ] {
        let _ = Declared::parse(text);
    }
}

fn selection(profile: Option<&str>, servers: &[&str], tools: &[&str]) -> McpSelection {
    McpSelection {
        profile: profile.map(name),
        servers: servers.iter().map(|server| name(server)).collect(),
        tools: tools.iter().map(|tool| (*tool).to_owned()).collect(),
        none: false,
        search: None,
    }
}

fn chosen(declared: &Declared, selection: &McpSelection) -> (Vec<String>, Vec<String>, Option<String>) {
    let configuration = declared.configuration(selection).unwrap();
    (
        configuration.servers.keys().map(ToString::to_string).collect(),
        configuration.tools,
        configuration.profile.map(String::from),
    )
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_session_gets_its_profile_and_what_it_names_beside() {
    let declared = Declared::parse(WHOLE).unwrap();
    let default = Some("default".to_owned());
    assert_eq!(
        chosen(&declared, &selection(None, &[], &[])),
        (
            owned(&["docs", "git"]),
            owned(&["docs__search", "git__*"]),
            default.clone()
        ),
        "the default profile, without what is switched off"
    );
    assert_eq!(
        chosen(&declared, &selection(None, &["docs"], &[])),
        (owned(&["docs"]), owned(&[]), None)
    );
    assert_eq!(
        chosen(&declared, &selection(Some("all"), &["docs"], &[])),
        (owned(&["docs", "git"]), owned(&[]), Some("all".to_owned()))
    );
    assert_eq!(
        chosen(&declared, &selection(None, &[], &["git__log", "docs__*"])).1,
        owned(&["docs__search", "git__log"])
    );
    let mut narrow = declared.clone();
    narrow.profiles.get_mut(&name("default")).unwrap().servers = vec![name("git")];
    assert_eq!(
        chosen(&narrow, &selection(Some("default"), &["docs"], &[])).1,
        owned(&["docs__*", "docs__search", "git__*"]),
        "a server beside the profile has all of its tools"
    );
    let none = McpSelection {
        none: true,
        ..selection(None, &["git"], &[])
    };
    assert_eq!(chosen(&declared, &none), (owned(&[]), owned(&[]), None));
    assert_eq!(
        chosen(&Declared::default(), &selection(None, &[], &[])),
        (owned(&[]), owned(&[]), None)
    );
}

#[test]
fn a_session_that_names_what_it_cannot_have_is_refused() {
    let declared = Declared::parse(WHOLE).unwrap();
    for (selection, words) in [
        (selection(Some("none"), &[], &[]), "no such profile"),
        (selection(None, &["none"], &[]), "no such server"),
        (selection(None, &["old"], &[]), "switched off"),
        (selection(None, &[], &["other__*"]), "none of these tools"),
        (selection(None, &[], &["a*b"]), "neither the name"),
    ] {
        let error = declared.configuration(&selection).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn a_configuration_is_addressed_by_what_it_says() {
    let declared = Declared::parse(WHOLE).unwrap();
    let before = declared.configuration(&selection(None, &[], &[])).unwrap();
    let json = serde_json::to_string(&before).unwrap();
    let again: Configuration = serde_json::from_str(&json).unwrap();
    assert_eq!(again.digest(), before.digest());
    let changed = Declared::parse(&WHOLE.replace("mcp-server-git", "mcp-server-got")).unwrap();
    let after = changed.configuration(&selection(None, &[], &[])).unwrap();
    assert_ne!(after.digest(), before.digest());
}

fn pattern() -> impl Strategy<Value = String> {
    "[ab_]{1,4}\\*?"
}

proptest! {
    #[test]
    fn nobody_gets_a_tool_that_the_profile_does_not_allow(
        allowed in prop::collection::vec(pattern(), 0..4),
        asked in prop::collection::vec(pattern(), 0..4),
        tools in prop::collection::vec("[ab_]{1,5}", 1..20),
    ) {
        let server = name("a");
        let both = |tool: &str| admits(&allowed, &server, tool) && admits(&asked, &server, tool);
        match select::narrow(&allowed, &asked) {
            Ok(narrowed) => for tool in &tools {
                prop_assert_eq!(admits(&narrowed, &server, tool), both(tool), "{}", tool);
            },
            Err(_) => prop_assert!(!tools.iter().any(|tool| both(tool))),
        }
    }

    #[test]
    fn any_text_is_an_error_or_a_file_and_never_a_panic(text in any::<String>()) {
        let _ = Declared::parse(&text);
    }

    #[test]
    fn a_file_that_was_damaged_is_an_error_and_never_a_panic(
        at in any::<prop::sample::Index>(),
        length in 0..8_usize,
        junk in "[\\[\\]{}=\"'#.\n,a1]{0,6}",
    ) {
        let characters: Vec<char> = WHOLE.chars().collect();
        let at = at.index(characters.len());
        let rest = (at + length).min(characters.len());
        let text: String = characters[..at].iter().copied().chain(junk.chars()).chain(characters[rest..].iter().copied()).collect();
        let _ = Declared::parse(&text);
    }

    #[test]
    fn no_error_repeats_what_stands_in_the_file(written in json_with_canary(), damage in any::<prop::sample::Index>()) {
        let text = toml_edit::ser::to_string(&written).unwrap_or_default();
        // Whole, so that it does not fit, and damaged, so that it is no TOML.
        let mut cut = text.clone();
        if !cut.is_empty() {
            let at = damage.index(cut.len());
            if cut.is_char_boundary(at) {
                cut.remove(at);
            }
        }
        for text in [text, cut] {
            if let Err(error) = Declared::parse(&text) {
                let said = format!("{error} {error:?} {:?}", error.hint());
                prop_assert!(!said.contains(CANARY), "{}", said);
            }
        }
    }
}
