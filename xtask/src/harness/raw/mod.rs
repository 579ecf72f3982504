//! The engine's own API, spoken as directly as it can be: the baseline of every measurement, and the demo's second witness.
//!
//! One kept-alive connection per client and nothing else between us and the engine, so that a baseline is never slower than
//! it has to be.

mod client;

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use xtask::error::{Error, Result};

use self::client::Client;

/// What a command in a container came to.
#[derive(Debug)]
pub(crate) struct Executed {
    pub(crate) output: Vec<u8>,
    pub(crate) exit_code: i64,
}

/// An engine at a Unix socket.
#[derive(Debug)]
pub(crate) struct Engine {
    client: Client,
}

impl Engine {
    /// Connects to an address in the form of `DOCKER_HOST`.
    pub(crate) async fn connect(host: &str) -> Result<Self> {
        let socket = host.strip_prefix("unix://").ok_or_else(|| {
            Error::new(format!("{host} is no Unix socket"))
                .hint("measurements and the demo speak to a local engine: unset DOCKER_HOST, or name a unix:// socket")
        })?;
        Ok(Self {
            client: Client::connect(socket).await?,
        })
    }

    /// Another client of the same engine, with a connection of its own.
    pub(crate) async fn another(&self) -> Result<Self> {
        Ok(Self {
            client: Client::connect(self.client.socket()).await?,
        })
    }

    /// What the engine says of itself.
    pub(crate) async fn version(&mut self) -> Result<Value> {
        self.client.get("/version").await
    }

    /// Creates a container and answers with its id.
    pub(crate) async fn create(&mut self, config: &Value) -> Result<String> {
        let created = self.client.post("/containers/create", config).await?;
        text(&created, "Id")
    }

    /// The same under a name.
    pub(crate) async fn create_named(&mut self, name: &str, config: &Value) -> Result<String> {
        let path = format!("/containers/create?name={name}");
        let created = self.client.post(&path, config).await?;
        text(&created, "Id")
    }

    pub(crate) async fn start(&mut self, container: &str) -> Result<()> {
        self.client
            .post(&format!("/containers/{container}/start"), &Value::Null)
            .await
            .map(drop)
    }

    /// Removes a container, whatever it does, with its anonymous volumes.
    pub(crate) async fn remove(&mut self, container: &str) -> Result<()> {
        self.client
            .delete(&format!("/containers/{container}?force=true&v=true"))
            .await
    }

    /// Runs a program to its end: create, start with both streams attached, inspect.
    pub(crate) async fn exec(&mut self, container: &str, argv: &[&str], env: &[String]) -> Result<Executed> {
        let config = json!({
            "AttachStdout": true, "AttachStderr": true, "Tty": false, "Cmd": argv, "Env": env,
        });
        let created = self
            .client
            .post(&format!("/containers/{container}/exec"), &config)
            .await?;
        let id = text(&created, "Id")?;
        let output = self.client.hijack(&format!("/exec/{id}/start")).await?;
        let inspected = self.client.get(&format!("/exec/{id}/json")).await?;
        let exit_code = inspected["ExitCode"]
            .as_i64()
            .ok_or_else(|| Error::new("the engine does not say how the command ended"))?;
        Ok(Executed { output, exit_code })
    }

    /// Everything that the engine knows of a container.
    pub(crate) async fn inspect(&mut self, container: &str) -> Result<Value> {
        self.client.get(&format!("/containers/{container}/json")).await
    }

    /// The host's process numbers of all that runs in a container.
    pub(crate) async fn processes(&mut self, container: &str) -> Result<Vec<u32>> {
        let top = self
            .client
            .get(&format!("/containers/{container}/top?ps_args=-eo%20pid"))
            .await?;
        let rows = top["Processes"].as_array().into_iter().flatten();
        Ok(rows
            .filter_map(|row| row[0].as_str()?.trim().parse().ok())
            .collect())
    }

    /// The names of containers and volumes with a label.
    pub(crate) async fn labelled(&mut self, label: &str) -> Result<Vec<String>> {
        let filters = format!("%7B%22label%22%3A%5B%22{label}%22%5D%7D");
        let containers = self
            .client
            .get(&format!("/containers/json?all=true&filters={filters}"))
            .await?;
        let volumes = self.client.get(&format!("/volumes?filters={filters}")).await?;
        let containers = containers.as_array().into_iter().flatten();
        let containers = containers.filter_map(|container| container["Names"][0].as_str());
        let volumes = volumes["Volumes"].as_array().into_iter().flatten();
        let volumes = volumes.filter_map(|volume| volume["Name"].as_str());
        Ok(containers.chain(volumes).map(str::to_owned).collect())
    }

    /// The address of this machine on the engine's bridge, where every ordinary container can reach it. `None` where the engine
    /// runs in a machine of its own.
    pub(crate) async fn bridge_address(&mut self) -> Result<Option<IpAddr>> {
        let network = self.client.get("/networks/bridge").await?;
        let configs = network["IPAM"]["Config"].as_array().into_iter().flatten();
        let mut gateways = configs.filter_map(|config| {
            let named = config["Gateway"]
                .as_str()
                .and_then(|gateway| gateway.parse().ok());
            named.or_else(|| first_address(config["Subnet"].as_str()?))
        });
        Ok(gateways.find(|gateway| std::net::TcpListener::bind((*gateway, 0)).is_ok()))
    }

    /// Reads a container's whole file system as a tar stream.
    pub(crate) async fn export(&mut self, container: &str, each: impl FnMut(&[u8])) -> Result<()> {
        self.client
            .stream(&format!("/containers/{container}/export"), each)
            .await
    }
}

fn text(value: &Value, field: &str) -> Result<String> {
    value[field]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::new(format!("the engine's answer has no {field}")).output(value.to_string()))
}

/// What an engine takes for the gateway of a subnet when it was told none.
fn first_address(subnet: &str) -> Option<IpAddr> {
    let base: Ipv4Addr = subnet.split('/').next()?.parse().ok()?;
    Some(Ipv4Addr::from(u32::from(base) | 1).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_of_a_subnet_is_its_first_address() {
        assert_eq!(
            first_address("172.17.0.0/16"),
            Some(IpAddr::from([172, 17, 0, 1]))
        );
        assert_eq!(first_address("fd00::/64"), None);
    }
}
