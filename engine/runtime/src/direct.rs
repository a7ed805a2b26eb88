//! Memory that the disk can take without the page cache between.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Where a direct write begins and ends, and where its memory does: what every disk and file system takes.
const BLOCK_BYTES: usize = 4096;

#[derive(Debug, Default)]
struct Memory {
    bytes: Vec<u8>,
    /// Where its first block begins.
    start: usize,
}

/// Buffers for [`Rt::write_durably`](crate::Rt::write_durably) that were written and can be filled again: memory that was touched is cheap.
#[derive(Clone, Debug, Default)]
pub struct DirectPool {
    memories: Arc<Mutex<Vec<Memory>>>,
}

impl DirectPool {
    /// An empty buffer with room for `capacity` bytes. Its memory comes back when it is dropped.
    pub fn take(&self, capacity: usize) -> DirectBuf {
        let known = self.memories.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut memory = known.unwrap_or_default();
        let capacity = capacity.next_multiple_of(BLOCK_BYTES);
        if memory.bytes.len() < memory.start + capacity {
            memory.bytes = vec![0; capacity + BLOCK_BYTES];
            memory.start = memory.bytes.as_ptr().align_offset(BLOCK_BYTES);
        }
        DirectBuf { memory, len: 0, home: self.clone() }
    }
}

/// Bytes in memory that begins at a block.
#[derive(Debug)]
pub struct DirectBuf {
    memory: Memory,
    len: usize,
    home: DirectPool,
}

impl DirectBuf {
    /// Bytes of a block: direct writes begin and end at multiples of it.
    pub const BLOCK_BYTES: usize = BLOCK_BYTES;

    /// The next `len` bytes, to be written to; what they hold before is undefined.
    ///
    /// # Panics
    /// There is no room for them.
    pub fn extend(&mut self, len: usize) -> &mut [u8] {
        let from = self.memory.start + self.len;
        self.len += len;
        &mut self.memory.bytes[from..from + len]
    }

    /// What was added so far, to be changed.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.memory.bytes[self.memory.start..][..self.len]
    }

    /// With zeros up to the end of the block, to be written.
    pub fn freeze(mut self) -> Bytes {
        let missing = self.len.next_multiple_of(BLOCK_BYTES) - self.len;
        self.extend(missing).fill(0);
        Bytes::from_owner(self)
    }
}

impl Deref for DirectBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory.bytes[self.memory.start..][..self.len]
    }
}

impl AsRef<[u8]> for DirectBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for DirectBuf {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        self.home.memories.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_and_ends_at_a_block_however_often_its_memory_is_used() {
        let pool = DirectPool::default();
        for len in [3, 5000, 4096] {
            let mut buf = pool.take(len);
            buf.extend(len).fill(7);
            let bytes = buf.freeze();
            assert!(bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES) && bytes.len().is_multiple_of(BLOCK_BYTES));
            assert!(bytes[..len].iter().all(|byte| *byte == 7) && bytes[len..].iter().all(|byte| *byte == 0));
            drop(bytes);
            assert_eq!(pool.memories.lock().unwrap().len(), 1, "it came back");
        }
    }
}
