//! The shard's shared receive buffers (a provided-buffer ring).
//!
//! The kernel takes a buffer only when bytes have arrived, so idle connections own none. Memory is mapped once and touched as it
//! is used. A buffer is either with the kernel (in the ring) or in one `RingChunk`; dropping the chunk gives it back.

use std::cell::Cell;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::real::socket::RECEIVE_BUFFER_BYTES;

/// The only buffer group of a ring.
pub(crate) const GROUP: u16 = 0;

/// Anonymous memory, page aligned, zero, touched lazily.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Mapping> {
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("the kernel maps nothing at address 0");
        Ok(Mapping { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; nobody holds a pointer into it any more (see `Buffers`).
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// The receive buffers of one ring. Outlives the ring (the kernel's use) and every chunk (ours) because both hold an `Rc`.
pub(crate) struct Buffers {
    entries: Mapping,
    memory: Mapping,
    count: u16,
    tail: Cell<u16>,
    lent: Cell<u16>,
}

impl Buffers {
    /// Makes and registers `count` buffers, a power of two.
    pub(crate) fn register(uring: &IoUring, count: u16) -> io::Result<Rc<Buffers>> {
        assert!(count.is_power_of_two(), "receive_buffers must be a power of two");
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let memory = Mapping::new(usize::from(count) * RECEIVE_BUFFER_BYTES)?;
        let buffers = Rc::new(Buffers { entries, memory, count, tail: Cell::new(0), lent: Cell::new(count) });
        let address = buffers.entries.start.as_ptr().addr() as u64;
        // SAFETY: page-aligned memory of `count` entries; `Ring` drops the io_uring before its `Rc` of these buffers.
        unsafe { uring.submitter().register_buf_ring_with_flags(address, count, GROUP, 0)? };
        for bid in 0..count {
            buffers.give_to_kernel(bid);
        }
        Ok(buffers)
    }

    /// Buffers that are in chunks.
    pub(crate) fn lent(&self) -> u16 {
        self.lent.get()
    }

    /// The kernel filled buffer `bid` with `len` bytes.
    pub(crate) fn lend(self: &Rc<Buffers>, bid: u16, len: usize) -> RingChunk {
        assert!(bid < self.count && len <= RECEIVE_BUFFER_BYTES, "the kernel names a buffer it was given");
        self.lent.set(self.lent.get() + 1);
        RingChunk { buffers: Rc::clone(self), bid, len }
    }

    fn address(&self, bid: u16) -> *mut u8 {
        // SAFETY: within the mapping, as every bid is below `count`.
        unsafe { self.memory.start.as_ptr().add(usize::from(bid) * RECEIVE_BUFFER_BYTES) }
    }

    fn give_to_kernel(&self, bid: u16) {
        let entries: *mut BufRingEntry = self.entries.start.as_ptr().cast();
        let tail = self.tail.get();
        // SAFETY: the index is below `count`; the kernel reads an entry only after the tail has passed it, and there are no more
        // buffers than entries, so this entry is ours.
        let entry = unsafe { &mut *entries.add(usize::from(tail & (self.count - 1))) };
        entry.set_addr(self.address(bid).addr() as u64);
        entry.set_len(u32::try_from(RECEIVE_BUFFER_BYTES).expect("a small constant"));
        entry.set_bid(bid);
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        self.lent.set(self.lent.get() - 1);
        // SAFETY: the tail lies in the first entry of the mapping, is aligned, and is only written here, by one thread; the kernel
        // reads it concurrently, so the store is atomic and releases the entry.
        unsafe {
            let shared_tail = BufRingEntry::tail(entries).cast_mut();
            AtomicU16::from_ptr(shared_tail).store(tail, Ordering::Release);
        }
    }
}

/// Received bytes in a shared buffer.
pub(crate) struct RingChunk {
    buffers: Rc<Buffers>,
    bid: u16,
    len: usize,
}

impl Deref for RingChunk {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the kernel wrote `len` bytes and does not touch the buffer until it is given back, when this chunk drops.
        unsafe { std::slice::from_raw_parts(self.buffers.address(self.bid), self.len) }
    }
}

impl Drop for RingChunk {
    fn drop(&mut self) {
        self.buffers.give_to_kernel(self.bid);
    }
}
