"""The rows of the comparison: what is offered to every broker, and what Kringle wants to reach.

Produce rows without a rate are closed-loop: their latencies are at each broker's own top speed. Tails are compared where the
load is equal: on the paced rows, and where only one request is on its way.
"""

import dataclasses

from .contestants import FLOOR, KAFKA


@dataclasses.dataclass(frozen=True)
class Row:
    """One load: which subcommand of `kringle-bench raw`, on which topic, with which options."""

    what: str
    topic: str
    partitions: int
    options: str


FETCHED = "produce-16x1K"  # what fetch rows read: it must run before them

ROWS = {
    "produce-1x100": Row("produce", "f", 4, "--conns 16 --inflight 5 --records 1 --size 100"),
    "produce-10x100": Row("produce", "e", 4, "--conns 4 --inflight 5 --records 10 --size 100"),
    "produce-16x1K": Row("produce", "a", 4, "--conns 4 --inflight 5 --records 16 --size 1024"),
    "produce-16x1K-p100": Row("produce", "b", 100, "--conns 20 --inflight 5 --records 16 --size 1024"),
    "produce-128x1K": Row("produce", "d", 4, "--conns 4 --inflight 5 --records 128 --size 1024"),
    "all-16x1K": Row("produce", "h", 4, "--conns 4 --inflight 5 --records 16 --size 1024 --acks -1"),
    "ping-1x100": Row("produce", "c", 1, "--conns 1 --inflight 1 --records 1 --size 100"),
    "ping-all-1x100": Row("produce", "c", 1, "--conns 1 --inflight 1 --records 1 --size 100 --acks -1"),
    "paced-300MBs": Row("produce", "i", 4, "--conns 4 --inflight 5 --records 16 --size 1024 --rate 300"),
    "paced-all-300MBs": Row("produce", "i", 4, "--conns 4 --inflight 5 --records 16 --size 1024 --rate 300 --acks -1"),
    "paced-20MBs": Row("produce", "g", 4, "--conns 8 --inflight 5 --records 4 --size 1024 --rate 20"),
    "paced-all-20MBs": Row("produce", "g", 4, "--conns 8 --inflight 5 --records 4 --size 1024 --rate 20 --acks -1"),
    "fetch-64K-4conn": Row("fetch", "a", 4, "--conns 4 --max 65536"),
    "fetch-1M-1conn": Row("fetch", "a", 4, "--conns 1 --max 1048576"),
    "fetch-1M-4conn": Row("fetch", "a", 4, "--conns 4 --max 1048576"),
}

WARM_UP = Row("produce", "w", 4, "--conns 4 --inflight 5 --records 4 --size 1024 --secs 6 --warm 1")

THROUGHPUT, CPU, P50, P99, P999 = "MBps", "cpu_s_per_GB", "p50_us", "p99_us", "p999_us"
TITLES = {THROUGHPUT: "throughput", CPU: "CPU per GB", P50: "p50", P99: "p99", P999: "p99.9"}


@dataclasses.dataclass(frozen=True)
class Target:
    """Kringle's figure divided by another's, and what it should be."""

    figure: str
    against: str
    bound: float

    def met(self, ratio):
        return ratio >= self.bound if self.figure == THROUGHPUT else ratio <= self.bound

    def wanted(self):
        return f"{'>=' if self.figure == THROUGHPUT else '<='} {self.bound:g}"


def _targets(throughput=None, cpu=None, **latency):
    found = []
    if throughput:
        found.append(Target(THROUGHPUT, KAFKA, throughput))
    if cpu:
        found.append(Target(CPU, FLOOR, cpu))
    return found + [Target(f"{name}_us", KAFKA, bound) for name, bound in latency.items()]


# With acks=all Kringle answers from stable storage, Apache Kafka from the page cache.
TARGETS = {
    "produce-1x100": _targets(4, 0.8),
    "produce-10x100": _targets(5, 1.1),
    "produce-16x1K": _targets(2, 1.25),
    "produce-16x1K-p100": _targets(1.4, 1.25),
    "produce-128x1K": _targets(1.6, 1.3),
    "all-16x1K": _targets(1.2),
    "ping-1x100": _targets(1.05, 1.2, p50=1.0, p99=0.8),
    "paced-20MBs": _targets(p99=0.4, p999=0.4),
    "paced-300MBs": _targets(p99=0.7, p999=0.7),
    "paced-all-20MBs": _targets(p99=0.7),
    "paced-all-300MBs": _targets(p99=1.0),
    "fetch-64K-4conn": _targets(1.15, 1.25, p99=0.8),
    "fetch-1M-1conn": _targets(1.5, 1.3),
    "fetch-1M-4conn": _targets(1.25, 1.3),
}
