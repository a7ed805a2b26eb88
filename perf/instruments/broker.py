"""A broker built for being looked into, and under one of the loads of `scripts/compare`."""

import contextlib
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
from harness.brokers import BrokerFailed  # noqa: E402, F401
from side_by_side import arguments, load, machine, thin  # noqa: E402
from side_by_side.contestants import KRINGLE, HeldMemory, contestant  # noqa: E402
from side_by_side.rows import FETCHED, ROWS, WARM_UP  # noqa: E402


def profiling_binary():
    """KRINGLE_BIN, or the profiling build: optimised as a release, with frame pointers and line tables."""
    if "KRINGLE_BIN" not in os.environ:
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "frame-pointers"
        flags = {"RUSTFLAGS": "-C force-frame-pointers=yes", "CFLAGS": "-fno-omit-frame-pointer", "CARGO_TARGET_DIR": str(target)}
        subprocess.run(["cargo", "build", "--profile", "profiling", "--quiet"], cwd=ROOT, env={**os.environ, **flags}, check=True)
        os.environ["KRINGLE_BIN"] = str(target / "profiling" / "kringle")
    return os.environ["KRINGLE_BIN"]


@contextlib.contextmanager
def started(work, overrides=()):
    """A broker on an empty directory under `work`, warm, on a machine whose memory is held meanwhile."""
    with contestant(KRINGLE, work, overrides) as broker:
        load.create(broker, WARM_UP.topic, WARM_UP.partitions)
        load.run(WARM_UP.what, broker, WARM_UP.topic, WARM_UP.partitions, WARM_UP.options)
        HeldMemory.fill(work / "fill")
        yield broker


@contextlib.contextmanager
def under(row_name, broker, secs):
    """The load of a row, running from before the block until after it; yields a function that gives its figures at the end."""
    rows = thin.chosen([row_name])
    for name, row in rows.items():
        load.create(broker, row.topic, row.partitions)
        if name == FETCHED != row_name:
            load.run(row.what, broker, row.topic, row.partitions, f"{row.options} --secs 2 --warm 0")
    os.sync()
    row = ROWS[row_name]
    beside = load.Beside(row.what, broker, row.topic, row.partitions, f"{row.options} --warm 2 --secs {secs + 2}")
    time.sleep(2)
    try:
        yield beside.figures
    finally:
        beside.process.kill()
        beside.process.wait()
