//! `kringle-bench limits`: how fast this machine does the things that a broker is made of.
//!
//! Each limit is measured alone, by one thread (loopback: by two), on memory and files that were touched before: the first
//! touch of a page on a virtual machine is the host's work. Prints one line of JSON; `perf/limits` sets benchmark rows
//! beside it.

mod disk;
mod loopback;
mod memory;
mod pieces;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;

/// Where and how long.
#[derive(Debug, Args)]
pub(crate) struct LimitsArgs {
    /// A directory on the filesystem that brokers write to; a file of --disk-mb is made there and removed
    #[arg(long)]
    dir: PathBuf,
    /// Seconds for each limit
    #[arg(long, default_value_t = 1.0)]
    secs: f64,
    /// Size of the file for the disk's sequential speed
    #[arg(long, default_value_t = 2000)]
    disk_mb: u64,
}

/// What moves bytes.
#[derive(Debug, Serialize)]
struct Moved {
    name: &'static str,
    #[serde(rename = "MBps")]
    mb_per_s: f64,
    /// CPU time of all threads that took part, kernel workers not included.
    #[serde(rename = "cpu_s_per_GB")]
    cpu_s_per_gb: f64,
}

/// What is waited for.
#[derive(Debug, Serialize)]
struct Waited {
    name: &'static str,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

/// What is done by the piece.
#[derive(Debug, Serialize)]
struct Piece {
    name: String,
    /// Of one piece, where it has a size.
    bytes: Option<usize>,
    /// In the fastest of some stretches.
    per_s: f64,
    /// CPU time of all threads that took part, for one piece.
    cpu_us: f64,
}

#[derive(Debug, Serialize)]
struct Limits {
    moved: Vec<Moved>,
    waited: Vec<Waited>,
    pieces: Vec<Piece>,
}

/// CPU time of this process so far.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the process may ask about itself");
    let seconds = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or(0))
    };
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Repeats what moves `bytes` each time, until the time is up; the first time does not count.
fn moved<E>(name: &'static str, bytes: u64, secs: f64, mut once: impl FnMut() -> Result<(), E>) -> Result<Moved, E> {
    once()?;
    let (began, before) = (Instant::now(), cpu());
    let mut times = 0_u64;
    while times == 0 || began.elapsed().as_secs_f64() < secs {
        once()?;
        times += 1;
    }
    Ok(Moved::new(name, times * bytes, began.elapsed(), cpu().saturating_sub(before)))
}

/// Repeats what is waited for, until the time is up.
fn waited<E>(name: &'static str, secs: f64, mut once: impl FnMut() -> Result<(), E>) -> Result<Waited, E> {
    let mut took_us = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("the bounds are sound");
    once()?;
    let began = Instant::now();
    while took_us.is_empty() || began.elapsed().as_secs_f64() < secs {
        let from = Instant::now();
        once()?;
        took_us.saturating_record(u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX).max(1));
    }
    let at = |quantile| took_us.value_at_quantile(quantile);
    Ok(Waited { name, p50_us: at(0.5), p99_us: at(0.99), max_us: took_us.max() })
}

impl Moved {
    fn new(name: &'static str, bytes: u64, took: Duration, cpu: Duration) -> Moved {
        #[allow(clippy::cast_precision_loss, reason = "rates are rounded anyway")]
        let bytes = bytes as f64;
        Moved { name, mb_per_s: bytes / took.as_secs_f64() / 1e6, cpu_s_per_gb: cpu.as_secs_f64() / (bytes / 1e9) }
    }
}

/// Measures everything.
pub(crate) fn main(args: &LimitsArgs) -> ExitCode {
    match measure(args) {
        Ok(limits) => {
            println!("{}", serde_json::to_string(&limits).expect("limits are plain numbers"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {}: {error}", args.dir.display());
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &LimitsArgs) -> std::io::Result<Limits> {
    let mut limits = Limits { moved: memory::measure(args.secs), waited: Vec::new(), pieces: Vec::new() };
    loopback::measure(args.secs, &mut limits)?;
    let file = disk::Scratch::new(&args.dir)?;
    pieces::measure(file.file(), args.secs, &mut limits)?;
    disk::measure(&file, args.secs, args.disk_mb, &mut limits)?;
    Ok(limits)
}
