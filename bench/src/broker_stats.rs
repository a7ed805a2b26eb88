//! What a load costs: processor time and memory of the broker's process, its metrics, and our own processor time.
//!
//! From `/proc` and, where the broker is Kringle, its Prometheus text. What was asked for must be there when the run begins; what cannot be
//! read later is left out of the report, never guessed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::BenchError;
use crate::process;

/// Longest wait for the metrics.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which process and which metrics to read.
pub(crate) struct BrokerWatch {
    pid: Option<u32>,
    metrics_url: Option<String>,
}

/// What the broker used while the load was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct BrokerUse {
    pub(crate) pid: u32,
    pub(crate) cpu_seconds: f64,
    /// Of one core: 150 is one and a half cores.
    pub(crate) cpu_percent: f64,
    /// Resident at the end.
    pub(crate) rss_bytes: u64,
    /// The most that was ever resident.
    pub(crate) rss_peak_bytes: u64,
}

impl BrokerWatch {
    /// Without `pid` the process that listens on `address` is looked for, if that is on this machine and may be seen.
    pub(crate) fn new(
        address: SocketAddr,
        pid: Option<u32>,
        metrics_url: Option<String>,
    ) -> Result<BrokerWatch, BenchError> {
        if let Some(pid) = pid.filter(|pid| cpu_seconds(*pid).is_none()) {
            return Err(BenchError::Options(format!("--broker-pid {pid}: there is no such process")));
        }
        if let Some(url) = metrics_url.as_deref().filter(|url| read_metrics(url).is_none()) {
            return Err(BenchError::Options(format!("--metrics {url}: no metrics there")));
        }

        let pid = pid.or_else(|| is_here(address.ip()).then(|| listener_pid(address.port())).flatten());
        Ok(BrokerWatch { pid, metrics_url })
    }

    pub(crate) fn begin(&self) -> BrokerSample {
        let metrics = self.metrics_url.as_deref().and_then(read_metrics).unwrap_or_default();
        let cpu = self.pid.and_then(cpu_seconds);
        BrokerSample { pid: self.pid, metrics_url: self.metrics_url.clone(), metrics, cpu, since: Instant::now() }
    }
}

/// How things stood when measuring began.
pub(crate) struct BrokerSample {
    pid: Option<u32>,
    metrics_url: Option<String>,
    metrics: BTreeMap<String, f64>,
    cpu: Option<f64>,
    since: Instant,
}

impl BrokerSample {
    /// What was used since, or why that is not known, and by how much the metrics have grown.
    pub(crate) fn end(&self) -> (Result<BrokerUse, String>, Vec<(String, f64)>) {
        let seconds = self.since.elapsed().as_secs_f64();
        let used = |pid| {
            let cpu_seconds = cpu_seconds(pid)? - self.cpu?;
            let cpu_percent = 100.0 * cpu_seconds / seconds;
            let (rss_bytes, rss_peak_bytes) = memory(pid)?;
            Some(BrokerUse { pid, cpu_seconds, cpu_percent, rss_bytes, rss_peak_bytes })
        };
        let used = match self.pid {
            Some(pid) => used(pid).ok_or_else(|| format!("its process, {pid}, has ended")),
            None => Err("its process is not known: --broker-pid".to_owned()),
        };
        let metrics = self.metrics_url.as_deref().and_then(read_metrics).unwrap_or_default();
        let grown = |(name, value): (String, f64)| {
            let before = self.metrics.get(&name).copied().unwrap_or(0.0);
            let is_count = name.ends_with("_total") || name.ends_with("_sum") || name.ends_with("_count");
            is_count.then_some((name, value - before))
        };
        let mut metrics: Vec<_> = metrics.into_iter().filter_map(grown).collect();
        means(&mut metrics);
        (used, metrics)
    }
}

