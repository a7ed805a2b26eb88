//! One shard's epoll instance: who is watched, and what the last wait found.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::real::run::Park;

/// Events taken from the kernel at once; what does not fit comes with the next wait.
const EVENTS: usize = 256;

/// What every socket is watched for: everything, once and for all, each change told once.
const CHANGES: EpollFlags =
    EpollFlags::EPOLLIN.union(EpollFlags::EPOLLOUT).union(EpollFlags::EPOLLRDHUP).union(EpollFlags::EPOLLET);

/// An epoll instance.
pub(crate) struct Poller {
    epoll: Epoll,
    events: RefCell<Vec<EpollEvent>>,
    found: Cell<usize>,
    /// The kernel waits with nanoseconds (epoll_pwait2, since 5.11); else with milliseconds.
    precise: Cell<bool>,
}

impl Poller {
    /// For the calling thread, whose timed waits become exact: by default the kernel may end one 50 us late.
    pub(crate) fn new() -> io::Result<Poller> {
        let exact: libc::c_ulong = 1;
        // SAFETY: the call takes plain numbers. Where it fails waits are as exact as before.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, exact) };
        Ok(Poller {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: RefCell::new(vec![EpollEvent::empty(); EVENTS]),
            found: Cell::new(0),
            precise: Cell::new(true),
        })
    }

    /// Watches a descriptor until it closes; what it is ready for already is told with the next wait.
    pub(crate) fn watch(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(CHANGES, token))?)
    }

    /// Lets go of a descriptor that lives on elsewhere.
    pub(crate) fn forget(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(fd)?)
    }

    /// Asks for changes, and waits for one if told to. Those of the wait before must have been taken: nobody is told again.
    pub(crate) fn wait(&self, park: Park) {
        let found = match park {
            Park::No => self.wait_plainly(EpollTimeout::ZERO),
            Park::Forever => self.wait_plainly(EpollTimeout::NONE),
            Park::Until { now, deadline } if self.precise.get() => self.wait_precisely(deadline - now),
            Park::Until { now, deadline } => self.wait_plainly(whole_ms(deadline - now)),
        };
        match found {
            Ok(found) => self.found.set(found),
            Err(Errno::EINTR) => self.found.set(0),
            Err(e) => panic!("epoll_wait failed: {e}"),
        }
    }

    fn wait_plainly(&self, longest: EpollTimeout) -> nix::Result<usize> {
        self.epoll.wait(&mut self.events.borrow_mut(), longest)
    }

    fn wait_precisely(&self, longest: Duration) -> nix::Result<usize> {
        let timeout = libc::timespec {
            tv_sec: libc::time_t::try_from(longest.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: longest.subsec_nanos().into(),
        };
        let found = {
            let mut events = self.events.borrow_mut();
            let room = libc::c_int::try_from(events.len()).expect("a small constant");
            // SAFETY: `EpollEvent` is a transparent `epoll_event`; the kernel writes at most `room` of them, within the vector,
            // reads the timeout, and is given no signal mask.
            let found = unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    self.epoll.0.as_raw_fd(),
                    events.as_mut_ptr().cast::<libc::epoll_event>(),
                    room,
                    &raw const timeout,
                    std::ptr::null::<libc::sigset_t>(),
                    0_usize,
                )
            };
            Errno::result(found)
        };
        match found {
            Ok(found) => Ok(usize::try_from(found).expect("a count is not negative")),
            // An older kernel, or a filter that does not know the call.
            Err(Errno::ENOSYS | Errno::EPERM) => {
                self.precise.set(false);
                self.wait_plainly(whole_ms(longest))
            }
            Err(e) => Err(e),
        }
    }

    /// Changes that the last wait found.
    pub(crate) fn found(&self) -> usize {
        self.found.get()
    }

    /// They have been taken.
    pub(crate) fn forget_found(&self) {
        self.found.set(0);
    }

    /// One of them: whose, and what.
    pub(crate) fn change(&self, index: usize) -> (u64, EpollFlags) {
        let event = self.events.borrow()[index];
        (event.data(), event.events())
    }
}

/// Milliseconds, rounded up: a timer must not fire early, nor be asked for again and again in its last millisecond.
fn whole_ms(longest: Duration) -> EpollTimeout {
    let ms = longest.as_nanos().div_ceil(1_000_000);
    i32::try_from(ms).ok().and_then(|ms| EpollTimeout::try_from(ms).ok()).unwrap_or(EpollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;
    use std::time::Instant;

    #[test]
    fn milliseconds_are_rounded_up() {
        assert_eq!(whole_ms(Duration::ZERO).as_millis(), Some(0));
        assert_eq!(whole_ms(Duration::from_nanos(1)).as_millis(), Some(1));
        assert_eq!(whole_ms(Duration::from_micros(1001)).as_millis(), Some(2));
        assert_eq!(whole_ms(Duration::MAX).as_millis(), Some(i32::MAX.unsigned_abs()));
    }

    #[test]
    fn a_wait_ends_in_time_with_and_without_the_precise_call() {
        let poller = Poller::new().unwrap();
        for precise in [true, false] {
            poller.precise.set(precise);
            let start = Instant::now();
            poller.wait(Park::Until { now: Time::ZERO, deadline: Time::ZERO + Duration::from_micros(300) });
            assert!(start.elapsed() >= Duration::from_micros(300));
            assert_eq!(poller.found(), 0);
        }
    }
}
