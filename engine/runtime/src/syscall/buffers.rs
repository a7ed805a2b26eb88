//! The shard's shared receive buffers.
//!
//! A buffer is taken when a socket is ready and given back when its chunk is dropped, or at once if nothing came: idle connections
//! own none. Memory is taken from the allocator when it is first needed, and then used again, the last used first.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::real::socket::RECEIVE_BUFFER_BYTES;

/// The receive buffers of one shard.
pub(crate) struct Buffers {
    free: RefCell<Vec<Box<[u8]>>>,
    lent: Cell<u16>,
    count: u16,
}

impl Buffers {
    pub(crate) fn new(count: u16) -> Rc<Buffers> {
        Rc::new(Buffers { free: RefCell::default(), lent: Cell::new(0), count })
    }

    /// Buffers that are in use.
    pub(crate) fn lent(&self) -> u16 {
        self.lent.get()
    }

    /// `None`: all are in use.
    pub(crate) fn take(self: &Rc<Buffers>) -> Option<ReceiveBuffer> {
        if self.lent.get() == self.count {
            return None;
        }
        self.lent.set(self.lent.get() + 1);
        let memory = self.free.borrow_mut().pop().unwrap_or_else(|| vec![0; RECEIVE_BUFFER_BYTES].into());
        Some(ReceiveBuffer { buffers: Rc::clone(self), memory, len: RECEIVE_BUFFER_BYTES })
    }
}

/// A buffer on loan; derefs to the part that counts.
pub(crate) struct ReceiveBuffer {
    buffers: Rc<Buffers>,
    memory: Box<[u8]>,
    len: usize,
}

impl ReceiveBuffer {
    /// Keeps the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Deref for ReceiveBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

impl DerefMut for ReceiveBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }
}

impl Drop for ReceiveBuffer {
    fn drop(&mut self) {
        self.buffers.lent.set(self.buffers.lent.get() - 1);
        self.buffers.free.borrow_mut().push(std::mem::take(&mut self.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_whole_again_for_the_next_and_there_are_no_more_than_said() {
        let buffers = Buffers::new(2);
        let mut first = buffers.take().unwrap();
        let memory = first.as_ptr();
        first.truncate(3);
        let _second = buffers.take().unwrap();
        assert!(buffers.take().is_none());
        assert_eq!((first.len(), buffers.lent()), (3, 2));
        drop(first);
        let again = buffers.take().unwrap();
        assert_eq!((again.as_ptr(), again.len()), (memory, RECEIVE_BUFFER_BYTES));
    }
}
