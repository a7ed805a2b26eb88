//! The syscall driver: plain system calls, epoll, and a few threads for what blocks.
//!
//! It serves where io_uring is forbidden, and shows beside it what the ring buys. The contract is the ring's.
//!
//! # Contract
//!
//! **Request flow.** Calls on sockets are tried at once, on the shard. One that would block waits until the socket is ready
//! (`readiness`). A socket is registered once, for all changes, edge-triggered, and what is known of it is kept: a busy
//! connection costs a receive and a send for each chunk, and no epoll_ctl. File operations go to threads of the shard (`file`).
//!
//! **Turn** (`real::run`). Read the clock; fire timers; poll ready tasks, a bounded number; ask epoll for changes, and wait if nothing is
//! ready, at most until the nearest timer: ask again a little while if that has paid lately (`real::busy_poll`), then park in epoll; wake
//! those who wait for what has changed.
//!
//! **Ownership.** Calls on sockets borrow their buffers for the length of the call only, so a dropped future leaves nothing
//! behind. Work on a thread owns its buffers and a clone of its file until it is done; dropping the future does not stop it.
//! Changes are told to a place with a generation: one that is told late, of a socket that is gone, finds nobody.
//!
//! **Wake-ups.** Any thread may wake a task: it queues the task id and, only if the shard has announced that it parks, writes the
//! shard's eventfd, which is watched edge-triggered and never read. The shard looks at its queue after the announcement, so no
//! wake-up is lost. A shard that runs is woken without a system call.
//!
//! **Shutdown.** When the main task ends, the other tasks are dropped and the threads finish what they have been given.
//!
//! **Liveness.** Each turn polls at most [`POLLS_PER_TURN`](crate::real::run::POLLS_PER_TURN) tasks. A task whose socket is
//! always ready gives way after a share of bytes. Changes that do not fit into one answer of epoll come with the next. When all receive
//! buffers are in use, a receive that finds data takes a buffer of its own.

pub(crate) mod buffers;
mod file;
mod poller;
mod readiness;
pub(crate) mod socket;

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use slab::Slab;

use crate::real::helpers::Helpers;
use crate::real::run::{Park, Turns};
use crate::stats::{Counters, count};
use crate::syscall::buffers::Buffers;
use crate::syscall::poller::Poller;
use crate::syscall::readiness::Readiness;

/// The token of the bell.
const BELL: u64 = u64::MAX;
/// Low bits of a token: the place in the slab. The rest is the generation.
const PLACE: u64 = u32::MAX as u64;

/// One shard's driver; clones are the same.
#[derive(Clone)]
pub(crate) struct Syscall {
    inner: Rc<SyscallInner>,
}

pub(crate) struct SyscallInner {
    poller: Poller,
    /// Who is watched, with the generation of the place's tenant.
    watched: RefCell<Slab<(u64, Rc<Readiness>)>>,
    next_generation: Cell<u64>,
    buffers: Rc<Buffers>,
    /// Kept open as long as it is watched.
    _bell: Arc<OwnedFd>,
    /// This shard's threads for file operations.
    threads: Helpers,
    on_threads: Arc<AtomicU64>,
    helpers: Arc<Helpers>,
    counters: SyscallCounters,
}

#[derive(Default)]
pub(crate) struct SyscallCounters {
    waits: Cell<u64>,
    handed_to_threads: Cell<u64>,
    changes: Cell<u64>,
    receive_buffers_exhausted: Cell<u64>,
    sends_inline: Cell<u64>,
    sends_waited: Cell<u64>,
}

/// Counts itself among the work on threads until it is dropped.
struct OnThread(Arc<AtomicU64>);

impl OnThread {
    fn new(counter: &Arc<AtomicU64>) -> OnThread {
        counter.fetch_add(1, Ordering::Relaxed);
        OnThread(Arc::clone(counter))
    }
}

