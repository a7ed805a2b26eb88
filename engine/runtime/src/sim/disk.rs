//! The simulated disk of one machine.
//!
//! A file has the bytes that programs see (the page cache) and the bytes that would survive a power cut, with the changes in
//! between kept one by one. Syncing a file applies its changes; a power cut applies a seeded choice of them, in order, and
//! a write may survive in part (by the page).
//!
//! Names behave like those of a journaling file system: creations, renames and removals become durable in order, all at once
//! with `sync_dir` or `sync_fs`, and a power cut keeps a seeded beginning of the rest. Syncing a file does *not* make its name
//! durable (ext4 does, POSIX does not promise it), so that a forgotten `sync_dir` shows.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::fs::{DirEntry, Open};
use crate::sim::world::Clock;

/// Size of every simulated disk.
const DISK_BYTES: u64 = 1 << 40;
/// Writes survive a power cut by whole pages.
const PAGE_BYTES: u64 = 4096;

enum Change {
    Write { pos: usize, bytes: Vec<u8> },
    SetLen(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write { pos, bytes } => {
                let end = pos + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*pos..end].copy_from_slice(bytes);
            }
            Change::SetLen(len) => content.resize(*len, 0),
        }
    }

    /// Only the pages before a seeded one.
    fn tear(&mut self, random: &mut ChaCha8Rng) {
        if let Change::Write { pos, bytes } = self {
            let first = *pos as u64 / PAGE_BYTES;
            let last = (*pos + bytes.len()) as u64 / PAGE_BYTES;
            let cut = (first + 1 + random.next_u64() % (last - first + 1)) * PAGE_BYTES;
            let kept = usize::try_from(cut).expect("within the file") - *pos;
            bytes.truncate(kept);
        }
    }
}

#[derive(Default)]
struct Inode {
    /// What programs see.
    content: Vec<u8>,
    /// What survives a power cut for sure.
    durable: Vec<u8>,
    /// What lies between, oldest first, from change number `synced` on.
    pending: Vec<Change>,
    synced: u64,
    modified_ms: i64,
    /// Not in the page cache since the last start.
    cold: bool,
}

impl Inode {
    fn change(&mut self, change: Change, now_ms: i64) {
        change.apply(&mut self.content);
        self.pending.push(change);
        self.modified_ms = now_ms;
    }

    fn changes(&self) -> u64 {
        self.synced + self.pending.len() as u64
    }

    fn sync_until(&mut self, until: u64) {
        let n = usize::try_from(until.saturating_sub(self.synced)).expect("no more than the pending changes");
        for change in self.pending.drain(..n.min(self.pending.len())) {
            change.apply(&mut self.durable);
            self.synced += 1;
        }
    }

    fn power_cut(&mut self, random: &mut ChaCha8Rng) {
        // All, none, a beginning, or any of the changes.
        let mode = random.next_u64() % 4;
        let kept = random.next_u64() % (self.pending.len() as u64 + 1);
        for (number, mut change) in self.pending.drain(..).enumerate() {
            let survives = match mode {
                0 => true,
                1 => false,
                2 => (number as u64) < kept,
                _ => random.next_u64().is_multiple_of(2),
            };
            if survives {
                if mode != 0 && random.next_u64().is_multiple_of(4) {
                    change.tear(random);
                }
                change.apply(&mut self.durable);
            }
            self.synced += 1;
        }
        self.content.clone_from(&self.durable);
        self.cold = true;
    }
}

type SharedInode = Arc<Mutex<Inode>>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone)]
enum Entry {
    Dir { modified_ms: i64 },
    File(SharedInode),
}

type Names = BTreeMap<PathBuf, Entry>;

enum NameChange {
    Set(PathBuf, Entry),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Set(path, entry) => {
                names.insert(path.clone(), entry.clone());
            }
            NameChange::Remove(path) => names.retain(|name, _| !name.starts_with(path)),
            NameChange::Rename(from, to) => {
                let moved: Vec<PathBuf> = names.keys().filter(|name| name.starts_with(from)).cloned().collect();
                for name in moved {
                    let rest = name.strip_prefix(from).expect("just filtered by it");
                    let target = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                    if let Some(entry) = names.remove(&name) {
                        names.insert(target, entry);
                    }
                }
            }
        }
    }
}

