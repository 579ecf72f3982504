//! Schemas of texts that are parsed, and of maps whose keys are bound.
//!
//! The Rust types behind them are the core's; what stands here tells other programs what those accept.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, Object, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// Where a host name begins: 253 characters at most, and the last label is not a number in any spelling.
macro_rules! host {
    () => {
        concat!(
            r"(\*\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)?",
            r"([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*",
            r"(?!0x)(?=[0-9_-]*[A-Za-z])[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
        )
    };
}

/// 1 to 65535, behind a colon.
macro_rules! port {
    () => {
        r"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
    };
}

fn text(description: &str, pattern: &str, max: usize) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .pattern(Some(pattern))
        .max_length(Some(max))
}

fn map(description: &str, key: ObjectBuilder, value: ObjectBuilder, max: usize) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(description))
        .property_names(Some(key))
        .additional_properties(Some(AdditionalProperties::from(Schema::from(value.build()))))
        .max_properties(Some(max))
        .build()
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident => $schema:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                Schema::from($schema).into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

texts! {
    /// The name of a tool of the agent.
    ToolName => text("A tool of the agent, for example `Bash(git log *)`.", r"^[A-Za-z][^\x00-\x1f\x7f-\x9f]*$", 512)
        .min_length(Some(1)).build();
    /// A preset of hosts or a rule.
    AllowText => text("A preset such as `npm`, or a rule such as `*.example.com:8443`.", ALLOW, 261).build();
    /// A rule about hosts.
    HostRuleText => text("Hosts: `example.com`, `*.example.com`, either with a port.", RULE, 261).build();
    /// A tool of an MCP server, or all of one.
    McpToolText => text(
        "A tool of an MCP server, as `server__tool`, or all of them, as `server__*`.",
        r"^[a-z0-9]([a-z0-9-]|_(?=[a-z0-9-])){0,23}__(\*|[A-Za-z0-9_./-]+)$",
        128,
    ).build();
    /// A label to look for.
    LabelText => text("A label, as `KEY=VALUE`.", "=", 4_225).build();
    /// Environment variables.
    Environment => map(
        "Variables by name; at most 512 KiB together.",
        text("A name.", r"^[^=\x00-\x1f\x7f-\x9f]+$", 256).min_length(Some(1)),
        text("A value.", r"^[^\x00]*$", 65_536),
        1024,
    );
    /// Labels.
    Labels => map(
        "Values by key.",
        text("A key.", r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", 128),
        text("A value.", r"^[^\x00]*$", 4_096),
        64,
    );
    /// MCP servers that a session brings itself.
    McpConfig => ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("The value of `--mcp-config`: `{\"mcpServers\": {\"NAME\": {\"command\": …}}}`; at most 96 KiB."))
        .property("mcpServers", ObjectBuilder::new().schema_type(Type::Object))
        .required("mcpServers")
        .build();
}

const RULE: &str = concat!(r"^(?=(\*\.)?[^:]{1,253}(:|$))", host!(), port!(), "$");
const ALLOW: &str = concat!(
    r"^([a-z0-9-]{1,32}|(?=.*[.:])(?=(\*\.)?[^:]{1,253}(:|$))",
    host!(),
    port!(),
    ")$"
);
