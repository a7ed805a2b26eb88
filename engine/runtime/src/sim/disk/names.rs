//! The names of a disk: what programs see, what would survive a power cut, and the journal in between.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::inode::Inode;

pub(super) type SharedInode = Arc<Mutex<Inode>>;

#[derive(Clone)]
pub(super) enum Entry {
    Dir { modified_ms: i64 },
    File(SharedInode),
}

type Entries = BTreeMap<PathBuf, Entry>;

pub(super) enum NameChange {
    Set(PathBuf, Entry),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    fn apply(&self, entries: &mut Entries) {
        match self {
            NameChange::Set(path, entry) => {
                entries.insert(path.clone(), entry.clone());
            }
            NameChange::Remove(path) => {
                entries.remove(path);
            }
            NameChange::Rename(from, to) => {
                let moved: Vec<PathBuf> = inside(entries, from).map(|(name, _)| name.clone()).collect();
                for name in moved {
                    let rest = name.strip_prefix(from).expect("just found inside it");
                    let target = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                    if let Some(entry) = entries.remove(&name) {
                        entries.insert(target, entry);
                    }
                }
            }
        }
    }
}

/// A name and all below it.
fn inside<'a>(entries: &'a Entries, path: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a Entry)> {
    entries.range(path.to_owned()..).take_while(move |(name, _)| name.starts_with(path))
}

/// All names of a disk, by absolute path.
#[derive(Default)]
pub(super) struct Names {
    seen: Entries,
    durable: Entries,
    journal: Vec<NameChange>,
}

impl Names {
    pub(super) fn change(&mut self, change: NameChange) {
        change.apply(&mut self.seen);
        self.journal.push(change);
    }

    pub(super) fn get(&self, path: &Path) -> Option<&Entry> {
        self.seen.get(path)
    }

    pub(super) fn entry(&self, path: &Path) -> io::Result<&Entry> {
        self.get(path).ok_or_else(|| ErrorKind::NotFound.into())
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<&SharedInode> {
        match self.entry(path)? {
            Entry::File(inode) => Ok(inode),
            Entry::Dir { .. } => Err(ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        path == Path::new("/") || matches!(self.get(path), Some(Entry::Dir { .. }))
    }

    pub(super) fn must_be_dir(&self, path: &Path) -> io::Result<()> {
        if self.is_dir(path) {
            return Ok(());
        }
        self.entry(path)?;
        Err(ErrorKind::NotADirectory.into())
    }

    pub(super) fn parent_must_exist(&self, path: &Path) -> io::Result<()> {
        self.must_be_dir(path.parent().unwrap_or(Path::new("/")))
    }

    /// A name and all below it, parents first.
    pub(super) fn inside<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a Entry)> {
        inside(&self.seen, path)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &SharedInode> {
        self.seen.values().filter_map(|entry| match entry {
            Entry::File(inode) => Some(inode),
            Entry::Dir { .. } => None,
        })
    }

    pub(super) fn sync(&mut self) {
        for change in self.journal.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// How many changes are not durable.
    pub(super) fn unsynced(&self) -> usize {
        self.journal.len()
    }

    /// Only the first `kept` of the changes that are not durable survive.
    pub(super) fn power_cut(&mut self, kept: usize) {
        for change in std::mem::take(&mut self.journal).into_iter().take(kept) {
            change.apply(&mut self.durable);
        }
        self.seen = self.durable.clone();
    }
}

/// An absolute path without dots.
pub(super) fn absolute(path: &Path) -> PathBuf {
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
