//! What the tests of all modules need: a catalog in a directory of its own, another user, and definitions of every kind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use session_core::mcp::ServerName;
use session_core::secret::SecretReference;
use tempfile::TempDir;

use crate::{
    Approval, Catalog, CatalogPaths, Mount, Names, OAuth, SecretValue, ServerDefinition, Sharing, Times,
    ToolFilter, Transport, Value,
};

/// A word that errors must never repeat.
pub(crate) const CANARY: &str = "xanaryx";

pub(crate) struct Home {
    pub(crate) dir: TempDir,
    pub(crate) catalog: Catalog,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::new(paths(dir.path()));
        Self { dir, catalog }
    }

    pub(crate) fn declaring(text: &str) -> Self {
        let home = Self::new();
        home.write(text);
        home
    }

    /// Another process on the same files.
    pub(crate) fn other(&self) -> Catalog {
        Catalog::new(paths(self.dir.path()))
    }

    pub(crate) fn servers(&self) -> PathBuf {
        self.dir.path().join("servers.toml")
    }

    pub(crate) fn write(&self, text: &str) {
        fs::write(self.servers(), text).unwrap();
        chmod(&self.servers(), 0o644);
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.servers()).unwrap()
    }

    pub(crate) fn storage(&self, below: &str) -> PathBuf {
        self.dir.path().join("state/storage/mcp").join(below)
    }

    pub(crate) fn keys(&self, below: &str) -> PathBuf {
        self.dir.path().join("state/keys").join(below)
    }
}

fn paths(root: &Path) -> CatalogPaths {
    CatalogPaths {
        servers: root.join("servers.toml"),
        storage: root.join("state/storage/mcp"),
        keys: root.join("state/keys"),
    }
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Runs as a user whom modes of files mean something to.
pub(crate) fn unprivileged<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(move || {
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        test()
    });
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

pub(crate) fn name(text: &str) -> ServerName {
    text.parse().unwrap()
}

pub(crate) fn stdio(command: &str) -> ServerDefinition {
    ServerDefinition::new(Transport::Stdio {
        command: command.to_owned(),
        args: Vec::new(),
        env: BTreeMap::new(),
        cwd: None,
    })
}

pub(crate) fn tool(name: &str, description: &str) -> Json {
    json!({
        "name": name,
        "description": description,
        "inputSchema": {"type": "object", "properties": {"path": {"type": "string"}}},
    })
}

/// Any text that is one line, without what looks like a secret.
pub(crate) fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 äß\"\\\\#.=_-]{0,12}"
}

pub(crate) fn server_name() -> impl Strategy<Value = ServerName> {
    "[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?".prop_map(|text| text.parse().unwrap())
}

fn variable() -> impl Strategy<Value = String> {
    "[A-Z][A-Z0-9_]{0,8}"
}

fn reference() -> impl Strategy<Value = SecretReference> {
    prop_oneof![
        variable().prop_map(SecretReference::Env),
        "/[a-z/]{0,10}".prop_map(|path| SecretReference::File(path.into())),
        ("[a-z]{1,8}", vec(word(), 0..3)).prop_map(|(program, mut rest)| {
            rest.insert(0, program);
            SecretReference::Command(rest)
        }),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        word().prop_map(Value::Plain),
        (
            prop_oneof![Just(String::new()), Just("Bearer ".to_owned())],
            reference()
        )
            .prop_map(|(prefix, secret)| Value::Secret(SecretValue { prefix, secret })),
    ]
}

fn program() -> impl Strategy<Value = (String, Vec<String>, Option<String>)> {
    (
        "[a-z][a-z0-9-]{0,10}",
        vec(word(), 0..4),
        option::of("/[a-z/]{0,10}x"),
    )
}

fn plain_env() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(variable().prop_map(|name| format!("X{name}")), word(), 0..3)
}

