//! The machine that a run is on.

use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// What a number of samples per second depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Machine {
    /// The operating system with its version.
    pub system: String,
    /// The processor's architecture.
    pub architecture: String,
    /// The processor's name.
    pub processor: String,
    /// Cores, if known.
    pub cores: Option<usize>,
    /// Threads that run at a time in this process.
    pub threads: usize,
    /// Memory in bytes.
    pub memory: u64,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let refresh = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(refresh);
        let brand = system.cpus().first().map(|cpu| cpu.brand().trim());
        Self {
            system: System::long_os_version().unwrap_or_else(|| std::env::consts::OS.into()),
            architecture: System::cpu_arch(),
            processor: brand
                .filter(|brand| !brand.is_empty())
                .unwrap_or("unknown")
                .into(),
            cores: System::physical_core_count(),
            threads: crate::parallel::cores(),
            memory: system.total_memory(),
        }
    }
}
