//! Files: into the page cache and out of it, onto the disk and off it, and how long stable storage takes.

use std::fs::{File, OpenOptions};
use std::io::{Read, Result, Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use kringle_runtime::{DirectBuf, DirectPool};
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};

use super::{Limits, Moved, cpu, moved, waited};

const CHUNK_BYTES: usize = 64 << 10;
/// Rewritten again and again: its pages are touched, and few enough not to be written back meanwhile.
const CACHED_BYTES: u64 = 64 << 20;
const DISK_CHUNK_BYTES: usize = 1 << 20;
const BLOCK_BYTES: usize = DirectBuf::BLOCK_BYTES;
/// Of the file that is overwritten: 16 MiB.
const BLOCKS: u64 = 4 << 10;

/// A file that is removed at the end.
pub(super) struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    pub(super) fn new(dir: &Path) -> Result<Scratch> {
        let path = dir.join(format!("kringle-limits-{}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Scratch { path, file })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it; the directory is the caller's.
        let _ = std::fs::remove_file(&self.path);
    }
}

pub(super) fn measure(scratch: &Scratch, secs: f64, disk_mb: u64, limits: &mut Limits) -> Result<()> {
    page_cache(&scratch.file, secs, limits)?;
    flushes(&scratch.file, secs, limits)?;
    overwrites(scratch, secs, limits)?;
    sequential(&scratch.file, disk_mb << 20, limits)
}

fn page_cache(file: &File, secs: f64, limits: &mut Limits) -> Result<()> {
    let mut chunk = vec![5_u8; CHUNK_BYTES];
    let positions = || (0..CACHED_BYTES).step_by(CHUNK_BYTES);
    limits.moved.push(moved("page cache, write 64 KiB", CACHED_BYTES, secs, || {
        positions().try_for_each(|at| file.write_all_at(&chunk, at))
    })?);
    limits.moved.push(moved("page cache, read 64 KiB", CACHED_BYTES, secs, || {
        positions().try_for_each(|at| file.read_exact_at(&mut chunk, at))
    })?);
    Ok(())
}

fn flushes(file: &File, secs: f64, limits: &mut Limits) -> Result<()> {
    file.set_len(0)?;
    let mut end = 0;
    for (name, len, whole) in [
        ("append 4 KiB and fdatasync", 4 << 10, false),
        ("append 64 KiB and fdatasync", 64 << 10, false),
        ("append 1 MiB and fdatasync", 1 << 20, false),
        ("append 4 KiB and fsync", 4 << 10, true),
    ] {
        let chunk = vec![6_u8; len];
        limits.waited.push(waited(name, secs, || {
            file.write_all_at(&chunk, end)?;
            end += len as u64;
            if whole { file.sync_all() } else { file.sync_data() }
        })?);
    }
    Ok(())
}

/// What a journal does: blocks that were written before are written again, past the page cache. Not every filesystem can.
fn overwrites(scratch: &Scratch, secs: f64, limits: &mut Limits) -> Result<()> {
    let mut aligned = DirectPool::default().take(BLOCK_BYTES);
    let block = &*aligned.extend(BLOCK_BYTES);
    scratch.file.set_len(0)?;
    (0..BLOCKS).try_for_each(|n| scratch.file.write_all_at(block, n * BLOCK_BYTES as u64))?;
    scratch.file.sync_all()?;
    let flags = OFlag::O_DIRECT | OFlag::O_DSYNC;
    let Ok(direct) = OpenOptions::new().write(true).custom_flags(flags.bits()).open(&scratch.path) else {
        return Ok(());
    };
    let mut next = (0..BLOCKS).cycle();
    limits.waited.push(waited("overwrite 4 KiB, direct and durable", secs, || {
        direct.write_all_at(block, next.next().expect("it begins again") * BLOCK_BYTES as u64)
    })?);
    Ok(())
}

/// Written once from its start and made durable, dropped from memory, read once.
fn sequential(mut file: &File, bytes: u64, limits: &mut Limits) -> Result<()> {
    let mut chunk = vec![7_u8; DISK_CHUNK_BYTES];
    let chunks = bytes / DISK_CHUNK_BYTES as u64;
    file.set_len(0)?;
    file.rewind()?;
    let (began, before) = (Instant::now(), cpu());
    for _ in 0..chunks {
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    limits.moved.push(Moved::new("disk, sequential write", bytes, began.elapsed(), cpu().saturating_sub(before)));
    posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    file.rewind()?;
    let (began, before) = (Instant::now(), cpu());
    for _ in 0..chunks {
        file.read_exact(&mut chunk)?;
    }
    limits.moved.push(Moved::new("disk, sequential read", bytes, began.elapsed(), cpu().saturating_sub(before)));
    Ok(())
}
