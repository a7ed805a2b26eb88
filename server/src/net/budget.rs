//! The memory that requests of one shard may hold.
//!
//! A frame's buffer is counted as it grows, and given back when the last slice of the frame goes (on whatever shard that
//! is). Over budget the shard's readers wait, so the sockets fill and the clients slow down; nothing is refused and
//! nothing grows. Half-read frames that wait for each other would wait for ever, so one overdraft exists: whoever holds
//! it may grow past the limit, finish, be answered and give back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use kringle_runtime::Notify;

/// Frames up to this size are not counted: their number is bounded by the connections, which have a limit of their own.
const UNCOUNTED_BYTES: usize = 16 * 1024;

/// Shared by the connections of one shard; permits may be dropped on any shard.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Inner>);

struct Inner {
    limit: usize,
    held: AtomicUsize,
    overdraft_taken: AtomicBool,
    freed: Notify,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Budget {
        let overdraft_taken = AtomicBool::new(false);
        Budget(Arc::new(Inner { limit, held: AtomicUsize::new(0), overdraft_taken, freed: Notify::new() }))
    }

    /// Bytes held by frames of this shard that are not yet answered.
    pub(crate) fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    /// A permit for nothing yet.
    pub(crate) fn permit(&self) -> Permit {
        Permit { budget: self.0.clone(), bytes: 0, overdraft: false }
    }
}

/// The right to hold the bytes of one frame.
pub(crate) struct Permit {
    budget: Arc<Inner>,
    bytes: usize,
    overdraft: bool,
}

impl Permit {
    /// Waits until the frame may hold `bytes` in all.
    pub(crate) async fn grow_to(&mut self, bytes: usize) {
        if bytes <= UNCOUNTED_BYTES || bytes <= self.bytes {
            return;
        }
        let more = bytes - self.bytes;
        loop {
            let seen = self.budget.freed.version();
            // Only this shard's readers add, so between the look and the add nobody else does.
            let held = self.budget.held.load(Ordering::Relaxed);
            let fits = held + more <= self.budget.limit || self.overdraft;
            if fits || !self.budget.overdraft_taken.swap(true, Ordering::Relaxed) {
                self.overdraft |= !fits;
                self.budget.held.fetch_add(more, Ordering::Relaxed);
                self.bytes = bytes;
                return;
            }
            self.budget.freed.wait_after(seen).await;
        }
    }

    /// Binds the permit to the frame: it is given back when the last slice of the frame goes.
    pub(crate) fn attach(self, frame: Bytes) -> Bytes {
        if self.bytes == 0 { frame } else { Bytes::from_owner(Counted { frame, _permit: self }) }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
            if self.overdraft {
                self.budget.overdraft_taken.store(false, Ordering::Relaxed);
            }
            self.budget.freed.notify_all();
        }
    }
}

struct Counted {
    frame: Bytes,
    _permit: Permit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}
