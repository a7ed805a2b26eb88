//! Counters of one shard's runtime.

use std::cell::Cell;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What a shard's runtime has done since it started.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct RtStats {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The live counters.
        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Cell<u64>,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> RtStats {
                RtStats { $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    /// Loop turns.
    turns,
    /// Tasks polled.
    polls,
    /// Calls that hand over to the kernel and take in what happened: `io_uring_enter`, or `epoll_pwait`.
    enters,
    /// Operations handed to the ring, or to threads.
    submissions,
    /// Completions reaped, or changes of readiness.
    completions,
    /// Times the shard parked with nothing to do.
    parks,
    /// Times the shard looked for work before it parked, or instead.
    looks,
    /// Times another thread had to ring the bell.
    wakes,
    /// Turns that ran tasks for more than 10 ms.
    stalls,
    /// The longest such turn, microseconds.
    longest_turn_us,
    /// Receives that found the shared receive buffers all in use.
    receive_buffers_exhausted,
    /// Shared receive buffers that hold bytes nobody has read yet.
    receive_buffers_in_use,
    /// Sends that went out whole in the first inline call.
    sends_inline,
    /// Sends that had to wait for the peer.
    sends_waited,
    /// Operations that the kernel, or a thread, has not completed yet.
    in_flight,
    /// Tasks alive.
    tasks,
}

/// Adds to a counter.
pub(crate) fn count(counter: &Cell<u64>, n: u64) {
    counter.set(counter.get().wrapping_add(n));
}