impl Drop for OnThread {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Syscall {
    pub(crate) fn new(
        receive_buffers: u16,
        threads: usize,
        bell: Arc<OwnedFd>,
        helpers: Arc<Helpers>,
    ) -> io::Result<Syscall> {
        let poller = Poller::new()?;
        poller.watch(&bell, BELL)?;
        Ok(Syscall {
            inner: Rc::new(SyscallInner {
                poller,
                watched: RefCell::default(),
                next_generation: Cell::new(0),
                buffers: Buffers::new(receive_buffers),
                _bell: bell,
                threads: Helpers::new("file", threads),
                on_threads: Arc::default(),
                helpers,
                counters: SyscallCounters::default(),
            }),
        })
    }
}

impl Deref for Syscall {
    type Target = SyscallInner;
    fn deref(&self) -> &SyscallInner {
        &self.inner
    }
}

impl Drop for SyscallInner {
    fn drop(&mut self) {
        self.drain();
    }
}

impl SyscallInner {
    pub(crate) fn helpers(&self) -> &Helpers {
        &self.helpers
    }

    fn buffers(&self) -> &Rc<Buffers> {
        &self.buffers
    }

    fn counters(&self) -> &SyscallCounters {
        &self.counters
    }

    /// Copies this driver's counters.
    pub(crate) fn count(&self, counters: &Counters) {
        let ours = &self.counters;
        counters.enters.set(ours.waits.get());
        counters.submissions.set(ours.handed_to_threads.get());
        counters.completions.set(ours.changes.get());
        counters.receive_buffers_exhausted.set(ours.receive_buffers_exhausted.get());
        counters.receive_buffers_in_use.set(u64::from(self.buffers.lent()));
        counters.sends_inline.set(ours.sends_inline.get());
        counters.sends_waited.set(ours.sends_waited.get());
        counters.in_flight.set(self.on_threads.load(Ordering::Acquire));
    }

    /// Registers a socket for all changes; its readiness learns of them until `unwatch`.
    fn watch(&self, fd: &OwnedFd, readiness: &Rc<Readiness>) -> io::Result<u64> {
        let generation = self.next_generation.get();
        self.next_generation.set((generation + 1) & (PLACE >> 1));
        let place = self.watched.borrow_mut().insert((generation, Rc::clone(readiness)));
        let token = generation << 32 | u64::try_from(place).expect("fewer sockets than 2^32");
        let watched = self.poller.watch(fd, token);
        if watched.is_err() {
            self.unwatch(token);
        }
        watched.map(|()| token)
    }

    /// Tells a socket that is gone nothing any more.
    fn unwatch(&self, token: u64) {
        self.watched.borrow_mut().remove(place_of(token));
    }

    /// Takes a socket that lives on out of the epoll instance.
    fn forget(&self, fd: &OwnedFd) {
        // It is there, and deleting asks for no memory.
        self.poller.forget(fd).expect("a registered socket can be taken out");
    }

    /// Runs work that may block on a thread of this shard.
    pub(crate) async fn on_thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        count(&self.counters.handed_to_threads, 1);
        let counted = OnThread::new(&self.on_threads);
        let counted_work = move || {
            let done = work();
            // Before the answer goes out: who has got it finds nothing in flight.
            drop(counted);
            done
        };
        self.threads.run(counted_work).await.expect("file operations do not panic")
    }
}

fn place_of(token: u64) -> usize {
    usize::try_from(token & PLACE).expect("32 bits fit into an address")
}

impl Turns for SyscallInner {
    fn has_completions(&self) -> bool {
        self.poller.found() > 0
    }

    fn enter(&self, park: Park) {
        count(&self.counters.waits, 1);
        self.poller.wait(park);
    }

    fn reap(&self) {
        for index in 0..self.poller.found() {
            let (token, events) = self.poller.change(index);
            if token == BELL {
                continue;
            }
            count(&self.counters.changes, 1);
            let tenant = match self.watched.borrow().get(place_of(token)) {
                Some((generation, readiness)) if *generation == token >> 32 => Rc::clone(readiness),
                _ => continue,
            };
            tenant.change(events);
        }
        self.poller.forget_found();
    }

    fn drain(&self) {
        self.threads.wait_until_idle();
    }
}
