//! Which program opens a web address for the person at this terminal.

use std::path::PathBuf;

use crate::settings::env::{self, Environment};

/// What `BROWSER` names; else the system's own opener, where there is a screen.
pub fn program(environment: &dyn Environment) -> Option<PathBuf> {
    if let Some(named) = environment.get(env::BROWSER) {
        return Some(named.into());
    }
    if cfg!(target_os = "macos") {
        return Some("/usr/bin/open".into());
    }
    let screen = environment
        .get(env::DISPLAY)
        .or_else(|| environment.get(env::WAYLAND_DISPLAY));
    screen.map(|_| "xdg-open".into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    #[test]
    fn nothing_is_opened_where_nobody_looks() {
        let of = |pairs: &[(&str, &str)]| {
            let environment: BTreeMap<String, String> = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            program(&environment)
        };
        assert_eq!(of(&[("BROWSER", "w3m")]).as_deref(), Some(Path::new("w3m")));
        if cfg!(target_os = "linux") {
            assert_eq!(of(&[]), None);
            assert!(of(&[("WAYLAND_DISPLAY", "wayland-0")]).is_some());
        }
    }
}
