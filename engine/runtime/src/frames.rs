//! Pooled byte buffers for frames and reads.
//!
//! Each shard has a pool of power-of-two size classes; a buffer goes back to the pool it came from when it is dropped,
//! from whatever thread. Memory that was touched once is used again instead of being faulted in anew. Buffers above the
//! largest class are exact and are not kept. What a pool keeps is bounded; beyond that, memory goes back to the allocator.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// The smallest pooled buffer.
const SMALLEST_BYTES: usize = 4 << 10;
/// The largest pooled buffer.
const LARGEST_BYTES: usize = 1 << 20;
/// Classes from the smallest to the largest by powers of two.
const CLASSES: usize = (LARGEST_BYTES / SMALLEST_BYTES).ilog2() as usize + 1;
/// A shard keeps at most this much for later use.
const KEEP_BYTES: usize = 16 << 20;
/// A single class keeps at most this much, so that one size cannot crowd out the others.
const KEEP_CLASS_BYTES: usize = 8 << 20;
/// And at most so many buffers.
const KEEP_CLASS_BUFFERS: usize = 512;

/// The pool of one shard. Last in, first out: the buffer that was used last is the one most likely still in the caches.
pub(crate) struct FramePool {
    classes: [Mutex<Vec<Vec<u8>>>; CLASSES],
    kept_bytes: AtomicUsize,
}

impl FramePool {
    pub(crate) fn new() -> Arc<FramePool> {
        let classes = std::array::from_fn(|_| Mutex::default());
        Arc::new(FramePool { classes, kept_bytes: AtomicUsize::new(0) })
    }

    fn class(&self, class: usize) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // Nothing under the lock can panic halfway through a change.
        self.classes[class].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The class whose buffers hold `capacity` bytes.
    fn class_of(capacity: usize) -> Option<usize> {
        let size = capacity.max(SMALLEST_BYTES).checked_next_power_of_two()?;
        (size <= LARGEST_BYTES).then(|| (size / SMALLEST_BYTES).ilog2() as usize)
    }

    pub(crate) fn take(self: &Arc<FramePool>, capacity: usize) -> FrameBuf {
        let Some(class) = FramePool::class_of(capacity) else {
            return FrameBuf { bytes: Vec::with_capacity(capacity), limit: capacity, home: None };
        };
        let kept = self.class(class).pop();
        let bytes = match kept {
            Some(bytes) => {
                self.kept_bytes.fetch_sub(SMALLEST_BYTES << class, Ordering::Relaxed);
                bytes
            }
            None => Vec::with_capacity(SMALLEST_BYTES << class),
        };
        FrameBuf { bytes, limit: capacity, home: Some(Arc::clone(self)) }
    }

    fn give_back(&self, mut bytes: Vec<u8>) {
        let Some(class) = FramePool::class_of(bytes.capacity()) else { return };
        let size = SMALLEST_BYTES << class;
        if bytes.capacity() != size || self.kept_bytes.load(Ordering::Relaxed) + size > KEEP_BYTES {
            return;
        }
        bytes.clear();
        let mut kept = self.class(class);
        if kept.len() < (KEEP_CLASS_BYTES / size).min(KEEP_CLASS_BUFFERS) {
            kept.push(bytes);
            self.kept_bytes.fetch_add(size, Ordering::Relaxed);
        }
    }
}

/// A buffer of fixed capacity; its filled part derefs to bytes. Goes back to its shard's pool when dropped.
pub struct FrameBuf {
    bytes: Vec<u8>,
    limit: usize,
    home: Option<Arc<FramePool>>,
}

impl FrameBuf {
    /// A buffer outside any pool, for tests and rare uses.
    pub fn unpooled(capacity: usize) -> FrameBuf {
        FrameBuf { bytes: Vec::with_capacity(capacity), limit: capacity, home: None }
    }

    /// How much it can hold.
    pub fn capacity(&self) -> usize {
        self.limit
    }

    /// How much it holds.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How much more fits.
    pub fn remaining(&self) -> usize {
        self.limit - self.bytes.len()
    }

    /// Appends. Panics past the capacity: the caller knows how much fits.
    pub fn extend_from_slice(&mut self, more: &[u8]) {
        assert!(more.len() <= self.remaining(), "{} bytes do not fit into {}", more.len(), self.remaining());
        self.bytes.extend_from_slice(more);
    }

    /// Forgets what it holds; the memory stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Keeps the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Shares the filled part; the pool gets the buffer back when the last clone goes.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// Where the next byte goes, for the kernel to fill `remaining()` bytes.
    pub(crate) fn tail_mut(&mut self) -> *mut u8 {
        self.bytes.spare_capacity_mut().as_mut_ptr().cast()
    }

    /// Counts `n` more bytes as filled.
    ///
    /// # Safety
    /// The `n` bytes from `tail_mut()` on must have been written, and `n <= remaining()`.
    pub(crate) unsafe fn filled(&mut self, n: usize) {
        debug_assert!(n <= self.remaining());
        // SAFETY: within the capacity and initialised, as the caller promises.
        unsafe { self.bytes.set_len(self.bytes.len() + n) };
    }
}

impl Drop for FrameBuf {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give_back(std::mem::take(&mut self.bytes));
        }
    }
}

impl Deref for FrameBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for FrameBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for FrameBuf {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for FrameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameBuf({} of {} bytes)", self.len(), self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again_even_after_a_trip_through_bytes_on_another_thread() {
        let pool = FramePool::new();
        let mut buf = pool.take(5000);
        buf.extend_from_slice(b"abc");
        let memory = buf.as_ptr();
        let shared = buf.freeze();
        let clone = shared.clone();
        std::thread::spawn(move || drop(shared)).join().unwrap();
        assert_eq!(&clone[..], b"abc");
        drop(clone);
        let again = pool.take(8000);
        assert_eq!(again.as_ptr(), memory);
        assert!(again.is_empty());
        assert_eq!(again.capacity(), 8000);
    }

    #[test]
    fn a_pool_keeps_no_more_than_its_bound() {
        let pool = FramePool::new();
        let bufs: Vec<FrameBuf> = (0..64).map(|_| pool.take(LARGEST_BYTES)).collect();
        drop(bufs);
        assert!(pool.kept_bytes.load(Ordering::Relaxed) <= KEEP_CLASS_BYTES);
        let bufs: Vec<FrameBuf> =
            (0..CLASSES).flat_map(|c| (0..2000).map(move |_| c)).map(|c| pool.take(4096 << c)).collect();
        drop(bufs);
        assert!(pool.kept_bytes.load(Ordering::Relaxed) <= KEEP_BYTES);
    }

    #[test]
    fn buffers_beyond_the_largest_class_are_exact_and_not_kept() {
        let pool = FramePool::new();
        drop(pool.take(LARGEST_BYTES + 1));
        assert_eq!(pool.kept_bytes.load(Ordering::Relaxed), 0);
        assert_eq!(pool.take(LARGEST_BYTES + 1).capacity(), LARGEST_BYTES + 1);
    }

    #[test]
    #[should_panic(expected = "do not fit")]
    fn appending_past_the_capacity_panics() {
        FrameBuf::unpooled(2).extend_from_slice(b"abc");
    }
}
