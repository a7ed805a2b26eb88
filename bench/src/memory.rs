//! `kringle-bench hold-memory` and `kringle-bench drop-cache`: the two things a benchmark does to the machine's memory.
//!
//! On a virtual machine the first touch of a page of the guest is a fault in the host, and memory that the guest frees goes back to
//! the host within seconds: a buffered write into untouched memory costs ten times what it costs into touched memory, and
//! the benchmark measures the host. So most memory is held, the rest is filled with pages of the page cache, and
//! nothing is deleted while something is measured: what the broker writes then goes into pages that were touched before.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::statvfs::statvfs;

/// Memory that stays free: the kernel reclaims when less is left.
const LEFT_FREE_MIB: u64 = 300;
const MIB: usize = 1 << 20;
const FILL_FILE_MIB: u64 = 1000;
/// Disk that stays free, for the broker's own data.
const DISK_LEFT_FREE_MIB: u64 = 10 << 10;

/// How much memory is held.
#[derive(Debug, Args)]
pub(crate) struct HoldMemoryArgs {
    /// GB to hold until standard input closes; 0 holds nothing and ends at once
    gb: f64,
    /// Also fill the page cache with files in this directory until memory is full
    fill: Option<PathBuf>,
}

/// Which files.
#[derive(Debug, Args)]
pub(crate) struct DropCacheArgs {
    /// The directory
    dir: PathBuf,
}

/// Why memory is not as it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
struct MemoryError {
    path: PathBuf,
    source: std::io::Error,
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> MemoryError + use<'_> {
    |source| MemoryError { path: path.to_owned(), source }
}

fn exit(done: Result<(), MemoryError>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints `held` when memory is as asked for, and waits for the end of standard input.
pub(crate) fn hold(args: &HoldMemoryArgs) -> ExitCode {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let bytes = (args.gb * 1e9) as usize;
    // Written, so that every page is there.
    let held = vec![1_u8; bytes];
    exit(args.fill.as_deref().map_or(Ok(()), fill).map(|()| {
        println!("held");
        if !std::hint::black_box(&held).is_empty() {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
        }
    }))
}

fn fill(dir: &Path) -> Result<(), MemoryError> {
    // As much as is free now and no more: what is written beyond that only pushes out what was written before.
    let disk = statvfs(dir).map_err(|errno| at(dir)(errno.into()))?;
    let disk_free_mib = disk.blocks_available().saturating_mul(disk.fragment_size()) >> 20;
    let free_mib = free_mib().unwrap_or(0).saturating_sub(LEFT_FREE_MIB);
    let fill_mib = free_mib.min(disk_free_mib.saturating_sub(DISK_LEFT_FREE_MIB));
    let chunk = vec![7_u8; MIB];
    for number in 0..fill_mib.div_ceil(FILL_FILE_MIB) {
        let size_mib = FILL_FILE_MIB.min(fill_mib - number * FILL_FILE_MIB);
        let path = dir.join(format!("ballast.{number}"));
        let mut file = File::create(&path).map_err(at(&path))?;
        for _ in 0..size_mib {
            file.write_all(&chunk).map_err(at(&path))?;
        }
        file.sync_all().map_err(at(&path))?;
    }
    Ok(())
}

/// Memory of the machine that nothing uses, not even the page cache.
fn free_mib() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let free = meminfo.lines().find_map(|line| line.strip_prefix("MemFree:"))?;
    free.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib / 1024)
}

/// Writes back and drops every file below the directory.
pub(crate) fn drop_cache(args: &DropCacheArgs) -> ExitCode {
    exit(drop_below(&args.dir))
}

fn drop_below(dir: &Path) -> Result<(), MemoryError> {
    for entry in std::fs::read_dir(dir).map_err(at(dir))? {
        let path = entry.map_err(at(dir))?.path();
        if path.is_dir() {
            drop_below(&path)?;
        } else if path.is_file() {
            let file = File::open(&path).map_err(at(&path))?;
            // Only clean pages can be dropped.
            file.sync_all().map_err(at(&path))?;
            posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).map_err(|e| at(&path)(e.into()))?;
        }
    }
    Ok(())
}
