//! What another process has used, from `/proc`.

use nix::unistd::{SysconfVar, sysconf};

/// What a process used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// CPU time of all its threads, user and system, seconds. The kernel counts it in hundredths.
    pub(crate) cpu_s: f64,
    /// Resident memory, MB of 2^20 bytes.
    pub(crate) rss_mb: f64,
}

/// What the process has used so far; `None` where there is no such process.
pub(crate) fn used(pid: u32) -> Option<Used> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold spaces; the fields behind its closing parenthesis do not. utime is the 12th of them.
    let behind_name = stat.rsplit_once(')')?.1;
    let ticks: u32 =
        behind_name.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    let per_second = i32::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u32 = resident.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Used { cpu_s: f64::from(ticks) / f64::from(per_second), rss_mb: f64::from(kib) / 1024.0 })
}

/// What it used between a reading and now.
pub(crate) fn used_since(pid: u32, before: Used) -> Option<Used> {
    let now = used(pid)?;
    Some(Used { cpu_s: now.cpu_s - before.cpu_s, rss_mb: now.rss_mb })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_no_process_has_none() {
        assert!(used(std::process::id()).expect("we run").rss_mb > 0.1);
        assert!(used(u32::MAX).is_none());
    }
}
