//! Bounded queues between shards: many senders, one receiver.
//!
//! The queue itself is lock-free. A lock is taken only when one side has to sleep or be woken: a receiver that is
//! running costs its senders nothing but the push, and a parked shard is woken once for many messages.
//!
//! Liveness: each side announces that it sleeps (SeqCst) and looks at the queue once more before it does; the other side
//! changes the queue first and looks for sleepers after. One of the two sees the other.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crossbeam_queue::ArrayQueue;
use slab::Slab;

struct Shared<T> {
    queue: ArrayQueue<T>,
    senders: AtomicUsize,
    receiver_gone: AtomicBool,
    receiver_sleeps: AtomicBool,
    receiver: Mutex<Option<Waker>>,
    senders_sleep: AtomicBool,
    full: Mutex<Slab<Waker>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic halfway through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Shared<T> {
    fn wake_receiver(&self) {
        fence(Ordering::SeqCst);
        if self.receiver_sleeps.load(Ordering::SeqCst) && self.receiver_sleeps.swap(false, Ordering::SeqCst) {
            let waker = locked(&self.receiver).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn wake_senders(&self) {
        fence(Ordering::SeqCst);
        if self.senders_sleep.load(Ordering::SeqCst) {
            for (_, waker) in locked(&self.full).iter() {
                waker.wake_by_ref();
            }
        }
    }

    fn pop(&self) -> Option<T> {
        let message = self.queue.pop();
        if message.is_some() {
            self.wake_senders();
        }
        message
    }
}

/// A bounded queue. `capacity` must not be zero.
pub fn channel<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        queue: ArrayQueue::new(capacity),
        senders: AtomicUsize::new(1),
        receiver_gone: AtomicBool::new(false),
        receiver_sleeps: AtomicBool::new(false),
        receiver: Mutex::new(None),
        senders_sleep: AtomicBool::new(false),
        full: Mutex::new(Slab::new()),
    });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared })
}

/// Why a message could not be sent at once; the message comes back.
#[derive(thiserror::Error, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The queue is full: hold back, or use `send`.
    #[error("the queue is full")]
    Full(T),
    /// The receiver is gone: its shard has stopped.
    #[error("the receiver is gone")]
    Closed(T),
}

impl<T> std::fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "Full",
            TrySendError::Closed(_) => "Closed",
        })
    }
}

impl<T> TrySendError<T> {
    /// The message that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            TrySendError::Full(message) | TrySendError::Closed(message) => message,
        }
    }
}

/// The receiver is gone: its shard has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receiver is gone")]
pub struct Closed;

/// The sending end; clones send to the same receiver.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Sender { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.shared.wake_receiver();
        }
    }
}

impl<T> Sender<T> {
    /// Sends now or says why not.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        if self.shared.receiver_gone.load(Ordering::SeqCst) {
            return Err(TrySendError::Closed(message));
        }
        self.shared.queue.push(message).map_err(TrySendError::Full)?;
        self.shared.wake_receiver();
        // The receiver may have gone between the look and the push, after it had emptied the queue.
        if self.shared.receiver_gone.load(Ordering::SeqCst) {
            while self.shared.queue.pop().is_some() {}
        }
        Ok(())
    }

    /// Sends, waiting for room. Dropping the future before it is done sends nothing.
    pub async fn send(&self, message: T) -> Result<(), Closed> {
        SendFuture { shared: &self.shared, sender: self, message: Some(message), key: None }.await
    }

    /// Messages that wait to be received.
    pub fn len(&self) -> usize {
        self.shared.queue.len()
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.receiver_gone.load(Ordering::SeqCst)
    }
}

struct SendFuture<'a, T> {
    shared: &'a Shared<T>,
    sender: &'a Sender<T>,
    message: Option<T>,
    key: Option<usize>,
}

impl<T> Unpin for SendFuture<'_, T> {}

impl<T> SendFuture<'_, T> {
    /// `None`: still full.
    fn attempt(&mut self) -> Option<Result<(), Closed>> {
        let message = self.message.take()?;
        match self.sender.try_send(message) {
            Ok(()) => Some(Ok(())),
            Err(TrySendError::Closed(_)) => Some(Err(Closed)),
            Err(TrySendError::Full(message)) => {
                self.message = Some(message);
                None
            }
        }
    }
}

impl<T> Future for SendFuture<'_, T> {
    type Output = Result<(), Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        if let Some(done) = self.attempt() {
            return Poll::Ready(done);
        }
        {
            let shared = self.shared;
            let mut full = locked(&shared.full);
            match self.key {
                Some(key) => full[key].clone_from(cx.waker()),
                None => self.key = Some(full.insert(cx.waker().clone())),
            }
            shared.senders_sleep.store(true, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
        self.attempt().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T> Drop for SendFuture<'_, T> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut full = locked(&self.shared.full);
            full.remove(key);
            if full.is_empty() {
                self.shared.senders_sleep.store(false, Ordering::SeqCst);
            }
        }
    }
}

/// The receiving end.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// The next message; `None` once all senders are gone and the queue is empty. Safe to drop and call again.
    pub async fn recv(&mut self) -> Option<T> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// See [`Receiver::recv`]; for hand-written futures.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(message) = self.shared.pop() {
            return Poll::Ready(Some(message));
        }
        {
            let mut waker = locked(&self.shared.receiver);
            match &mut *waker {
                Some(known) => known.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        self.shared.receiver_sleeps.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // Read before the queue: a sender that is gone has pushed all it ever will.
        let no_senders = self.shared.senders.load(Ordering::SeqCst) == 0;
        match self.shared.pop() {
            Some(message) => {
                self.shared.receiver_sleeps.store(false, Ordering::SeqCst);
                Poll::Ready(Some(message))
            }
            None if no_senders => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// A message that is already here.
    pub fn try_recv(&mut self) -> Option<T> {
        self.shared.pop()
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.shared.queue.len()
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receiver_gone.store(true, Ordering::SeqCst);
        // What was queued may hold replies that others wait for: let them know now, not when the last sender goes.
        while self.shared.queue.pop().is_some() {}
        self.shared.wake_senders();
    }
}
