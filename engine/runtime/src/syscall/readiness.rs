//! What is known about a socket's readiness, so that the kernel is asked only when something may have changed.
//!
//! A socket counts as ready until a call says otherwise: `WouldBlock`, or a receive that did not fill its buffer. From then
//! on the next change, which epoll tells once (edge-triggered), makes it ready again. Registering is put off to the first wait,
//! so a socket that is only passed on costs no epoll_ctl; registering tells at once what has happened before.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use nix::sys::epoll::EpollFlags;

use crate::real::socket::RECEIVE_BUFFER_BYTES;
use crate::syscall::Syscall;

/// Bytes that a socket may receive in a row, without ever having to wait, before other tasks get their turn. A receive counts as
/// a buffer at least.
const SHARE_BYTES: usize = 64 * RECEIVE_BUFFER_BYTES;

/// A way bytes go. For a listener, connections that come are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Receive,
    Send,
}

#[derive(Default)]
struct Side {
    ready: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Side {
    fn make_ready(&self) {
        self.ready.set(true);
        let waiter = self.waiter.borrow_mut().take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

/// The readiness of one socket, shared between the socket and the driver.
#[derive(Default)]
pub(crate) struct Readiness {
    receive: Side,
    send: Side,
    /// No more bytes come than have come: the peer has closed, or the connection is broken. That was told once, so from now
    /// on a receive that did not fill its buffer says nothing.
    ended: Cell<bool>,
}

impl Readiness {
    fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Receive => &self.receive,
            Direction::Send => &self.send,
        }
    }

    /// Takes note of a change.
    pub(crate) fn change(&self, events: EpollFlags) {
        let broken = EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        let ended = broken | EpollFlags::EPOLLRDHUP;
        if events.intersects(ended) {
            self.ended.set(true);
        }
        if events.intersects(ended | EpollFlags::EPOLLIN) {
            self.receive.make_ready();
        }
        if events.intersects(broken | EpollFlags::EPOLLOUT) {
            self.send.make_ready();
        }
    }
}

/// A socket's place with its driver. Dropped with the socket, whose close takes it out of the epoll instance.
pub(crate) struct Watch {
    driver: Syscall,
    readiness: Rc<Readiness>,
    token: Cell<Option<u64>>,
    /// Bytes received since others last had their turn.
    in_a_row: Cell<usize>,
}

impl Watch {
    /// For a socket that may be ready for anything.
    pub(crate) fn new(driver: &Syscall) -> Watch {
        let watch = Watch::of_nothing(driver);
        watch.readiness.receive.ready.set(true);
        watch.readiness.send.ready.set(true);
        watch
    }

    /// For a socket that is ready for nothing until the kernel says so.
    pub(crate) fn of_nothing(driver: &Syscall) -> Watch {
        let in_a_row = Cell::new(0);
        Watch { driver: driver.clone(), readiness: Rc::default(), token: Cell::new(None), in_a_row }
    }

    pub(crate) fn driver(&self) -> &Syscall {
        &self.driver
    }

    /// Waits until a call may succeed, and for other tasks after many that did.
    pub(crate) async fn ready(&self, fd: &OwnedFd, direction: Direction) -> io::Result<()> {
        poll_fn(|cx| self.poll_ready(fd, direction, cx)).await
    }

    fn poll_ready(&self, fd: &OwnedFd, direction: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let side = self.readiness.side(direction);
        if side.ready.get() && self.in_a_row.get() < SHARE_BYTES {
            return Poll::Ready(Ok(()));
        }
        self.in_a_row.set(0);
        if side.ready.get() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.token.get().is_none() {
            match self.driver.watch(fd, &self.readiness) {
                Ok(token) => self.token.set(Some(token)),
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        // A waiter that gives up stays noted: it is woken once for nothing, or replaced.
        match &mut *side.waiter.borrow_mut() {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// A call said that it would block: the next change is told.
    pub(crate) fn would_block(&self, direction: Direction) {
        self.readiness.side(direction).ready.set(false);
    }

    /// A call received `n` bytes, or a connection.
    pub(crate) fn received(&self, n: usize) {
        self.in_a_row.set(self.in_a_row.get() + n.max(RECEIVE_BUFFER_BYTES));
    }

    /// A receive did not fill its buffer: nothing is left, and the call that would only say so is spared.
    pub(crate) fn emptied(&self) {
        if !self.readiness.ended.get() {
            self.would_block(Direction::Receive);
        }
    }

    /// Lets go of a socket that moves on.
    pub(crate) fn forget(self, fd: &OwnedFd) {
        if self.token.get().is_some() {
            self.driver.forget(fd);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(token) = self.token.get() {
            self.driver.unwatch(token);
        }
    }
}
