//! An event counter that tasks of any shard can wait on.
//!
//! A waiter remembers the version it has seen, looks at the state the counter guards, and waits for a later version: an
//! event between the look and the wait is never lost.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;

#[derive(Default)]
struct Shared {
    version: AtomicU64,
    /// False: nobody waits, and notifying takes no lock.
    waiting: AtomicBool,
    waiters: Mutex<Slab<Waker>>,
}

impl Shared {
    fn waiters(&self) -> MutexGuard<'_, Slab<Waker>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A counter of events; clones count together.
#[derive(Clone, Default)]
pub struct Notify {
    shared: Arc<Shared>,
}

impl Notify {
    /// A counter at version 0.
    pub fn new() -> Notify {
        Notify::default()
    }

    /// How often `notify_all` was called.
    pub fn version(&self) -> u64 {
        self.shared.version.load(Ordering::SeqCst)
    }

    /// Counts an event and wakes everyone who waits.
    pub fn notify_all(&self) {
        self.shared.version.fetch_add(1, Ordering::SeqCst);
        if self.shared.waiting.load(Ordering::SeqCst) {
            let waiters = self.shared.waiters();
            for (_, waker) in waiters.iter() {
                waker.wake_by_ref();
            }
            // Whoever waits on lists himself again when he is polled; until then a further event has nobody to wake.
            self.shared.waiting.store(false, Ordering::SeqCst);
        }
    }

    /// Waits until the version is above `seen`.
    pub fn wait_after(&self, seen: u64) -> WaitAfter {
        WaitAfter { shared: Arc::clone(&self.shared), seen, key: None }
    }
}

/// See [`Notify::wait_after`].
#[must_use = "futures do nothing unless awaited"]
pub struct WaitAfter {
    shared: Arc<Shared>,
    seen: u64,
    key: Option<usize>,
}

impl Future for WaitAfter {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.shared.version.load(Ordering::SeqCst) > self.seen {
            return Poll::Ready(());
        }
        let this = &mut *self;
        {
            let mut waiters = this.shared.waiters();
            match this.key {
                Some(key) => waiters[key].clone_from(cx.waker()),
                None => this.key = Some(waiters.insert(cx.waker().clone())),
            }
            this.shared.waiting.store(true, Ordering::SeqCst);
        }
        // An event that came before the waiter was listed did not wake it.
        if this.shared.version.load(Ordering::SeqCst) > this.seen { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for WaitAfter {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut waiters = self.shared.waiters();
            waiters.remove(key);
            if waiters.is_empty() {
                self.shared.waiting.store(false, Ordering::SeqCst);
            }
        }
    }
}
