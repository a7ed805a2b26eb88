//! Operations in flight.
//!
//! Each operation has a slot that owns what the kernel reads or writes (buffers, descriptors, message headers) from before the
//! submission until its terminal completion, whatever happens to the future that waits. A completion finds its slot by the
//! user data: slot index and generation. The generation guards cancellations, which may arrive after the slot has a new tenant.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use io_uring::{cqueue, squeue};
use slab::Slab;

use crate::frames::FrameBuf;
use crate::real::file::{IOV_MAX, RealFile};
use crate::ring::Ring;

/// What an operation keeps alive until its terminal completion.
pub(crate) enum Held {
    /// A receive into the shared buffers, or a poll.
    Socket { _fd: Arc<OwnedFd> },
    /// A receive into an own buffer.
    Receive { buf: FrameBuf, _fd: Arc<OwnedFd> },
    /// A vectored send.
    Send { bufs: Vec<Bytes>, vectors: Box<Vectors>, _fd: Arc<OwnedFd> },
    /// A read from a file.
    Read { buf: FrameBuf, _file: RealFile },
    /// A vectored write to a file.
    Write { bufs: Vec<Bytes>, vectors: Box<Vectors>, _file: RealFile },
}

impl Held {
    /// Whether the operation may wait for ever, so that nobody waiting for it any more means that it must be cancelled.
    fn waits_for_a_peer(&self) -> bool {
        matches!(self, Held::Socket { .. } | Held::Receive { .. } | Held::Send { .. })
    }
}

/// The slices and the header of a vectored operation, at an address that stays.
pub(crate) struct Vectors {
    pub(crate) slices: Vec<libc::iovec>,
    pub(crate) header: libc::msghdr,
}

impl Vectors {
    pub(crate) fn new() -> Vectors {
        // SAFETY: msghdr is plain data; all zeros is an empty message without address and control data.
        let header = unsafe { std::mem::zeroed() };
        Vectors { slices: Vec::new(), header }
    }

    /// Points at the bytes of `bufs`, as many slices as the kernel takes.
    pub(crate) fn point_at(&mut self, bufs: &[Bytes]) {
        self.slices.clear();
        self.slices.extend(
            bufs.iter()
                .take(IOV_MAX)
                .map(|buf| libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() }),
        );
        self.header.msg_iov = self.slices.as_mut_ptr();
        self.header.msg_iovlen = self.slices.len() as _;
    }
}

enum State {
    Waiting(Option<Waker>),
    Done {
        result: i32,
        flags: u32,
    },
    /// Nobody waits: the slot goes with the completion.
    Orphan,
}

struct Slot {
    generation: u32,
    state: State,
    held: Held,
}

/// Names an operation towards the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpKey {
    index: u32,
    generation: u32,
}

impl OpKey {
    pub(crate) fn user_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn from_user_data(user_data: u64) -> OpKey {
        let index = u32::try_from(user_data & 0xffff_ffff).expect("32 bits");
        let generation = u32::try_from(user_data >> 32).expect("32 bits");
        OpKey { index, generation }
    }

    fn slot(self) -> usize {
        usize::try_from(self.index).expect("32 bits fit into an address")
    }
}

/// The slots of a ring. Generations stay below 2^31, so that user data with the top bit set is free for other uses.
#[derive(Default)]
pub(crate) struct Ops {
    slots: Slab<Slot>,
    next_generation: u32,
}

impl Ops {
    pub(crate) fn insert(&mut self, held: Held) -> OpKey {
        let generation = self.next_generation;
        self.next_generation = (self.next_generation + 1) & 0x7fff_ffff;
        let slot = self.slots.insert(Slot { generation, state: State::Waiting(None), held });
        OpKey { index: u32::try_from(slot).expect("fewer operations than 2^32"), generation }
    }

    /// Operations that have a slot.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the kernel still has to complete some.
    pub(crate) fn has_unfinished(&self) -> bool {
        self.slots.iter().any(|(_, slot)| !matches!(slot.state, State::Done { .. }))
    }

    /// Notes a terminal completion. Gives the waker to call and, if nobody waits, what was held.
    pub(crate) fn complete(&mut self, key: OpKey, result: i32, flags: u32) -> (Option<Waker>, Option<Held>) {
        let slot = self.slots.get_mut(key.slot()).expect("a slot stays until its completion");
        assert_eq!(slot.generation, key.generation, "a completion for an earlier tenant of the slot");
        match std::mem::replace(&mut slot.state, State::Done { result, flags }) {
            State::Waiting(waker) => (waker, None),
            State::Orphan => (None, Some(self.slots.remove(key.slot()).held)),
            State::Done { .. } => unreachable!("an operation completes once"),
        }
    }
}

/// How an operation ended, with what it had borrowed.
pub(crate) struct Completion {
    pub(crate) result: io::Result<usize>,
    pub(crate) flags: u32,
    pub(crate) held: Held,
}

/// Waits for an operation. Dropped early, it leaves the slot to the completion.
pub(crate) struct Op {
    ring: Ring,
    key: OpKey,
    taken: bool,
}

impl Op {
    /// Submits an operation with the next enter.
    ///
    /// # Safety
    /// The entry may only name memory and descriptors that `held` keeps alive, and memory at a place that does not change when
    /// `held` is moved.
    pub(crate) unsafe fn submit(ring: &Ring, held: Held, entry: impl FnOnce(&mut Held) -> squeue::Entry) -> Op {
        let mut held = held;
        let entry = entry(&mut held);
        let key = ring.ops.borrow_mut().insert(held);
        // SAFETY: the slot keeps `held` until the terminal completion, and the caller promises that this is enough.
        unsafe { ring.push(&entry.user_data(key.user_data())) };
        Op { ring: ring.clone(), key, taken: false }
    }
}

impl Future for Op {
    type Output = Completion;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Completion> {
        let this = &mut *self;
        assert!(!this.taken, "polled after its completion");
        let mut ops = this.ring.ops.borrow_mut();
        let slot = &mut ops.slots[this.key.slot()];
        match &mut slot.state {
            State::Waiting(Some(known)) => {
                known.clone_from(cx.waker());
                Poll::Pending
            }
            State::Waiting(none) => {
                *none = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Done { result, flags } => {
                let result = usize::try_from(*result).map_err(|_| io::Error::from_raw_os_error(-*result));
                let flags = *flags;
                let held = ops.slots.remove(this.key.slot()).held;
                this.taken = true;
                Poll::Ready(Completion { result, flags, held })
            }
            State::Orphan => unreachable!("an orphan has no future"),
        }
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let mut ops = self.ring.ops.borrow_mut();
        let slot = &mut ops.slots[self.key.slot()];
        if let State::Done { flags, .. } = slot.state {
            let held = ops.slots.remove(self.key.slot()).held;
            drop(ops);
            drop(held);
            self.ring.recycle_unread(flags);
        } else {
            slot.state = State::Orphan;
            let cancel = slot.held.waits_for_a_peer();
            drop(ops);
            if cancel {
                self.ring.cancel(self.key);
            }
        }
    }
}

/// The buffer the kernel chose for a completion, if any.
pub(crate) fn chosen_buffer(flags: u32) -> Option<u16> {
    cqueue::buffer_select(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_names_slot_and_generation() {
        let key = OpKey { index: 7, generation: 0x7fff_ffff };
        assert_eq!(OpKey::from_user_data(key.user_data()), key);
        assert_eq!(key.user_data() >> 63, 0);
    }
}
