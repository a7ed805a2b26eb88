//! The simulated disk of one machine.
//!
//! A file has the bytes that programs see (the page cache) and the bytes that would survive a power cut, with the changes in
//! between kept one by one. Syncing a file applies its changes; a power cut applies a seeded choice of them, in order, and
//! a write may survive in part (by the page).
//!
//! Names behave like those of a journaling file system: creations, renames and removals become durable in order, all at once
//! with `sync_dir` or `sync_fs`, and a power cut keeps a seeded beginning of the rest. Syncing a file does *not* make its name
//! durable (ext4 does, POSIX does not promise it), so that a forgotten `sync_dir` shows.

mod inode;
mod names;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::fs::{DirEntry, Open};
use crate::sim::disk::inode::{Change, Inode, PAGE_BYTES, Used};
use crate::sim::disk::names::{Entry, NameChange, Names, SharedInode, absolute};
use crate::sim::faults::DiskFaults;
use crate::sim::world::Clock;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // After a panic the world is only torn down.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Locks {
    held: BTreeMap<PathBuf, u64>,
    taken: u64,
}

struct Disk {
    names: Mutex<Names>,
    locks: Mutex<Locks>,
    faults: Mutex<(DiskFaults, ChaCha8Rng)>,
    used: Used,
    clock: Arc<Clock>,
}

/// The kinds of operations that can fail.
#[derive(Clone, Copy)]
enum Op {
    Read,
    Write,
    Sync,
}

impl Disk {
    /// Whether an operation fails now.
    fn fails(&self, op: Op) -> bool {
        let (faults, random) = &mut *locked(&self.faults);
        let (once_in, countdown) = match op {
            Op::Read => (faults.fail_read_once_in, &mut faults.reads_until_failure),
            Op::Write => (faults.fail_write_once_in, &mut faults.writes_until_failure),
            Op::Sync => (faults.fail_sync_once_in, &mut faults.syncs_until_failure),
        };
        let counted_down = *countdown == Some(0);
        *countdown = if counted_down { None } else { countdown.map(|left| left - 1) };
        counted_down || (once_in != 0 && random.next_u64().is_multiple_of(once_in))
    }

    fn check(&self, op: Op) -> io::Result<()> {
        if self.fails(op) { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }

    fn free(&self) -> u64 {
        locked(&self.faults).0.capacity_bytes.saturating_sub(self.used.load(Ordering::Relaxed))
    }
}

/// The files of one machine.
#[derive(Clone)]
pub(crate) struct SimFs {
    disk: Arc<Disk>,
}

impl SimFs {
    pub(crate) fn new(clock: Arc<Clock>, seed: u64) -> SimFs {
        let faults = Mutex::new((DiskFaults::default(), ChaCha8Rng::seed_from_u64(seed)));
        let (names, locks, used) = (Mutex::default(), Mutex::default(), Used::default());
        SimFs { disk: Arc::new(Disk { names, locks, faults, used, clock }) }
    }

    pub(crate) fn change_faults(&self, change: impl FnOnce(&mut DiskFaults)) {
        change(&mut locked(&self.disk.faults).0);
    }

    /// The process is gone, and its locks with it.
    pub(crate) fn process_ended(&self) {
        locked(&self.disk.locks).held.clear();
    }

    /// The power is gone, and what was not synced is at the mercy of `random`.
    pub(crate) fn power_cut(&self, random: &mut ChaCha8Rng) {
        let mut names = self.names();
        let kept = usize::try_from(random.next_u64() % (names.unsynced() as u64 + 1)).expect("at most its length");
        names.power_cut(kept);
        for inode in names.files() {
            locked(inode).power_cut(random);
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        locked(&self.disk.names)
    }

    fn handle(&self, inode: &SharedInode) -> SimFile {
        SimFile { inode: Arc::clone(inode), disk: Arc::clone(&self.disk) }
    }

    pub(crate) fn open(&self, path: &Path, how: Open) -> io::Result<SimFile> {
        let path = absolute(path);
        let mut names = self.names();
        match (names.file(&path), how) {
            (Ok(_), Open::CreateNew) => Err(ErrorKind::AlreadyExists.into()),
            (Ok(inode), _) => Ok(self.handle(inode)),
            (Err(e), Open::Create | Open::CreateNew) if e.kind() == ErrorKind::NotFound => {
                names.parent_must_exist(&path)?;
                let inode = Inode::new(self.wall_ms(), Arc::clone(&self.disk.used));
                let inode = Arc::new(Mutex::new(inode));
                let file = self.handle(&inode);
                names.change(NameChange::Set(path, Entry::File(inode)));
                Ok(file)
            }
            (Err(e), _) => Err(e),
        }
    }

    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let path = absolute(path);
        let names = self.names();
        names.must_be_dir(&path)?;
        let children = names.inside(&path).filter(|(name, _)| name.parent() == Some(&path));
        let entries = children.map(|(name, entry)| {
            let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match entry {
                Entry::Dir { modified_ms } => {
                    DirEntry { name, is_dir: true, len: PAGE_BYTES, modified_ms: *modified_ms }
                }
                Entry::File(inode) => {
                    let inode = locked(inode);
                    let len = inode.content().len() as u64;
                    DirEntry { name, is_dir: false, len, modified_ms: inode.modified_ms }
                }
            }
        });
        Ok(entries.collect())
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        let path = absolute(path);
        let names = self.names();
        names.is_dir(&path) || names.get(&path).is_some()
    }

