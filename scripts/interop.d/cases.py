"""How a client program in this folder tells its cases, one line each on standard output:

    ok   produce and consume, codec zstd
    FAIL consumer group resumes at its commit: expected [b'3'], got []
    done 12

The last line says how many there were, so that a program that dies early is noticed. Details go to standard error,
which the caller keeps as the log. The programs in other languages print the same lines.
"""

import os
import pathlib
import signal
import sys
import time
import traceback

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))  # for `harness`

BOOTSTRAP = os.environ.get("BOOTSTRAP", "127.0.0.1:9092")
PREFIX = os.environ.get("PREFIX", f"interop-{os.getpid()}")
CASE_TIMEOUT_S = 90
_cases = []


class Failed(Exception):
    """The broker answered, but not what it should have."""


def name(part):
    """A topic or group name that no other run on this broker uses."""
    return f"{PREFIX}-{part}"


def case(title):
    """Marks a function as a case; they run in the order in which they are written."""

    def add(function):
        _cases.append((title, function))
        return function

    return add


def expect(got, wanted, what="answer"):
    """Both must be equal; says both when they are not."""
    if got != wanted:
        raise Failed(f"{what}: expected {wanted!r}, got {got!r}")


def expect_in(part, whole, what="output"):
    """`part` must be in `whole`."""
    if part not in whole:
        raise Failed(f"{what}: expected {part!r} in {whole!r}")


def until(what, check, timeout_s=20):
    """Polls `check` until it is true (then returns its value) and fails with what it last returned or raised."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            last = check()
            if last:
                return last
        except Failed as unmet:
            last = unmet
        if time.monotonic() > deadline:
            raise Failed(f"not within {timeout_s} s: {what} (last: {last!r})")
        time.sleep(0.1)


def eventually(get, wanted, what="answer"):
    """Kafka answers an admin request when its controller has decided; another request may see the old state for a moment."""

    def check():
        expect(get(), wanted, what)
        return True

    until(what, check)


def _too_slow(_signal, _frame):
    raise Failed(f"did not end within {CASE_TIMEOUT_S} s")


def main():
    """Runs the cases (those whose title contains the first argument, if there is one)."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [entry for entry in _cases if wanted in entry[0]]
    signal.signal(signal.SIGALRM, _too_slow)
    for title, function in chosen:
        began = time.monotonic()
        print(f"--- {title}", file=sys.stderr, flush=True)
        signal.alarm(CASE_TIMEOUT_S)
        try:
            function()
            line = f"ok   {title}"
        except Exception as error:
            traceback.print_exc()
            reason = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
            line = f"FAIL {title}: {' '.join(reason.split())}"
        finally:
            signal.alarm(0)
        print(f"--- {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
        print(line, flush=True)
    print(f"done {len(chosen)}", flush=True)
