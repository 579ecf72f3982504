//! Requests of every form.

use std::collections::BTreeMap;
use std::time::Duration;

use http_api::OutputFrame;
use proptest::option;
use proptest::prelude::*;
use session_core::budget::Budget;
use session_core::command::{CommandRequest, OnDisconnect, OutputStream};
use session_core::egress::DecideEgress;
use session_core::error::{Error, ErrorKind};
use session_core::gateway::{AwsCredentials, BedrockAccount, ProviderAccount};
use session_core::id::SessionId;
use session_core::lifetime::{Lifetime, OnInterrupt};
use session_core::mcp::McpSelection;
use session_core::runtime::{HostMount, NetworkMode, ResourceLimits};
use session_core::session::{CreateSession, PermissionMode, PromptRequest, WorkspaceSource};
use session_core::terminal::{OpenTerminal, TerminalProgram, TerminalSize};

fn map() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(".{0,8}", ".{0,16}", 0..4)
}

fn workspace() -> impl Strategy<Value = WorkspaceSource> {
    prop_oneof![
        Just(WorkspaceSource::Empty),
        ".{0,20}".prop_map(|path| WorkspaceSource::Mount { path: path.into() }),
        ".{0,20}".prop_map(|path| WorkspaceSource::Copy { path: path.into() }),
        (".{0,20}", option::of(".{0,9}"))
            .prop_map(|(url, reference)| WorkspaceSource::Clone { url, reference }),
    ]
}

fn account() -> impl Strategy<Value = ProviderAccount> {
    let credentials =
        (".{0,9}", ".{0,9}", option::of(".{0,9}")).prop_map(|(id, key, token)| AwsCredentials {
            access_key_id: id,
            secret_access_key: key.into(),
            session_token: token.map(Into::into),
        });
    prop_oneof![
        ".{0,9}".prop_map(|key| ProviderAccount::ApiKey(key.into())),
        (option::of(".{0,9}"), option::of(credentials)).prop_map(|(region, credentials)| {
            ProviderAccount::Bedrock(BedrockAccount { region, credentials })
        }),
    ]
}

fn mount() -> impl Strategy<Value = HostMount> {
    (".{0,9}", ".{0,9}", any::<bool>()).prop_map(|(source, target, read_only)| HostMount {
        source: source.into(),
        target,
        read_only,
    })
}

fn budget() -> impl Strategy<Value = Budget> {
    prop::array::uniform4(number()).prop_map(|[cost_microusd, tokens, requests, model_ms]| Budget {
        cost_microusd,
        tokens,
        requests,
        model_ms,
    })
}

fn mcp() -> impl Strategy<Value = McpSelection> {
    let name = "[a-z0-9][a-z0-9-]{0,9}".prop_map(|name| name.parse().expect("it is one"));
    (
        option::of(name.clone()),
        prop::collection::vec(name, 0..3),
        prop::collection::vec(".{0,9}", 0..3),
        any::<(bool, Option<bool>)>(),
    )
        .prop_map(|(profile, servers, tools, (none, search))| McpSelection {
            profile,
            servers,
            tools,
            none,
            search,
        })
}

fn lifetime() -> impl Strategy<Value = Lifetime> {
    (prop::array::uniform3(number()), any::<bool>()).prop_map(
        |([idle_ms, max_ms, lease_ms], keep_on_failure)| Lifetime {
            idle_ms,
            max_ms,
            lease_ms,
            keep_on_failure,
        },
    )
}

/// What has more than a few parts, in two halves: proptest's tuples end at twelve.
pub(crate) fn create() -> impl Strategy<Value = CreateSession> {
    let text = || option::of(".{0,9}");
    let first = (
        (
            text(),
            workspace(),
            option::of("[a-z0-9]{1,9}(:[a-z0-9]{1,4})?"),
            any::<bool>(),
        ),
        (
            option::of(any::<(u64, u32, u32)>()),
            prop::collection::vec(mount(), 0..3),
        ),
        (text(), text(), map(), map()),
    );
    let second = (
        (
            text(),
            option::of(account()),
            prop::collection::vec("[a-z]{1,9}(\\.example)?(:443)?", 0..3),
        ),
        (budget(), text(), any::<bool>(), mcp(), any::<bool>()),
        (option::of(map()), lifetime(), any::<bool>()),
    );
    (first, second).prop_map(|(first, second)| {
        let ((name, workspace, image, open), (limits, mounts), (model, small_model, env, labels)) = first;
        let ((owner, account, allow), (budget, idempotency_key, strict, mcp, warm_agent), rest) = second;
        let (own, lifetime, comes_back) = rest;
        CreateSession {
            name,
            workspace,
            image: image.map(|image| image.parse().expect("it is one")),
            network: if open {
                NetworkMode::Open
            } else {
                NetworkMode::Sealed
            },
            limits: limits.map(|(memory_bytes, milli_cpus, pids)| ResourceLimits {
                memory_bytes,
                milli_cpus,
                pids,
            }),
            mounts,
            model,
            small_model,
            env,
            labels,
            owner,
            account,
            allow: allow
                .iter()
                .map(|entry| entry.parse().expect("it is one"))
                .collect(),
            budget,
            idempotency_key,
            permissions: if strict {
                PermissionMode::Strict
            } else {
                PermissionMode::Bypass
            },
            mcp_config: own.map(|own| serde_json::json!({ "mcpServers": own })),
            mcp,
            warm_agent,
            lifetime,
            on_interrupt: if comes_back {
                OnInterrupt::Resume
            } else {
                OnInterrupt::Stop
            },
        }
    })
}