    pub(crate) fn is_dir(&self, path: &Path) -> bool {
        self.names().is_dir(&absolute(path))
    }

    pub(crate) fn len(&self, path: &Path) -> io::Result<u64> {
        match self.names().entry(&absolute(path))? {
            Entry::Dir { .. } => Ok(PAGE_BYTES),
            Entry::File(inode) => Ok(locked(inode).content().len() as u64),
        }
    }

    pub(crate) fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        match self.names().entry(&absolute(path))? {
            Entry::Dir { modified_ms } => Ok(*modified_ms),
            Entry::File(inode) => Ok(locked(inode).modified_ms),
        }
    }

    pub(crate) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let path = absolute(path);
        let mut names = self.names();
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        for directory in above {
            if names.is_dir(directory) {
                continue;
            }
            if names.get(directory).is_some() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let entry = Entry::Dir { modified_ms: self.wall_ms() };
            names.change(NameChange::Set(directory.to_owned(), entry));
        }
        Ok(())
    }

    pub(crate) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let path = absolute(path);
        let mut names = self.names();
        names.entry(&path)?;
        names.must_be_dir(&path)?;
        // One by one, the deepest first: a power cut may leave a directory half removed.
        let inside: Vec<PathBuf> = names.inside(&path).map(|(name, _)| name.clone()).collect();
        for name in inside.into_iter().rev() {
            names.change(NameChange::Remove(name));
        }
        Ok(())
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        let path = absolute(path);
        let mut names = self.names();
        names.file(&path)?;
        names.change(NameChange::Remove(path));
        Ok(())
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (absolute(from), absolute(to));
        let mut names = self.names();
        let moves_dir = matches!(names.entry(&from)?, Entry::Dir { .. });
        names.parent_must_exist(&to)?;
        match names.get(&to) {
            _ if from == to => return Ok(()),
            Some(Entry::Dir { .. }) if !moves_dir => return Err(ErrorKind::IsADirectory.into()),
            Some(Entry::File(_)) if moves_dir => return Err(ErrorKind::NotADirectory.into()),
            Some(Entry::Dir { .. }) if names.inside(&to).count() > 1 => return Err(ErrorKind::DirectoryNotEmpty.into()),
            _ => {}
        }
        names.change(NameChange::Rename(from, to));
        Ok(())
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = absolute(path);
        let mut names = self.names();
        if !names.is_dir(&path) {
            names.entry(&path)?;
        }
        self.disk.check(Op::Sync)?;
        names.sync();
        Ok(())
    }

    pub(crate) fn sync_fs(&self, path: &Path) -> io::Result<()> {
        self.sync_dir(path)?;
        for inode in self.names().files() {
            self.handle(inode).sync_data()?;
        }
        Ok(())
    }

    pub(crate) fn lock(&self, path: &Path) -> io::Result<SimLock> {
        self.open(path, Open::Create)?;
        let path = absolute(path);
        let mut locks = locked(&self.disk.locks);
        if locks.held.contains_key(&path) {
            return Err(ErrorKind::WouldBlock.into());
        }
        locks.taken += 1;
        let number = locks.taken;
        locks.held.insert(path.clone(), number);
        Ok(SimLock { disk: Arc::clone(&self.disk), path, number })
    }

    pub(crate) fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        if !self.exists(path) {
            return Err(ErrorKind::NotFound.into());
        }
        let capacity = locked(&self.disk.faults).0.capacity_bytes;
        Ok((capacity, self.disk.free()))
    }

    pub(crate) fn kind(&self, _path: &Path) -> String {
        "simulated".to_owned()
    }

    pub(crate) fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        if self.exists(path) { Ok(absolute(path)) } else { Err(ErrorKind::NotFound.into()) }
    }

    pub(crate) fn wall_ms(&self) -> i64 {
        self.disk.clock.wall_ms()
    }
}

