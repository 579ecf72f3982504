//! What a figure means nothing without: the machine, the engine, the day. No names and no paths.

use std::fmt;

use serde_json::{Value, json};
use xtask::error::Result;

use crate::raw::Engine;

/// The circumstances of a run.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    cores: usize,
    memory_gb: u64,
    kernel: String,
    engine: String,
    day: String,
}

impl Facts {
    pub(super) async fn gather(engine: &mut Engine) -> Result<Self> {
        let version = engine.version().await?;
        let text = |field: &str| version[field].as_str().unwrap_or("unknown").to_owned();
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gb: memory_gb(),
            kernel: text("KernelVersion"),
            engine: format!("Docker {} ({}/{})", text("Version"), text("Os"), text("Arch")),
            day: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        })
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "cores": self.cores, "memory_gb": self.memory_gb, "kernel": self.kernel,
            "engine": self.engine, "day": self.day,
        })
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cores, {} GB of memory, Linux {}, {}, {}",
            self.cores, self.memory_gb, self.kernel, self.engine, self.day
        )
    }
}

fn memory_gb() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes: Option<u64> = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kilobytes.unwrap_or_default().div_ceil(1_000_000)
}
