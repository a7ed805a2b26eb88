//! One answer to one question, across shards.
//!
//! The asker keeps the `Answer`, the `Reply` travels with the question. Dropping either side tells the other.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
    /// The reply was sent or dropped.
    settled: bool,
}

fn locked<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    // No code of a user runs under the lock, so a poisoned slot is still whole.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a question's two ends.
pub fn oneshot<T: Send>() -> (Reply<T>, Answer<T>) {
    let slot = Arc::new(Mutex::new(Slot { value: None, waker: None, settled: false }));
    (Reply { slot: Arc::clone(&slot) }, Answer { slot })
}

/// The end that answers.
pub struct Reply<T> {
    slot: Arc<Mutex<Slot<T>>>,
}

impl<T> Reply<T> {
    /// Answers. If nobody waits any more the value is dropped.
    pub fn send(self, value: T) {
        locked(&self.slot).value = Some(value);
        // The drop of `self` settles the slot and wakes the asker.
    }

    /// Whether the asker has gone away, so that work for it can be spared.
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.slot) == 1
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        let waker = {
            let mut slot = locked(&self.slot);
            slot.settled = true;
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The end that waits: `None` if the reply was dropped unanswered.
#[must_use = "an answer arrives only when it is awaited"]
pub struct Answer<T> {
    slot: Arc<Mutex<Slot<T>>>,
}

impl<T> Answer<T> {
    /// The answer, if it has arrived.
    pub fn try_take(&mut self) -> Option<T> {
        locked(&self.slot).value.take()
    }
}

impl<T> Future for Answer<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = locked(&self.slot);
        if slot.settled {
            return Poll::Ready(slot.value.take());
        }
        match &mut slot.waker {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}
