//! One file: what programs see, what would survive a power cut, and the changes in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// Writes survive a power cut by whole pages.
pub(super) const PAGE_BYTES: u64 = 4096;

/// A change that is not durable yet.
pub(super) enum Change {
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

    /// Keeps only the pages before a seeded one.
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

/// Bytes that the files of a disk take, counted as they change.
pub(super) type Used = Arc<AtomicU64>;

pub(super) struct Inode {
    /// What programs see.
    content: Vec<u8>,
    /// What survives a power cut for sure.
    durable: Vec<u8>,
    /// What lies between, oldest first, from change number `synced` on.
    pending: Vec<Change>,
    synced: u64,
    pub(super) modified_ms: i64,
    /// Not in the page cache since the last start.
    pub(super) cold: bool,
    used: Used,
}

impl Inode {
    pub(super) fn new(modified_ms: i64, used: Used) -> Inode {
        let (content, durable, pending) = (Vec::new(), Vec::new(), Vec::new());
        Inode { content, durable, pending, synced: 0, modified_ms, cold: false, used }
    }

    pub(super) fn content(&self) -> &[u8] {
        &self.content
    }

    pub(super) fn change(&mut self, change: Change, now_ms: i64) {
        let before = self.content.len();
        change.apply(&mut self.content);
        self.pending.push(change);
        self.modified_ms = now_ms;
        self.resized(before);
    }

    fn resized(&self, before: usize) {
        self.used.fetch_add(self.content.len() as u64, Ordering::Relaxed);
        self.used.fetch_sub(before as u64, Ordering::Relaxed);
    }

    /// The number of the next change.
    pub(super) fn changes(&self) -> u64 {
        self.synced + self.pending.len() as u64
    }

    /// Makes the changes before number `until` durable.
    pub(super) fn sync_until(&mut self, until: u64) {
        let n = usize::try_from(until.saturating_sub(self.synced)).unwrap_or(usize::MAX);
        for change in self.pending.drain(..n.min(self.pending.len())) {
            change.apply(&mut self.durable);
            self.synced += 1;
        }
    }

    /// A sync that failed: of the changes a seeded choice reached the disk, the others never will, and the page cache takes all of
    /// them for clean.
    pub(super) fn fail_sync(&mut self, until: u64, random: &mut ChaCha8Rng) {
        let n = usize::try_from(until.saturating_sub(self.synced)).unwrap_or(usize::MAX);
        for change in self.pending.drain(..n.min(self.pending.len())) {
            if random.next_u64().is_multiple_of(2) {
                change.apply(&mut self.durable);
            }
            self.synced += 1;
        }
    }

    /// What a read past the page cache gives: dirty pages are written first, but what a failed sync lost is not dirty.
    pub(super) fn on_disk(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for change in &self.pending {
            change.apply(&mut bytes);
        }
        bytes
    }

    pub(super) fn power_cut(&mut self, random: &mut ChaCha8Rng) {
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
        let before = self.content.len();
        self.content.clone_from(&self.durable);
        self.resized(before);
        self.cold = true;
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        self.used.fetch_sub(self.content.len() as u64, Ordering::Relaxed);
    }
}
