"""Counts what passed and what failed, one line each, and ends with the plain line that CI reads."""

import threading
import time


class Report:
    """Safe to use from several threads: a line is printed whole."""

    def __init__(self):
        self.passed = self.failed = 0
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def ok(self, name):
        with self._lock:
            self.passed += 1
            print(f"ok   {name}", flush=True)

    def fail(self, name, reason, log=None):
        with self._lock:
            self.failed += 1
            where = f" (log: {log})" if log else ""
            print(f"FAIL {name}: {one_line(reason)}{where}", flush=True)

    def note(self, text):
        with self._lock:
            print(f"     {text}", flush=True)

    def close(self):
        """Prints the closing lines; the exit status of the script."""
        print(f"took {time.monotonic() - self._began:.0f} s")
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def one_line(text, limit=400):
    """Text as it fits on a line."""
    words = " ".join(str(text).split())
    return words if len(words) <= limit else words[:limit] + " ..."
