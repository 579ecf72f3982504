//! Values of the command line: pure functions from text to a typed value, with messages that show the right form.

mod copy;
mod host;
mod keys;
mod pair;
mod quantity;
mod secret;
mod server;

pub use self::copy::{CopyEnd, parse_copy_end};
pub use self::host::{parse_allow, parse_rule};
pub use self::keys::{DetachKeys, parse_detach_keys};
pub use self::pair::{parse_bind, parse_environment, parse_label};
pub use self::quantity::{format_bytes, parse_cpus, parse_duration, parse_minutes, parse_size, parse_usd};
pub use self::secret::{
    SecretPair, Unechoed, parse_header, parse_secret, parse_secret_header, parse_secret_variable,
};
pub use self::server::{parse_client, parse_server, parse_tools};
