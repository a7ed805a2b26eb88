//! The machine that the load generator runs on, for the report.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::report::Machine;

/// From `/proc`; what cannot be read is empty.
pub(crate) fn describe() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu_info = read("/proc/cpuinfo");
    let model = cpu_info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let memory = read("/proc/meminfo");
    let total_kib = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    Machine {
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        cpu: model.unwrap_or_default().to_owned(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: total_kib.unwrap_or(0) * 1024,
    }
}

/// Unix milliseconds.
pub(crate) fn unix_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
