//! The memory that requests of one shard may hold.
//!
//! A frame's buffer is counted as it grows, and given back when the last slice of the frame goes (on whatever shard that
//! is). Over budget the shard's readers wait, so the sockets fill and the clients slow down; nothing is refused and
//! nothing grows. Half-read frames that wait for each other would wait for ever, so one overdraft exists: whoever holds
//! it may grow past the limit, finish, be answered and give back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

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
    waits: AtomicU64,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Budget {
        let overdraft_taken = AtomicBool::new(false);
        let (held, waits) = (AtomicUsize::new(0), AtomicU64::new(0));
        Budget(Arc::new(Inner { limit, held, overdraft_taken, freed: Notify::new(), waits }))
    }

    /// Bytes held by frames of this shard that are not yet answered.
    pub(crate) fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    /// How often a reader had to wait.
    pub(crate) fn waits(&self) -> u64 {
        self.0.waits.load(Ordering::Relaxed)
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
    /// Whether the frame may hold `bytes` in all, without waiting for it.
    pub(crate) fn try_grow_to(&mut self, bytes: usize) -> bool {
        if bytes <= UNCOUNTED_BYTES || bytes <= self.bytes {
            return true;
        }
        let more = bytes - self.bytes;
        // Only this shard's readers add, so between the look and the add nobody else does.
        let held = self.budget.held.load(Ordering::Relaxed);
        let fits = held + more <= self.budget.limit || self.overdraft;
        if !fits && self.budget.overdraft_taken.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.overdraft |= !fits;
        self.budget.held.fetch_add(more, Ordering::Relaxed);
        self.bytes = bytes;
        true
    }

    /// Waits until the frame may hold `bytes` in all.
    pub(crate) async fn grow_to(&mut self, bytes: usize) {
        let mut waited = false;
        loop {
            let seen = self.budget.freed.version();
            if self.try_grow_to(bytes) {
                return;
            }
            if !std::mem::replace(&mut waited, true) {
                self.budget.waits.fetch_add(1, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::FutureExt;
    use futures_util::task::noop_waker_ref;

    use super::*;

    const LIMIT: usize = 1_000_000;

    /// Whether the permit grows at once.
    fn grows(permit: &mut Permit, bytes: usize) -> bool {
        permit.grow_to(bytes).now_or_never().is_some()
    }

    #[test]
    fn over_the_limit_one_grows_and_the_others_wait_until_something_is_given_back() {
        let budget = Budget::new(LIMIT);
        let (mut first, mut second, mut third) = (budget.permit(), budget.permit(), budget.permit());
        assert!(grows(&mut first, 600_000) && grows(&mut second, 300_000));
        assert!(grows(&mut second, 900_000), "the overdraft");
        assert_eq!(budget.held(), 1_500_000);
        let mut waits = Box::pin(third.grow_to(200_000));
        let mut context = std::task::Context::from_waker(noop_waker_ref());
        assert_eq!(waits.poll_unpin(&mut context), Poll::Pending);
        assert_eq!(waits.poll_unpin(&mut context), Poll::Pending);
        assert_eq!(budget.waits(), 1, "looking twice is one wait");
        drop(second.attach(Bytes::from_static(b"frame")));
        assert_eq!(waits.poll_unpin(&mut context), Poll::Ready(()));
        drop(waits);
        assert_eq!(budget.held(), 800_000);
        assert!(grows(&mut first, 1_200_000), "the overdraft is free again");
    }

    #[test]
    fn a_frame_holds_its_bytes_until_its_last_slice_goes() {
        let budget = Budget::new(LIMIT);
        let mut permit = budget.permit();
        assert!(grows(&mut permit, 50_000));
        let frame = permit.attach(Bytes::from(vec![0; 50_000]));
        let slice = frame.slice(10..20);
        drop(frame);
        assert_eq!(budget.held(), 50_000);
        drop(slice);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn small_frames_pass_whatever_is_held() {
        let budget = Budget::new(LIMIT);
        let (mut first, mut second, mut small) = (budget.permit(), budget.permit(), budget.permit());
        assert!(grows(&mut first, LIMIT) && grows(&mut second, LIMIT));
        assert!(grows(&mut small, UNCOUNTED_BYTES));
        assert!(!grows(&mut small, UNCOUNTED_BYTES + 1));
    }
}
