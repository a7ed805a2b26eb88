//! The blocking file system of a node: for start-up, the control thread and `Rt::blocking`, never for a shard's turn.

use std::io;
use std::path::{Path, PathBuf};

use crate::file::{File, FileInner};
use crate::real::fs::{RealFs, RealLock};
use crate::sim::disk::{SimFs, SimLock};

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// For reading; must exist.
    Read,
    /// For reading and writing; must exist.
    ReadWrite,
    /// For reading and writing; created if missing.
    Create,
    /// For reading and writing; must not exist.
    CreateNew,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name without its directory. Names that are not UTF-8 are shown with replacement characters.
    pub name: String,
    /// Whether it is a directory (or a link to one).
    pub is_dir: bool,
    /// Length in bytes.
    pub len: u64,
    /// Last change, Unix milliseconds.
    pub modified_ms: i64,
}

/// The files of a node. Clones are the same file system.
#[derive(Clone)]
pub struct Fs {
    pub(crate) inner: FsInner,
}

#[derive(Clone)]
pub(crate) enum FsInner {
    Real(RealFs),
    Sim(SimFs),
}

/// Calls the same method on whichever file system it is.
macro_rules! either {
    ($self:ident, $fs:ident => $call:expr) => {
        match &$self.inner {
            FsInner::Real($fs) => $call,
            FsInner::Sim($fs) => $call,
        }
    };
}

impl Fs {
    /// The files of this machine, for who reads some before there is a host. Locks are known to a host's own only.
    pub fn real() -> Fs {
        Fs { inner: FsInner::Real(RealFs::default()) }
    }

    /// Opens a file.
    pub fn open(&self, path: impl AsRef<Path>, how: Open) -> io::Result<File> {
        let path = path.as_ref();
        let inner = match &self.inner {
            FsInner::Real(fs) => FileInner::Real(fs.open(path, how)?),
            FsInner::Sim(fs) => FileInner::Sim(fs.open(path, how)?),
        };
        Ok(File { inner })
    }

    /// Opens a file for [`Rt::write_durably`](crate::Rt::write_durably), past the page cache (`O_DIRECT`) where the file system can;
    /// created if missing.
    pub fn open_direct(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        let inner = match &self.inner {
            FsInner::Real(fs) => FileInner::Real(fs.open_direct(path)?),
            FsInner::Sim(fs) => FileInner::Sim(fs.open(path, Open::Create)?),
        };
        Ok(File { inner })
    }

    /// The whole content of a file.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let file = self.open(path, Open::Read)?;
        let mut bytes = Vec::new();
        let mut chunk = vec![0; 64 << 10];
        loop {
            let n = file.read_at(&mut chunk, bytes.len() as u64)?;
            if n == 0 {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&chunk[..n]);
        }
    }

    /// The whole content of a text file; `InvalidData` if it is not UTF-8.
    pub fn read_to_string(&self, path: impl AsRef<Path>) -> io::Result<String> {
        String::from_utf8(self.read(path)?).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }

    /// Replaces a file so that after a crash it holds the old or the new content, never a part: writes `path.tmp`, syncs
    /// it, renames it and syncs the directory.
    pub fn write_atomic(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let file = self.open(&temporary, Open::Create)?;
        file.clear()?;
        file.write_all_at(&mut [io::IoSlice::new(bytes)], 0)?;
        file.sync_all()?;
        drop(file);
        self.rename(&temporary, path)?;
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.sync_dir(parent),
            _ => self.sync_dir("."),
        }
    }

    /// The entries of a directory, sorted by name.
    pub fn list(&self, path: impl AsRef<Path>) -> io::Result<Vec<DirEntry>> {
        let mut entries = either!(self, fs => fs.list(path.as_ref()))?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Whether something is there.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        either!(self, fs => fs.exists(path.as_ref()))
    }

    /// Whether a directory is there.
    pub fn is_dir(&self, path: impl AsRef<Path>) -> bool {
        either!(self, fs => fs.is_dir(path.as_ref()))
    }

    /// Length of a file in bytes.
    pub fn len(&self, path: impl AsRef<Path>) -> io::Result<u64> {
        either!(self, fs => fs.len(path.as_ref()))
    }

    /// Last change of a file, Unix milliseconds.
    pub fn modified_ms(&self, path: impl AsRef<Path>) -> io::Result<i64> {
        either!(self, fs => fs.modified_ms(path.as_ref()))
    }

    /// Makes a directory and those above it; fine if it exists.
    pub fn create_dir_all(&self, path: impl AsRef<Path>) -> io::Result<()> {
        either!(self, fs => fs.create_dir_all(path.as_ref()))
    }

    /// Removes a directory and all in it.
    pub fn remove_dir_all(&self, path: impl AsRef<Path>) -> io::Result<()> {
        either!(self, fs => fs.remove_dir_all(path.as_ref()))
    }

    /// Removes a file. Its bytes stay readable to those who have it open.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        either!(self, fs => fs.remove_file(path.as_ref()))
    }

    /// Renames; a file at `to` is replaced.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        either!(self, fs => fs.rename(from.as_ref(), to.as_ref()))
    }

    /// Makes creations, renames and removals in a directory durable.
    pub fn sync_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        either!(self, fs => fs.sync_dir(path.as_ref()))
    }

    /// Makes everything on the file system of `path` durable (syncfs).
    pub fn sync_fs(&self, path: impl AsRef<Path>) -> io::Result<()> {
        either!(self, fs => fs.sync_fs(path.as_ref()))
    }

    /// Takes the write lock on a whole file as Java's `FileChannel.tryLock` does (POSIX record lock), creating the file if
    /// missing. `WouldBlock` if another process, or this one, holds it.
    pub fn lock(&self, path: impl AsRef<Path>) -> io::Result<FileLock> {
        let path = path.as_ref();
        let held = match &self.inner {
            FsInner::Real(fs) => Held::Real { _lock: fs.lock(path)? },
            FsInner::Sim(fs) => Held::Sim { _lock: fs.lock(path)? },
        };
        Ok(FileLock { _held: held })
    }

    /// Total and usable bytes of the file system of `path`.
    pub fn space(&self, path: impl AsRef<Path>) -> io::Result<(u64, u64)> {
        either!(self, fs => fs.space(path.as_ref()))
    }

    /// What file system `path` is on: `ext4`, `xfs`, `tmpfs` ...
    pub fn kind(&self, path: impl AsRef<Path>) -> String {
        either!(self, fs => fs.kind(path.as_ref()))
    }

    /// The path without links and dots; must exist.
    pub fn real_path(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        either!(self, fs => fs.real_path(path.as_ref()))
    }

    /// The wall clock, Unix milliseconds: for code that has no `Rt` at hand.
    pub fn wall_ms(&self) -> i64 {
        either!(self, fs => fs.wall_ms())
    }
}

/// A held lock; dropping it lets go.
pub struct FileLock {
    _held: Held,
}

enum Held {
    Real { _lock: RealLock },
    Sim { _lock: SimLock },
}