/// Numbers as the wire can carry them.
fn number() -> impl Strategy<Value = Option<u64>> {
    option::of(0..=http_api::query::MAX_SAFE)
}

/// Limits as the wire can carry them: whole milliseconds.
fn limit() -> impl Strategy<Value = Option<Duration>> {
    option::of((0..=http_api::query::MAX_SAFE).prop_map(Duration::from_millis))
}

pub(crate) fn prompt() -> impl Strategy<Value = PromptRequest> {
    (
        ".{0,40}",
        prop::collection::vec(".{0,9}", 0..3),
        limit(),
        option::of(".{0,9}"),
    )
        .prop_map(|(prompt, tools, time_limit, idempotency_key)| PromptRequest {
            prompt,
            tools,
            time_limit,
            idempotency_key,
        })
}

pub(crate) fn command() -> impl Strategy<Value = CommandRequest> {
    let argv = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..4);
    (
        argv,
        map(),
        option::of(".{0,9}"),
        limit(),
        (any::<bool>(), number(), any::<bool>()),
        option::of(".{0,9}"),
    )
        .prop_map(
            |(argv, env, cwd, time_limit, (stdin, output_limit, detach), idempotency_key)| CommandRequest {
                argv,
                env,
                cwd,
                stdin,
                time_limit,
                output_limit,
                on_disconnect: if detach {
                    OnDisconnect::Detach
                } else {
                    OnDisconnect::Cancel
                },
                idempotency_key,
            },
        )
}

pub(crate) fn terminal() -> impl Strategy<Value = OpenTerminal> {
    let program = prop_oneof![
        Just(TerminalProgram::Shell),
        Just(TerminalProgram::Agent),
        prop::collection::vec(".{0,9}", 0..4).prop_map(|argv| TerminalProgram::Command { argv }),
    ];
    let key = prop::option::of("[!-~]{1,20}");
    (program, any::<(u16, u16)>(), key).prop_map(|(program, (rows, columns), idempotency_key)| OpenTerminal {
        program,
        size: TerminalSize { rows, columns },
        idempotency_key,
    })
}

pub(crate) fn decision() -> impl Strategy<Value = DecideEgress> {
    let rule = "(\\*\\.)?[a-z][a-z0-9]{0,9}\\.example(:[1-9][0-9]{0,3})?";
    (rule, any::<(bool, bool)>()).prop_map(|(rule, (one, allow))| DecideEgress {
        session: one.then(SessionId::new),
        rule: rule.parse().expect("it is one"),
        allow,
    })
}

pub(crate) fn output() -> impl Strategy<Value = OutputFrame> {
    (any::<(bool, u64)>(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|((err, offset), bytes)| {
        OutputFrame {
            stream: if err {
                OutputStream::Stderr
            } else {
                OutputStream::Stdout
            },
            offset,
            bytes: bytes.into(),
        }
    })
}

fn kinds() -> impl Strategy<Value = ErrorKind> {
    prop_oneof![
        Just(ErrorKind::InvalidArgument),
        Just(ErrorKind::NotFound),
        Just(ErrorKind::StateConflict),
        Just(ErrorKind::Busy),
        Just(ErrorKind::IdempotencyMismatch),
        Just(ErrorKind::WorkspaceMissing),
        Just(ErrorKind::ImageNotFound),
        Just(ErrorKind::EngineUnavailable),
        Just(ErrorKind::Unsupported),
        Just(ErrorKind::ContainerLost),
        Just(ErrorKind::ProgramNotFound),
        Just(ErrorKind::ArchiveRefused),
        Just(ErrorKind::LimitExceeded),
        Just(ErrorKind::StoreFailed),
        Just(ErrorKind::Cancelled),
        Just(ErrorKind::Internal),
    ]
}

pub(crate) fn error() -> impl Strategy<Value = Error> {
    let context = prop::collection::vec((".{0,9}", ".{0,9}"), 0..4);
    (
        kinds(),
        ".{0,20}",
        ".{0,40}",
        context,
        option::of(".{0,20}"),
        any::<bool>(),
    )
        .prop_map(|(kind, operation, message, context, hint, retryable)| {
            let mut error = Error::new(kind, operation, message).with_retryable(retryable);
            for (key, value) in context {
                error = error.with_context(key, value);
            }
            match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        })
}