#[derive(Default)]
struct Disk {
    names: Names,
    durable_names: Names,
    journal: Vec<NameChange>,
    locks: BTreeMap<PathBuf, u64>,
    locks_taken: u64,
}

impl Disk {
    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.journal.push(change);
    }

    fn entry(&self, path: &Path) -> io::Result<&Entry> {
        self.names.get(path).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn file(&self, path: &Path) -> io::Result<&SharedInode> {
        match self.entry(path)? {
            Entry::File(inode) => Ok(inode),
            Entry::Dir { .. } => Err(ErrorKind::IsADirectory.into()),
        }
    }

    fn is_dir(&self, path: &Path) -> bool {
        path == Path::new("/") || matches!(self.names.get(path), Some(Entry::Dir { .. }))
    }

    fn parent_must_exist(&self, path: &Path) -> io::Result<()> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        if self.is_dir(parent) { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
    }

    fn sync_names(&mut self) {
        for change in self.journal.drain(..) {
            change.apply(&mut self.durable_names);
        }
    }
}

/// An absolute path without dots, as the key of a name.
fn absolute(path: &Path) -> PathBuf {
    let mut absolute = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => absolute.push(name),
            Component::ParentDir => {
                absolute.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    absolute
}

/// The files of one machine.
#[derive(Clone)]
pub(crate) struct SimFs {
    disk: Arc<Mutex<Disk>>,
    clock: Arc<Clock>,
}

impl SimFs {
    pub(crate) fn new(clock: Arc<Clock>) -> SimFs {
        SimFs { disk: Arc::default(), clock }
    }

    /// The process is gone, and its locks with it.
    pub(crate) fn process_ended(&self) {
        locked(&self.disk).locks.clear();
    }

    /// The power is gone, and what was not synced is at the mercy of `random`.
    pub(crate) fn power_cut(&self, random: &mut ChaCha8Rng) {
        let mut disk = locked(&self.disk);
        let kept = usize::try_from(random.next_u64() % (disk.journal.len() as u64 + 1)).expect("at most its length");
        let journal = std::mem::take(&mut disk.journal);
        for change in &journal[..kept] {
            change.apply(&mut disk.durable_names);
        }
        disk.names = disk.durable_names.clone();
        // A file has one name, or a second one in the journal of a rename that did not survive: visit each once.
        for entry in disk.names.values() {
            if let Entry::File(inode) = entry {
                locked(inode).power_cut(random);
            }
        }
    }

    fn handle(&self, inode: &SharedInode) -> SimFile {
        SimFile { inode: Arc::clone(inode), clock: Arc::clone(&self.clock) }
    }

    pub(crate) fn open(&self, path: &Path, how: Open) -> io::Result<SimFile> {
        let path = absolute(path);
        let mut disk = locked(&self.disk);
        match (disk.file(&path), how) {
            (Ok(_), Open::CreateNew) => Err(ErrorKind::AlreadyExists.into()),
            (Ok(inode), _) => Ok(self.handle(inode)),
            (Err(e), Open::Create | Open::CreateNew) if e.kind() == ErrorKind::NotFound => {
                disk.parent_must_exist(&path)?;
                let inode = Inode { modified_ms: self.clock.wall_ms(), ..Inode::default() };
                let inode = Arc::new(Mutex::new(inode));
                let file = self.handle(&inode);
                disk.change(NameChange::Set(path, Entry::File(inode)));
                Ok(file)
            }
            (Err(e), _) => Err(e),
        }
    }

    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let path = absolute(path);
        let disk = locked(&self.disk);
        if !disk.is_dir(&path) {
            disk.entry(&path)?;
            return Err(ErrorKind::NotADirectory.into());
        }
        let inside = disk.names.range(path.clone()..).take_while(|(name, _)| name.starts_with(&path));
        let children = inside.filter(|(name, _)| name.parent() == Some(&path));
        Ok(children
            .map(|(name, entry)| {
                let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
                match entry {
                    Entry::Dir { modified_ms } => {
                        DirEntry { name, is_dir: true, len: PAGE_BYTES, modified_ms: *modified_ms }
                    }
                    Entry::File(inode) => {
                        let inode = locked(inode);
                        let len = inode.content.len() as u64;
                        DirEntry { name, is_dir: false, len, modified_ms: inode.modified_ms }
                    }
                }
            })
            .collect())
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        let path = absolute(path);
        let disk = locked(&self.disk);
        disk.is_dir(&path) || disk.names.contains_key(&path)
    }

    pub(crate) fn is_dir(&self, path: &Path) -> bool {
        locked(&self.disk).is_dir(&absolute(path))
    }

    pub(crate) fn len(&self, path: &Path) -> io::Result<u64> {
        match locked(&self.disk).entry(&absolute(path))? {
            Entry::Dir { .. } => Ok(PAGE_BYTES),
            Entry::File(inode) => Ok(locked(inode).content.len() as u64),
        }
    }

    pub(crate) fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        match locked(&self.disk).entry(&absolute(path))? {
            Entry::Dir { modified_ms } => Ok(*modified_ms),
            Entry::File(inode) => Ok(locked(inode).modified_ms),
        }
    }

    pub(crate) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let path = absolute(path);
        let mut disk = locked(&self.disk);
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        for directory in above {
            if disk.is_dir(directory) {
                continue;
            }
            if disk.names.contains_key(directory) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let entry = Entry::Dir { modified_ms: self.clock.wall_ms() };
            disk.change(NameChange::Set(directory.to_owned(), entry));
        }
        Ok(())
    }

    pub(crate) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let path = absolute(path);
        let mut disk = locked(&self.disk);
        match disk.entry(&path)? {
            Entry::File(_) => Err(ErrorKind::NotADirectory.into()),
            Entry::Dir { .. } => {
                // One by one, the deepest first: a power cut may leave a directory half removed.
                let inside: Vec<PathBuf> = disk.names.keys().filter(|name| name.starts_with(&path)).cloned().collect();
                for name in inside.into_iter().rev() {
                    disk.change(NameChange::Remove(name));
                }
                Ok(())
            }
        }
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        let path = absolute(path);
        let mut disk = locked(&self.disk);
        disk.file(&path)?;
        disk.change(NameChange::Remove(path));
        Ok(())
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (absolute(from), absolute(to));
        let mut disk = locked(&self.disk);
        let moves_dir = matches!(disk.entry(&from)?, Entry::Dir { .. });
        disk.parent_must_exist(&to)?;
        match disk.names.get(&to) {
            Some(Entry::Dir { .. }) if !moves_dir => return Err(ErrorKind::IsADirectory.into()),
            Some(Entry::File(_)) if moves_dir => return Err(ErrorKind::NotADirectory.into()),
            Some(Entry::Dir { .. }) if disk.names.keys().any(|name| name != &to && name.starts_with(&to)) => {
                return Err(ErrorKind::DirectoryNotEmpty.into());
            }
            _ => {}
        }
        if from != to {
            disk.change(NameChange::Rename(from, to));
        }
        Ok(())
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = absolute(path);
        let mut disk = locked(&self.disk);
        if !disk.is_dir(&path) {
            disk.entry(&path)?;
        }
        disk.sync_names();
        Ok(())
    }

    pub(crate) fn sync_fs(&self, path: &Path) -> io::Result<()> {
        self.sync_dir(path)?;
        for entry in locked(&self.disk).names.values() {
            if let Entry::File(inode) = entry {
                locked(inode).sync_until(u64::MAX);
            }
        }
        Ok(())
    }

    pub(crate) fn lock(&self, path: &Path) -> io::Result<SimLock> {
        self.open(path, Open::Create)?;
        let path = absolute(path);
        let mut disk = locked(&self.disk);
        if disk.locks.contains_key(&path) {
            return Err(ErrorKind::WouldBlock.into());
        }
        disk.locks_taken += 1;
        let number = disk.locks_taken;
        disk.locks.insert(path.clone(), number);
        Ok(SimLock { disk: Arc::clone(&self.disk), path, number })
    }

    pub(crate) fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        if !self.exists(path) {
            return Err(ErrorKind::NotFound.into());
        }
        let disk = locked(&self.disk);
        let size = |entry: &Entry| match entry {
            Entry::Dir { .. } => PAGE_BYTES,
            Entry::File(inode) => locked(inode).content.len() as u64,
        };
        let used: u64 = disk.names.values().map(size).sum();
        Ok((DISK_BYTES, DISK_BYTES.saturating_sub(used)))
    }

    pub(crate) fn kind(&self, _path: &Path) -> String {
        "simulated".to_owned()
    }

    pub(crate) fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        if self.exists(path) { Ok(absolute(path)) } else { Err(ErrorKind::NotFound.into()) }
    }

    pub(crate) fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }
}

