"""The brokers that stand side by side, each started on an empty directory and ended by its own process id."""

import os
import shutil
import signal
import socket
import subprocess
import sys

from harness.brokers import SCRIPTS, Broker, free_port

from . import machine

KRINGLE, KAFKA, FLOOR = "kringle", "kafka", "floor"
ALL = (KAFKA, FLOOR, KRINGLE)


def brokers(kinds):
    """Those of `kinds` that do all that a broker does: the floor does not."""
    return [kind for kind in kinds if kind != FLOOR]


def bench_binary():
    """KRINGLE_BENCH_BIN, or the release build of this tree, which is made (or found up to date) here."""
    if "KRINGLE_BENCH_BIN" in os.environ:
        return os.path.abspath(os.environ["KRINGLE_BENCH_BIN"])
    machine.need("cargo")
    root = SCRIPTS.parent
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "kringle-bench"], cwd=root, check=True)
    return os.path.abspath(os.path.join(root, os.environ.get("CARGO_TARGET_DIR", "target"), "release", "kringle-bench"))


class Floor(Broker):
    """The machine's floor: it speaks no ApiVersions and ends by the signal itself."""

    def _serves(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=2).close()
            return True
        except OSError:
            return False

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def contestant(kind, work, overrides=()):
    """A broker that is not started yet; what another left under `work` is deleted."""
    data = work / f"{kind}-data"
    shutil.rmtree(data, ignore_errors=True)
    if kind == FLOOR:
        data.mkdir()
        port = free_port()
        command = [bench_binary(), "floor", "--listen", f"127.0.0.1:{port}", "--dir", str(data)]
        return Floor(kind, command, port, work / f"{kind}.log")
    return reopened(kind, work, overrides)


def reopened(kind, work, overrides=()):
    """A broker on the directory that another has left under `work`, on ports that are free now."""
    if kind == KRINGLE:
        # As many shards as by default: the harness sets two, to test what goes between them.
        overrides = ["kringle.shards=0", *overrides]
    return Broker.fresh(kind, str(work), overrides)


class HeldMemory:
    """Most of the machine's memory, touched and held: otherwise the figures of a virtual machine are its host's."""

    def __init__(self, held_gb=None):
        # What is left is for the brokers, their page cache and everyone else.
        spare_gb = machine.memory_mb("MemAvailable") / 1000 - 8
        self.gb = held_gb if held_gb is not None else max(0, min(0.6 * machine.memory_mb("MemTotal") / 1000, spare_gb))
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen([bench_binary(), "hold-memory", f"{self.gb:.1f}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            held = self.process.stdout.readline()
        except BaseException:
            self.process.kill()
            raise
        if not held:
            sys.exit(f"error: {self.gb:.1f} GB of memory cannot be held; --held takes another number")
        print(f"holding {self.gb:.1f} GB of memory touched", file=sys.stderr, flush=True)
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    @staticmethod
    def fill(directory):
        """Fills the page cache with new files in `directory`, so that what a broker writes goes into pages that were touched before."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        subprocess.run([bench_binary(), "hold-memory", "0", str(directory)], check=True, stdout=subprocess.DEVNULL)