fn transport() -> impl Strategy<Value = Transport> {
    let allow = vec(
        prop_oneof![
            "[a-z]{1,8}\\.example",
            "[a-z]{1,8}\\.example:8[0-9]{2}",
            "[a-z]{1,8}"
        ],
        0..3,
    )
    .prop_map(|entries| entries.iter().map(|entry| entry.parse().unwrap()).collect());
    let mounts = btree_map("/data/[a-z]{1,6}", ("/srv/[a-z]{1,6}", any::<bool>()), 0..3).prop_map(|mounts| {
        let mount = |(target, (source, writable)): (String, (String, bool))| Mount {
            source: source.into(),
            target,
            writable,
        };
        mounts.into_iter().map(mount).collect()
    });
    let oauth = (
        option::of("[a-z]{1,8}"),
        option::of(reference()),
        vec("[a-z:.]{1,8}", 0..3),
    )
        .prop_map(|(client_id, secret, scopes)| OAuth {
            client_secret: secret.filter(|_| client_id.is_some()),
            client_id,
            scopes,
        });
    prop_oneof![
        (program(), btree_map(variable(), value(), 0..3)).prop_map(|((command, args, cwd), env)| {
            Transport::Stdio {
                command,
                args,
                env,
                cwd: cwd.map(Into::into),
            }
        }),
        (
            program(),
            plain_env(),
            option::of("[a-z]{1,8}:[0-9]{1,3}"),
            allow,
            mounts
        )
            .prop_map(
                |((command, args, cwd), env, image, allow, mounts)| Transport::Container {
                    image: image.map(|image| image.parse().unwrap()),
                    command,
                    args,
                    env,
                    cwd: cwd.map(|cwd| format!("/data{cwd}")),
                    allow,
                    mounts,
                }
            ),
        (program(), plain_env()).prop_map(|((command, args, _), env)| Transport::Session {
            command,
            args,
            env,
            cwd: None,
        }),
        (
            "https://[a-z]{1,8}\\.example(/[a-z]{0,8})?",
            btree_map("X-[a-z]{1,8}x", value(), 0..3),
            option::of(oauth),
            any::<bool>()
        )
            .prop_map(|(url, headers, oauth, private)| Transport::Http {
                url,
                headers: headers
                    .into_iter()
                    .map(|(name, value)| (name, ascii(value)))
                    .collect(),
                oauth,
                private,
            }),
    ]
}

fn ascii(value: Value) -> Value {
    match value {
        Value::Plain(text) => Value::Plain(text.replace(|c: char| !c.is_ascii(), "")),
        secret @ Value::Secret(_) => secret,
    }
}

fn times() -> impl Strategy<Value = Times> {
    (
        1..86_400_000_u64,
        1..1000_u64,
        1000..86_400_000_u64,
        1..86_400_000_u64,
    )
        .prop_map(|(start_ms, call_ms, call_max_ms, idle_ms)| Times {
            start_ms,
            call_ms,
            call_max_ms,
            idle_ms,
        })
}

prop_compose! {
    /// Any definition that holds.
    pub(crate) fn definition()(
        description in option::of("[a-zA-Z][a-zA-Z0-9 ä\"#]{0,20}"),
        transport in transport(),
        shared in any::<bool>(),
        allow in vec("[a-z_]{1,8}\\*?", 0..3),
        deny in vec("[a-z_]{1,8}\\*?", 0..3),
        idempotent in btree_set("[a-z_]{1,8}", 0..3),
        each in any::<bool>(),
        bare in any::<bool>(),
        times in prop_oneof![Just(Times::default()), times()],
        enabled in any::<bool>(),
    ) -> ServerDefinition {
        ServerDefinition {
            description,
            transport,
            sharing: if shared { Sharing::Shared } else { Sharing::PerSession },
            tools: ToolFilter { allow, deny },
            idempotent: idempotent as BTreeSet<String>,
            approval: if each { Approval::Each } else { Approval::FirstSeen },
            names: if bare { Names::Bare } else { Names::Prefixed },
            times,
            enabled,
        }
    }
}

/// Any JSON, with many of the keys that mean something and the canary as its text.
pub(crate) fn json_with_canary() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        prop::sample::select(vec![
            "",
            "https://",
            "https://u:",
            "/",
            "${",
            "Bearer ",
            "sk-ant-api03-aaaaaaaaaaaaaaaa",
        ])
        .prop_map(|start| Json::from(format!("{start}{CANARY}"))),
        prop::sample::select(vec!["stdio", "http", "container", "session", "sse", "git"])
            .prop_map(Json::from),
    ];
    let key = prop::sample::select(vec![
        "mcpServers",
        "servers",
        "profiles",
        "git",
        "command",
        "args",
        "env",
        "cwd",
        "url",
        "headers",
        "oauth",
        "image",
        "allow",
        "mounts",
        "transport",
        "type",
        "tools",
        "times",
        "idempotent",
        "prefix",
        "file",
        "client_id",
        "client_secret",
        "scopes",
        "deny",
        "source",
        "target",
        "start_ms",
        "Authorization",
        "GITHUB_TOKEN",
        "private",
        "enabled",
        "disabled",
        "timeout",
        "only_published",
        "search_above",
    ]);
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Json::from),
            btree_map(key.clone(), inner, 0..6).prop_map(|fields| {
                fields
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect::<Json>()
            }),
        ]
    })
}