/// A held lock.
pub(crate) struct SimLock {
    disk: Arc<Mutex<Disk>>,
    path: PathBuf,
    number: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut disk = locked(&self.disk);
        // After a restart the lock may be someone else's.
        if disk.locks.get(&self.path) == Some(&self.number) {
            disk.locks.remove(&self.path);
        }
    }
}

/// An open file.
#[derive(Clone)]
pub(crate) struct SimFile {
    inode: SharedInode,
    clock: Arc<Clock>,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({} bytes)", locked(&self.inode).content.len())
    }
}

/// A file position as an index.
fn index(pos: u64) -> io::Result<usize> {
    usize::try_from(pos).map_err(|_| ErrorKind::InvalidInput.into())
}

impl SimFile {
    /// The number of the next change, to be synced up to.
    pub(crate) fn changes(&self) -> u64 {
        locked(&self.inode).changes()
    }

    pub(crate) fn sync_until(&self, until: u64) {
        locked(&self.inode).sync_until(until);
    }

    pub(crate) fn is_cold(&self) -> bool {
        locked(&self.inode).cold
    }

    pub(crate) fn write_at(&self, bufs: &[IoSlice<'_>], pos: u64) -> io::Result<usize> {
        let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        let len = bytes.len();
        let change = Change::Write { pos: index(pos)?, bytes };
        locked(&self.inode).change(change, self.clock.wall_ms());
        Ok(len)
    }

    /// As ext4 answers, so that the other path is the one that is simulated.
    pub(crate) fn try_write_nowait(&self, _bufs: &[IoSlice<'_>], _pos: u64) -> io::Result<usize> {
        Err(ErrorKind::Unsupported.into())
    }

    pub(crate) fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize> {
        let mut inode = locked(&self.inode);
        inode.cold = false;
        let from = index(pos)?.min(inode.content.len());
        let n = buf.len().min(inode.content.len() - from);
        buf[..n].copy_from_slice(&inode.content[from..from + n]);
        Ok(n)
    }

    pub(crate) fn read_direct(&self, pos: u64, len: usize) -> io::Result<Vec<u8>> {
        // Dirty pages are written out before a direct read.
        let mut bytes = vec![0; len];
        let n = self.read_at(&mut bytes, pos)?;
        bytes.truncate(n);
        Ok(bytes)
    }

    pub(crate) fn cached_prefix(&self, _pos: u64, len: u64) -> u64 {
        if self.is_cold() { 0 } else { len }
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(locked(&self.inode).content.len() as u64)
    }

    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        let change = Change::SetLen(index(len)?);
        locked(&self.inode).change(change, self.clock.wall_ms());
        Ok(())
    }

    pub(crate) fn allocate_keep_size(&self, _pos: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn sync_data(&self) -> io::Result<()> {
        self.sync_until(u64::MAX);
        Ok(())
    }

    pub(crate) fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}
