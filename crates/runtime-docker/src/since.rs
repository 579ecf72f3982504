//! Since when an engine runs, which no call of its interface tells.
//!
//! An engine makes its default bridge anew whenever it starts, so that network's age is the engine's. One that was told to
//! have none, or that is no daemon at all, has no such network: then nothing is known.

use bollard::query_parameters::InspectNetworkOptions;
use jiff::Timestamp;
use session_core::error::Result;

use crate::client::Handles;
use crate::error::{About, failed, is_absent};

const DEFAULT_BRIDGE: &str = "bridge";
/// What an engine says of the network that it makes itself, and of no other.
const MARK: &str = "com.docker.network.bridge.default_bridge";

pub(crate) async fn started_at(engine: &Handles) -> Result<Option<Timestamp>> {
    let found = engine
        .quick
        .inspect_network(DEFAULT_BRIDGE, None::<InspectNetworkOptions>)
        .await;
    let network = match found {
        Ok(network) => network,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => {
            return Err(failed("ask since when the engine runs", About::Engine, error));
        }
    };
    let own = network
        .options
        .is_some_and(|options| options.get(MARK).is_some_and(|value| value == "true"));
    Ok(network
        .created
        .filter(|_| own)
        .and_then(|created| created.parse().ok()))
}
