//! The ring's alarm clock: one timeout in the kernel, set to the nearest deadline and left there.
//!
//! A wait with a limit of its own has the kernel program its timer at each park and take it back at the end of it; in a virtual
//! machine both leave for the host. Deadlines mostly move away while a shard works, so one timeout serves many parks: it is set
//! when none is, brought forward when a deadline is nearer, and when it goes off early the shard parks once more.

use std::cell::{Cell, RefCell};

use io_uring::types::Timespec;
use io_uring::{opcode, squeue};

use super::{ALARM, IGNORED};
use crate::time::Time;

/// When it goes off, and what the kernel is told of that. The kernel reads it while it takes the entry, so a later change is harmless.
#[derive(Default)]
pub(super) struct Alarm {
    at: Cell<Option<Time>>,
    /// Boxed: an entry names it by its address.
    after: RefCell<Box<Timespec>>,
}

impl Alarm {
    /// The entry to submit so that a wait that starts at `now` ends at the deadline, if one is needed.
    pub(super) fn set(&self, now: Time, deadline: Time) -> Option<squeue::Entry> {
        let is_set = self.at.get();
        if is_set.is_some_and(|at| at <= deadline) {
            return None;
        }
        self.at.set(Some(deadline));
        let mut after = self.after.borrow_mut();
        **after = Timespec::from(deadline - now);
        let address: *const Timespec = &raw const **after;
        Some(match is_set {
            None => opcode::Timeout::new(address).build().user_data(ALARM),
            // Silent, or it would end the wait. Should the alarm go off first, there is nothing to move and the next park sets it again.
            Some(_) => {
                let moved = opcode::TimeoutUpdate::new(ALARM, address).build();
                moved.flags(squeue::Flags::SKIP_SUCCESS).user_data(IGNORED)
            }
        })
    }

    /// It went off.
    pub(super) fn rang(&self) {
        self.at.set(None);
    }
}
