"""`--log-size`: what the length of a log costs: logs of 0.1, 1, 10 and 100 GB, in segments of 1 GiB and of 16 MiB.

The logs are mostly holes (`kringle-bench sparse-log`), so that all of them fit into a few GB of disk; for a broker they are logs like
any other. 100 GB in segments of 16 MiB are as many segments as 6 TB in segments of 1 GiB. Each log has a directory of its own; a round
goes through all of them, so that all see the same machine: start on a directory that was stopped cleanly, appends, look-ups,
stop. What is looked up was read before, and stands in the page cache: the disk is not what is measured.
"""

import json
import math
import os
import shutil
import statistics
import subprocess
import time

from . import load
from .contestants import KAFKA, KRINGLE, bench_binary, brokers, contestant, reopened
from .report import Report, Table, short
from .scale import lead_all, most_descriptors, note

GB = (0.1, 1, 10, 100)
SEGMENTS = {"1 GiB": "1GiB", "16 MiB": "16MiB"}
TOPIC = "long"
ONE = "--conns 1"
WARM_S = {KRINGLE: 0.5, KAFKA: 4}  # a JVM that was just started has to compile what is measured
# Every second batch is a small one: an answer has that batch and no other, and its bytes weigh little beside the look-up.
ANYWHERE = f"{ONE} --every 2 --before {{records}}"
ROWS = {
    "append 1 x 100 B": ("produce", f"{ONE} --inflight 1 --records 1 --size 100"),
    "fetch the last batches": ("seek", f"{ONE} --last 8 --max 65536"),
    "fetch a batch anywhere": ("seek", ANYWHERE),
    "ListOffsets of a time anywhere": ("seek", f"{ANYWHERE} --by time"),
}
FIGURES = {"CPU": "cpu_us", "p50": "p50_us"}
FLAT_PERCENT = 10  # for each tenfold length: less is noise on a machine like this


def run(args, work):
    """Each broker in turn; the report."""
    most_descriptors()
    made = Report("What the length of a log costs", work)
    measured = []
    with made.measuring(args.held):
        for kind in brokers(args.only):
            logs = [Log(made, kind, work, segments, gb) for segments in SEGMENTS for gb in GB if gb <= args.most_gb]
            measured += logs
            os.sync()
            disk_gb = sum(file.stat().st_blocks * 512 for log in logs for file in log.work.rglob("*")) / 1e9
            made.notes.append(f"{kind}: {sum(log.bytes for log in logs) / 1e9:.0f} GB of log take {disk_gb:.1f} GB of disk")
            for round_number in range(1, args.rounds + 1):
                for log in logs:
                    log.round(made, round_number, args.secs)
            for log in logs:
                log.remove()
    for kind in args.only:
        for segments in SEGMENTS:
            if logs := [log for log in measured if (log.kind, log.segments) == (kind, segments) and log.figures]:
                tables(made, kind, segments, logs)
    return made


class Log:
    """A broker's directory with one long log in it."""

    def __init__(self, made, kind, work, segments, gb):
        self.kind, self.segments, self.gb = kind, segments, gb
        self.work = work / f"{kind}-{gb:g}GB-{SEGMENTS[segments]}"
        self.work.mkdir()
        self.figures = []
        with contestant(kind, self.work) as broker:
            load.create(broker, TOPIC, 1)
            lead_all(made, broker, TOPIC, 1)
        command = [bench_binary(), "sparse-log", self.work / f"{kind}-data" / f"{TOPIC}-0", "--bytes", f"{gb:g}GB", "--segment-bytes", SEGMENTS[segments]]
        laid = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        self.records, self.bytes, self.count = laid["records"], laid["bytes"], laid["segments"]

    def round(self, made, round_number, secs):
        """Start, everything that is measured, stop."""
        broker, began, one = reopened(self.kind, self.work), time.monotonic(), {}
        with broker:
            one["start_ms"] = 1000 * (time.monotonic() - began)
            lead_all(made, broker, TOPIC, 1)
            for name, (what, options) in ROWS.items():
                got = load.run(what, broker, TOPIC, 1, f"{options.format(records=self.records)} --secs {secs} --warm {WARM_S[self.kind]}")
                if "failed" in got or got["errors"] or not got["reqs_per_s"]:
                    made.warn(f"{self.kind}, {self.gb:g} GB in segments of {self.segments}, {name}: {got}")
                    continue
                one[name] = {"cpu_us": 1e6 * got["cpu_s"] / (got["reqs_per_s"] * got["secs"]), "p50_us": got["p50_us"], "p99_us": got["p99_us"]}
            one["rss_MB"] = load.rss_mb(broker)
            one["stop_ms"] = 1000 * broker.stop()
        self.figures.append(one)
        note(made, part="log-size", broker=self.kind, segments=self.segments, GB=self.gb, round=round_number, **one)

    def median(self, *path):
        """Of a figure over the rounds; None where no round has it."""
        values = []
        for one in self.figures:
            for name in path:
                one = one.get(name, {})
            values += [one] if one != {} else []
        return statistics.median(values) if values else None

    def remove(self):
        """The directory is not needed any more."""
        shutil.rmtree(self.work)


def tables(made, kind, segments, logs):
    """A row for each figure, a column for each length."""
    sizes = [f"{log.gb:g} GB" for log in logs]
    cost = Table(f"{kind}, segments of {segments}: cost by length of the log (wanted: within {FLAT_PERCENT} % for each tenfold length)",
                 ["request", "figure", *sizes, "for each tenfold", ""])
    for name in ROWS:
        for title, figure in FIGURES.items():
            values = [log.median(name, figure) for log in logs]
            if None in values:
                continue
            percent = per_tenfold([log.gb for log in logs], values)
            verdict = "" if kind == KAFKA or figure != "cpu_us" else "met" if percent <= FLAT_PERCENT else "MISSED"
            cost.add(name, f"{title}, us", *(short(value, 3) for value in values), f"{percent:+.1f} %", verdict)
    made.tables.append(cost)
    life = Table(f"{kind}, segments of {segments}: start and stop", ["figure", *sizes, "for each 1,000 segments"])
    life.add("segments", *(log.count for log in logs), "")
    for title, figure in {"start, ms": "start_ms", "clean stop, ms": "stop_ms", "resident, MB": "rss_MB"}.items():
        values = [log.median(figure) for log in logs]
        slope = fitted([log.count for log in logs], values) * 1000
        life.add(title, *(short(value) for value in values), f"{slope:+.3g}" if logs[-1].count >= 1000 else "-")
    made.tables.append(life)


def fitted(xs, ys):
    """The slope of the line through the points, by least squares; 0 for a lone one."""
    return statistics.linear_regression(xs, ys).slope if len(set(xs)) > 1 else 0


def per_tenfold(sizes, values):
    """By how many percent of its mean a figure grows when the log is ten times as long."""
    return 100 * fitted([math.log10(size) for size in sizes], values) / statistics.mean(values)
