//! `git`: the hosts that the user's own git configuration names, by credentials and by addresses that it rewrites.
//!
//! Only the user's and the system's configuration: a project's own would let the project say what is allowed (I5).

use session_core::error::Result;

use super::tool::Tools;
use super::{Address, Found};

pub(super) async fn find(tools: &Tools) -> Result<Found> {
    let mut addresses = Vec::new();
    for scope in ["--global", "--system"] {
        let argv = ["git", "config", scope, "--null", "--list"];
        if let Some(listed) = tools.ask(&argv).await {
            addresses.extend(hosts(&listed));
        }
    }
    Ok(Found {
        addresses,
        ..Found::default()
    })
}

/// `credential.URL.…`, `url.URL.insteadOf` and `http.URL.…` out of `git config --null --list`.
fn hosts(listed: &str) -> Vec<Address> {
    listed
        .split('\0')
        .filter_map(|entry| entry.split('\n').next())
        .filter_map(|key| {
            let (section, rest) = key.split_once('.')?;
            let (url, _name) = rest.rsplit_once('.')?;
            matches!(section, "credential" | "url" | "http").then_some(url)
        })
        .filter_map(|url| Address::parse(url).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_stand_in_the_names_of_settings() {
        let listed = "user.name\nme\0credential.https://git.example.helper\n!tool\0url.https://mirror.example/.insteadof\ngit@x:\0\
                      http.sslverify\ntrue\0";
        let found: Vec<String> = hosts(listed).iter().map(Address::to_string).collect();
        assert_eq!(found, ["https://git.example", "https://mirror.example/"]);
    }
}
