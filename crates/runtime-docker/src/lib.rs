//! Sessions' containers on a Docker engine.
//!
//! Implements [`session_core::runtime::ContainerRuntime`] on the engine's HTTP API, for Docker and what speaks like it.
//! The only crate that names bollard (I2). It adds nothing to what a launch costs the engine: an image that was prepared
//! once costs two looks at it, a launch is one create and one start, and all that the core decorates (time limits,
//! retries, tracing) stays out.
//!
//! | module | what it holds |
//! |---|---|
//! | `client` | the engine's address, lazily connected |
//! | `error` | what the engine's failures mean in the core's words |
//! | `names` | names and labels of all that this runtime makes |
//! | `hardening` | a pure function from a specification to the body of the create call |
//! | `prepare` | images: found, fetched, derived for a user; the toolbox volume |
//! | `launch`, `bridge`, `status`, `watch`, `remove` | one container's life |
//! | `health` | whether the engine keeps our promises |
//! | `stale` | what earlier versions and crashes left |

mod bridge;
mod client;
mod error;
mod hardening;
mod health;
mod launch;
mod names;
mod prepare;
mod remove;
mod runtime;
mod since;
mod stale;
mod status;
mod watch;

pub use self::client::DEFAULT_HOST;
pub use self::runtime::{DEFAULT_TOOLBOX_IMAGE, DockerOptions, DockerRuntime};
pub use self::stale::Removed;
