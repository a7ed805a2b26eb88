//! Scheduling policies of a node's threads (docs/decisions/produce-without-a-hop.md, commit.md).

use std::io;
use std::sync::OnceLock;

/// Whether policies are left to us, and not chosen by whoever started the process (`chrt`).
fn are_ours() -> bool {
    // Threads inherit the policy of the one that starts them: only the first to ask sees what the process was given.
    static OURS: OnceLock<bool> = OnceLock::new();
    // SAFETY: asks about the calling thread; no memory is passed.
    *OURS.get_or_init(|| unsafe { libc::sched_getscheduler(0) } == libc::SCHED_OTHER)
}

fn set_policy(policy: libc::c_int) {
    if !are_ours() {
        return;
    }
    // SAFETY: plain data; zero is the only priority of the policies used here.
    let priority: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: about the calling thread; the kernel reads one `sched_param`, which lives on this stack.
    if unsafe { libc::sched_setscheduler(0, policy, &raw const priority) } != 0 {
        tracing::debug!("scheduling policy {policy} is refused: {}", io::Error::last_os_error());
    }
}

/// For a shard: asks the scheduler not to preempt others when this thread is woken: where cores are scarce, what arrives meanwhile is
/// worked on in one turn instead of many. On an idle core the thread runs as soon as ever.
pub(crate) fn be_batched() {
    set_policy(libc::SCHED_BATCH);
}

/// For a thread that waits for the disk in place of a shard: it sleeps several times in one flush, runs for some microseconds in between,
/// and would inherit the shard's policy: each time whoever has the core should give way.
pub(crate) fn be_prompt() {
    set_policy(libc::SCHED_OTHER);
}
