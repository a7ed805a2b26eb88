"""Call stacks of the broker: taken by `perf`, read from what `perf script` prints, folded and weighed.

On the CPU a stack weighs the number of times at which the clock found it (no hardware counters: they are missing in most virtual
machines). Off the CPU it weighs the time from the moment a thread left the CPU until it was back, in microseconds.
"""

import collections
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import time

HERTZ = 999  # not in step with anything that runs each millisecond
TRACEFS = "/sys/kernel/tracing"
# Below these there is nothing to see: how a thread begins.
BEGINNINGS = ("start_thread", "clone3", "__clone3", "thread_start", "__rust_begin_short_backtrace", "call_once", "_start", "__libc_start")
HASH = re.compile(r"::h[0-9a-f]{16}$")
HEAD = re.compile(r"^(?P<comm>\S.*?)\s+(?P<tid>\d+)\s+(?P<time>\d+\.\d+):\s+(?P<event>\S+?):\s*(?P<trace>.*)$")
SWITCH = re.compile(r"prev_pid=(\d+) .*?prev_state=(\S+) ==> .*next_pid=(\d+)")
# What the kernel says of a thread that leaves the CPU.
STATES = {"R": "preempted", "R+": "preempted", "S": "asleep", "D": "waits for the disk or a lock in the kernel"}


def record_on_cpu(pid, seconds, path, unwind):
    """Samples all threads of a process."""
    subprocess.run(["perf", "record", "-q", "-F", str(HERTZ), "-e", "cpu-clock", "--call-graph", unwind, "-p", str(pid), "-o", path, "--",
                    "sleep", str(seconds)], check=True, stderr=subprocess.DEVNULL)


def tracefs():
    """Words in front of a command that must read tracepoints; None where that is not possible."""
    if os.access(f"{TRACEFS}/events/sched", os.R_OK):
        return []
    # Mounted for that command alone; the machine stays as it is.
    words = ["unshare", "-m", "sh", "-c", f'mount -t tracefs none {TRACEFS} && exec "$@"', "sh"]
    tried = subprocess.run([*words, "test", "-r", f"{TRACEFS}/events/sched"], capture_output=True, check=False)
    return words if tried.returncode == 0 else None


def threads(pid):
    """Thread ids of a process."""
    return [int(task.name) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]


def record_off_cpu(pid, seconds, path, prefix):
    """Notes every switch from and to a thread of the process."""
    wanted = "||".join(f"prev_pid=={tid}||next_pid=={tid}" for tid in threads(pid))
    subprocess.run([*prefix, "perf", "record", "-q", "-a", "-e", "sched:sched_switch", "--filter", wanted, "--call-graph", "fp", "-o", path, "--",
                    "sleep", str(seconds)], check=True, stderr=subprocess.DEVNULL)


def events(path, prefix=(), trace=False):
    """(thread name, thread id, seconds, trace text, frames with the innermost first) of each event in a recording."""
    fields = "comm,tid,time,event,ip,sym" + (",trace" if trace else "")
    command = [*prefix, "perf", "script", "--no-inline", "-i", path, "-F", fields]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace") as script:
        head, frames = None, []
        for line in (*script.stdout, "\n"):
            if line.strip() == "":
                if head:
                    yield head["comm"], int(head["tid"]), float(head["time"]), head["trace"], frames
                head, frames = None, []
            elif line[0] in "\t ":
                address, _, symbol = line.strip().partition(" ")
                frames.append(frame(address, symbol))
            else:
                head = HEAD.match(line.strip())


def frame(address, symbol):
    """A frame's name as it is shown: no hash behind it, `_[k]` behind the kernel's."""
    name = HASH.sub("", symbol.partition("+0x")[0].strip()).replace("{{closure}}", "{closure}").replace("{{vtable.shim}}", "{shim}")
    return f"{name}_[k]" if address.startswith("ffffffff") else name


def stack(comm, frames):
    """The frames from the outermost, without how every thread begins."""
    outermost_first = frames[::-1]
    begins = next((at for at, name in enumerate(outermost_first) if not any(part in name for part in BEGINNINGS)), len(frames))
    return (re.sub(r"-\d+$", "", comm) if comm.startswith("shard") else comm, *outermost_first[begins:])


def fold_on_cpu(path):
    """Stacks and how often each was found."""
    folded = collections.Counter()
    for comm, _, _, _, frames in events(path):
        folded[stack(comm, frames)] += 1
    return folded


def fold_off_cpu(path, pid, prefix):
    """Stacks and the microseconds that passed in each."""
    ours, left, folded = set(threads(pid)), {}, collections.Counter()
    for comm, _, at, trace, frames in events(path, prefix, trace=True):
        if not (switch := SWITCH.search(trace)):
            continue
        leaves, state, comes = int(switch[1]), switch[2], int(switch[3])
        if comes in left:
            where, since = left.pop(comes)
            folded[where] += round((at - since) * 1e6)
        if leaves in ours:
            left[leaves] = ((*stack(comm, frames), STATES.get(state, f"state {state}")), at)
    return folded


def sample_off_cpu(pid, seconds):
    """Where tracepoints are not to be had: looks at each thread 200 times a second and notes where in the kernel it waits."""
    period_s, folded = 0.005, collections.Counter()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                name, _, rest = (task / "stat").read_text().partition(" (")[2].rpartition(") ")
                state = rest[0]
                waits_in = (task / "wchan").read_text()
                if state != "R":
                    folded[(re.sub(r"-\d+$", "", name), f"{waits_in}_[k]", STATES.get(state, f"state {state}"))] += round(period_s * 1e6)
        time.sleep(period_s)
    return folded


def off_cpu(pid, seconds, path):
    """Stacks off the CPU by the best means that this machine has."""
    prefix = tracefs()
    if prefix is None:
        print("no tracepoints here (root is needed): sampling where threads wait, without their stacks", file=sys.stderr)
        return sample_off_cpu(pid, seconds)
    record_off_cpu(pid, seconds, path, prefix)
    return fold_off_cpu(path, pid, prefix)
