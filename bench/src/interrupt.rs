//! SIGINT and SIGTERM. The first one ends the load that is under way, and what was measured until then is reported; one before any load, and
//! the second, end the program at once.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::signal::{SigSet, Signal};

use crate::measure::Clock;

// Signals are sent to a process, so what is known of them is the process's.
/// When the first signal came, in nanoseconds of the run's clock.
static ASKED_NS: AtomicU64 = AtomicU64::new(u64::MAX);
/// There is something to report.
static UNDER_WAY: AtomicBool = AtomicBool::new(false);

/// Waits for signals from now on, on a thread of its own. Threads that were started before may still be hit.
pub(crate) fn watch(clock: Clock) -> io::Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block()?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        loop {
            let Ok(signal) = signals.wait() else { return };
            if asked() || !UNDER_WAY.load(Ordering::Relaxed) {
                std::process::exit(128 + signal as i32);
            }
            ASKED_NS.store(clock.now_ns(), Ordering::Relaxed);
        }
    })?;
    Ok(())
}

/// A load begins.
pub(crate) fn load_begins() {
    UNDER_WAY.store(true, Ordering::Relaxed);
}

/// Whether somebody wants this to end.
pub(crate) fn asked() -> bool {
    asked_ns() != u64::MAX
}

/// When somebody asked for the end; the end of time if nobody has.
pub(crate) fn asked_ns() -> u64 {
    ASKED_NS.load(Ordering::Relaxed)
}
