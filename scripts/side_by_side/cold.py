"""`--cold`: a consumer reads a backlog that is in nobody's memory, beside a live producer and a live consumer.

Cold means dropped from the page cache (`kringle-bench drop-cache`; no root needed), which is then filled with other files, as that of
a machine in use is: what is read goes into memory that was touched before. The disk's own speed is taken in the same
run by reading the broker's own segments, dropped before. On a virtual machine the host may still hold what the guest has dropped: then
the "disk" is the host's memory, for all who are compared.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time

from . import load
from .contestants import HeldMemory, bench_binary, brokers, contestant
from .report import Report, Table, short
from .rows import WARM_UP

PARTITIONS = 4
LIVE = "--conns 4 --inflight 5 --records 4 --size 1024 --rate 20 --stamp"
TAIL = "--conns 4 --max 1048576"
READ_AT_ONCE = 1 << 20
SPEED_TARGET, TAIL_TARGET = 0.8, 2.0


def run(args, work):
    """Each broker in turn; the report."""
    made = Report(f"A cold backlog of {args.backlog:g} GB, beside a live producer and a live consumer of 20 MB/s", work)
    with made.measuring(args.held):
        for round_number in range(1, args.rounds + 1):
            for kind in brokers(args.only):
                one_broker(kind, round_number, args, work, made.measured)
    tables(made)
    return made


def one_broker(kind, round_number, args, work, measured):
    """Backlog, the disk's speed, the live load alone, the live load beside the catch-up."""
    with contestant(kind, work) as broker:
        for topic in (WARM_UP.topic, "backlog", "live"):
            load.create(broker, topic, PARTITIONS)
        time.sleep(2)
        load.run(WARM_UP.what, broker, WARM_UP.topic, WARM_UP.partitions, WARM_UP.options)
        load.run("produce", broker, "backlog", PARTITIONS, f"--conns 4 --inflight 5 --records 128 --size 1024 --warm 0 --total-mb {args.backlog * 1000:.0f}")
        data = work / f"{kind}-data"
        drop(data)
        disk = read_speed(data)
        drop(data)
        expected_s = args.backlog * 1000 / disk
        # Shorter than the catch-up, so that all of it is beside it.
        live_s = max(args.secs, 0.7 * expected_s)
        HeldMemory.fill(work / "ballast")
        alone = live(broker, live_s)
        before, began = load.cpu_s(broker), time.monotonic()
        catching_up = load.Beside("fetch", broker, "backlog", PARTITIONS, "--conns 4 --max 1048576 --once")
        beside = live(broker, live_s)
        still_running = catching_up.process.poll() is None
        figures = catching_up.figures()
        cpu_s = load.cpu_s(broker) - before
        one = {"broker": kind, "round": round_number, "disk_MBps": disk, "catch_up": figures, "alone": alone, "beside": beside,
               "live_s": live_s, "catch_up_s": figures.get("secs"), "overlapped": still_running, "took_s": time.monotonic() - began, "cpu_s": cpu_s}
        measured.append(one)
        print(f"round {round_number} {kind}: disk {short(disk)} MB/s, catch-up {short(figures.get('MBps'))} MB/s, "
              f"producer p99 {p99(alone, 'producer')} -> {p99(beside, 'producer')} us, consumer p99 {p99(alone, 'consumer')} -> {p99(beside, 'consumer')} us",
              file=sys.stderr, flush=True)
    for left in (f"{kind}-data", "ballast"):
        shutil.rmtree(work / left, ignore_errors=True)


def drop(data):
    """Nothing of these files stays in memory."""
    subprocess.run([bench_binary(), "drop-cache", str(data)], check=True)


def read_speed(data):
    """MB/s at which the segments come from the disk, one after the other, by one reader."""
    read, into, began = 0, bytearray(READ_AT_ONCE), time.monotonic()
    for path in sorted(data.glob("backlog-*/*.log")):
        with open(path, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while got := file.readinto(into):
                read += got
    return read / 1e6 / (time.monotonic() - began)


def live(broker, secs):
    """A paced producer, and a consumer at the end of the same log."""
    tail = load.Beside("tail", broker, "live", PARTITIONS, f"{TAIL} --warm 1 --secs {secs}")
    producer = load.run("produce", broker, "live", PARTITIONS, f"{LIVE} --warm 1 --secs {secs}")
    return {"producer": producer, "consumer": tail.figures()}


def p99(both, who):
    """Of the producer: until it is acknowledged. Of the consumer: from the producer's send to its arrival."""
    figures = both[who]
    return (figures if who == "producer" else figures.get("end_to_end", {})).get("p99_us")


def tables(made):
    """Medians over the rounds."""
    speed = Table(f"Catch-up (wanted: >= {SPEED_TARGET:.0%} of the disk's speed)", ["broker", "disk MB/s", "catch-up MB/s", "share", "", "broker's CPU-s"])
    tails = Table(f"p99 of the live load (wanted: within {TAIL_TARGET:g}x of itself without the catch-up)",
                  ["broker", "of", "alone us", "beside us", "times", ""])
    for kind in dict.fromkeys(one["broker"] for one in made.measured):
        rounds = [one for one in made.measured if one["broker"] == kind]
        for one in rounds:
            for name, figures in (("catch-up", one["catch_up"]), *one["alone"].items(), *one["beside"].items()):
                if "failed" in figures or figures["errors"]:
                    made.warn(f"{kind} round {one['round']}, {name}: {figures.get('failed') or figures['errors']}")
            if not one["overlapped"]:
                made.notes.append(f"{kind} round {one['round']}: the catch-up ended before the live load; use a larger --backlog")
        middle = lambda of: statistics.median(filter(None, map(of, rounds))) if any(map(of, rounds)) else 0  # noqa: B023, E731
        disk, caught = middle(lambda one: one["disk_MBps"]), middle(lambda one: one["catch_up"].get("MBps"))
        speed.add(kind, short(disk), short(caught), f"{caught / disk:.2f}", "met" if caught >= SPEED_TARGET * disk else "MISSED", short(middle(lambda one: one["cpu_s"])))
        for who in ("producer", "consumer"):
            alone, beside = middle(lambda one: p99(one["alone"], who)), middle(lambda one: p99(one["beside"], who))  # noqa: B023
            if alone:
                tails.add(kind, who, short(alone), short(beside), f"{beside / alone:.2f}", "met" if beside <= TAIL_TARGET * alone else "MISSED")
    made.tables += [speed, tails]