/// Sum and count of a timing say little; their quotient is what people want.
fn means(metrics: &mut Vec<(String, f64)>) {
    let known: BTreeMap<String, f64> = metrics.iter().cloned().collect();
    metrics.retain(|(name, _)| !name.ends_with("_sum") && !name.ends_with("_count"));
    for (name, sum) in &known {
        let Some(timing) = name.strip_suffix("_sum") else { continue };
        let count = known.get(&format!("{timing}_count")).copied().unwrap_or(0.0);
        if count > 0.0 {
            metrics.push((format!("{timing} (mean)"), sum / count));
        }
    }
}

/// Processor time of this program while the load was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnUse {
    since: Instant,
    cpu_before: f64,
    /// Of one core.
    pub(crate) cpu_percent: f64,
    pub(crate) cpu_seconds: f64,
}

impl OwnUse {
    pub(crate) fn begin() -> OwnUse {
        let cpu_before = cpu_seconds(std::process::id()).unwrap_or(0.0);
        OwnUse { since: Instant::now(), cpu_before, cpu_percent: 0.0, cpu_seconds: 0.0 }
    }

    pub(crate) fn end(&mut self) {
        self.cpu_seconds = cpu_seconds(std::process::id()).unwrap_or(0.0) - self.cpu_before;
        self.cpu_percent = 100.0 * self.cpu_seconds / self.since.elapsed().as_secs_f64();
    }
}

/// User and system time of all threads, those that have ended included.
fn cpu_seconds(pid: u32) -> Option<f64> {
    process::used(pid).map(|used| used.cpu_s)
}

/// Resident bytes, now and at most.
fn memory(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = |name: &str| -> Option<u64> {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some((kib("VmRSS:")? * 1024, kib("VmHWM:")? * 1024))
}

/// Whether the address is one of this machine's: no other can be bound, unless its owner has allowed that (`ip_nonlocal_bind`).
fn is_here(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// The process that listens on this port. Only processes that we may look into are found: our own user's, or all as root.
fn listener_pid(port: u16) -> Option<u32> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        descriptors.filter_map(Result::ok).any(|descriptor| {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            sockets.iter().any(|socket| target.as_os_str() == socket.as_str())
        })
    })
}

/// The inodes of sockets that listen on `port`, from the text of `/proc/net/tcp`.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTENING: &str = "0A";
    let suffix = format!(":{port:04X}");
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == LISTENING;
        listens.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

/// Prometheus text over HTTP: each sample's value, the shards' added up.
fn read_metrics(url: &str) -> Option<BTreeMap<String, f64>> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = rest.split_once('/').map_or((rest, "metrics"), |(host, path)| (host, path));
    let path = if path.is_empty() { "metrics" } else { path };
    let mut socket = TcpStream::connect(host).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(socket, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    socket.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200 ").then(|| parse_metrics(body))
}

fn parse_metrics(text: &str) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((sample, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let name = sample.split('{').next().unwrap_or(sample);
        if !name.ends_with("_bucket") {
            *values.entry(name.to_owned()).or_insert(0.0) += value;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_found_by_the_port_it_listens_on() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let watch = BrokerWatch::new(listener.local_addr().unwrap(), None, None).unwrap();
        assert_eq!(watch.pid, Some(std::process::id()));
        let (used, _) = watch.begin().end();
        let used = used.expect("our own process can be read");
        assert!(used.rss_bytes > 0 && used.rss_peak_bytes >= used.rss_bytes / 2);
    }

    #[test]
    fn shards_are_added_up_and_buckets_left_out() {
        let text = "# HELP kringle_requests_total Requests.\nkringle_requests_total{shard=\"0\"} 3\n\
                    kringle_requests_total{shard=\"1\"} 4\nkringle_produce_us_bucket{shard=\"0\",le=\"50\"} 9\n\
                    kringle_produce_us_sum{shard=\"0\"} 600\nkringle_produce_us_count{shard=\"0\"} 6\n";
        let values = parse_metrics(text);
        assert_eq!(values["kringle_requests_total"], 7.0);
        assert_eq!(values.len(), 3);
        let mut metrics: Vec<_> = values.into_iter().collect();
        means(&mut metrics);
        assert!(metrics.contains(&("kringle_produce_us (mean)".to_owned(), 100.0)), "{metrics:?}");
    }
}