/// A held lock.
pub(crate) struct SimLock {
    disk: Arc<Disk>,
    path: PathBuf,
    number: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut locks = locked(&self.disk.locks);
        // After a restart the lock may be someone else's.
        if locks.held.get(&self.path) == Some(&self.number) {
            locks.held.remove(&self.path);
        }
    }
}

/// An open file.
#[derive(Clone)]
pub(crate) struct SimFile {
    inode: SharedInode,
    disk: Arc<Disk>,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({} bytes)", self.inode().content().len())
    }
}

/// A file position as an index.
fn index(pos: u64) -> io::Result<usize> {
    usize::try_from(pos).map_err(|_| ErrorKind::InvalidInput.into())
}

impl SimFile {
    fn inode(&self) -> MutexGuard<'_, Inode> {
        locked(&self.inode)
    }

    /// The number of the next change, to be synced up to.
    pub(crate) fn changes(&self) -> u64 {
        self.inode().changes()
    }

    pub(crate) fn is_cold(&self) -> bool {
        self.inode().cold || locked(&self.disk.faults).0.cold_cache
    }

    /// On a full disk the bytes that fit are written first, as the kernel does.
    pub(crate) fn write_at(&self, bufs: &[IoSlice<'_>], pos: u64) -> io::Result<usize> {
        self.disk.check(Op::Write)?;
        let mut bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        let pos = index(pos)?;
        let mut inode = self.inode();
        let end = inode.content().len() + index(self.disk.free())?;
        bytes.truncate(end.saturating_sub(pos));
        if bytes.is_empty() && bufs.iter().any(|buf| !buf.is_empty()) {
            return Err(ErrorKind::StorageFull.into());
        }
        let len = bytes.len();
        inode.change(Change::Write { pos, bytes }, self.disk.clock.wall_ms());
        Ok(len)
    }

    /// As ext4 answers, so that the other path is the one that is simulated.
    pub(crate) fn try_write_nowait(&self, _bufs: &[IoSlice<'_>], _pos: u64) -> io::Result<usize> {
        Err(ErrorKind::Unsupported.into())
    }

    pub(crate) fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize> {
        self.disk.check(Op::Read)?;
        let mut inode = self.inode();
        inode.cold = false;
        let from = index(pos)?.min(inode.content().len());
        let n = buf.len().min(inode.content().len() - from);
        buf[..n].copy_from_slice(&inode.content()[from..from + n]);
        Ok(n)
    }

    pub(crate) fn read_cached_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize> {
        if self.is_cold() { Err(ErrorKind::WouldBlock.into()) } else { self.read_at(buf, pos) }
    }

    pub(crate) fn read_direct(&self, pos: u64, len: usize) -> io::Result<Vec<u8>> {
        self.disk.check(Op::Read)?;
        let bytes = self.inode().on_disk();
        let from = index(pos)?.min(bytes.len());
        let to = from.saturating_add(len).min(bytes.len());
        Ok(bytes[from..to].to_vec())
    }

    pub(crate) fn cached_prefix(&self, _pos: u64, len: u64) -> u64 {
        if self.is_cold() { 0 } else { len }
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.inode().content().len() as u64)
    }

    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.check(Op::Write)?;
        let change = Change::SetLen(index(len)?);
        self.inode().change(change, self.disk.clock.wall_ms());
        Ok(())
    }

    pub(crate) fn allocate_keep_size(&self, pos: u64, len: u64) -> io::Result<()> {
        let end = pos.saturating_add(len);
        let more = end.saturating_sub(self.inode().content().len() as u64);
        if more > self.disk.free() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Makes the changes before number `until` durable, or fails and loses some of them for good.
    pub(crate) fn sync_until(&self, until: u64) -> io::Result<()> {
        let failed = self.disk.check(Op::Sync);
        let mut inode = self.inode();
        if failed.is_err() {
            inode.fail_sync(until, &mut locked(&self.disk.faults).1);
        } else {
            inode.sync_until(until);
        }
        failed
    }

    pub(crate) fn sync_data(&self) -> io::Result<()> {
        self.sync_until(u64::MAX)
    }

    pub(crate) fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}
