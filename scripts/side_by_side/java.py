"""`--java`: Apache Kafka's own load tools against both brokers, with each codec.

Kringle runs twice: as it is, where acks=all waits for the disk, and with acks=all answered from the page cache, as Kafka does it. The
client is the same JVM program on both sides and has the machine with the broker, so throughput here is often the client's; what
the broker costs is seen in its CPU time per GB of values (before compression), read from /proc over the run.
"""

import csv
import os
import re
import shutil
import statistics
import sys
import time

from harness import tools

from . import load
from .bars import Bar
from .contestants import KAFKA, KRINGLE, HeldMemory, brokers, contestant
from .report import Report, Table, short
from .rows import WARM_UP

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
# Name -> bytes of a record, bytes of a batch, records per second of --secs. A run lasts about that long on a small machine.
SIZES = {"100 B in 16 KiB": (100, 16384, 150_000), "1 KiB in 16 KiB": (1024, 16384, 40_000), "1 KiB in 128 KiB": (1024, 131072, 40_000)}
ACKS = ("1", "all")
# Kringle with Kafka's bargain: what is measured of it is acks=all alone.
BARGAIN = "kringle, page cache"
BARGAIN_SETTINGS = ("kringle.durable.acks=false",)
PINGS_PER_S = 500
WAIT_S = 300
THROUGHPUT_TARGET, CPU_TARGET = 1.0, 0.5

PRODUCED = re.compile(r"records sent, .*?\(([\d.]+) MB/sec\), ([\d.]+) ms avg.*?([\d.]+) ms 50th, .*?([\d.]+) ms 99th, ([\d.]+) ms 99\.9th")
PINGED = re.compile(r"Avg latency: ([\d.]+) ms.*?50th = ([\d.]+), 99th = ([\d.]+), 99\.9th = ([\d.]+)", re.DOTALL)


def run(args, work):
    """All rounds; the report."""
    kinds = brokers(args.only)
    kinds += [BARGAIN] * (KRINGLE in kinds)
    made = Report("Apache Kafka's own load tools against Apache Kafka and Kringle", work)
    with made.measuring(args.held):
        for round_number in range(1, args.rounds + 1):
            for kind in kinds:
                one_broker(kind, round_number, args, work, made.measured)
    tables(made, kinds)
    return made


def one_broker(kind, round_number, args, work, measured):
    """Produces, consumes and pings on one broker, each codec on a topic of its own."""
    with contestant(KRINGLE, work, BARGAIN_SETTINGS) if kind == BARGAIN else contestant(kind, work) as broker:
        load.create(broker, WARM_UP.topic, WARM_UP.partitions)
        load.run(WARM_UP.what, broker, WARM_UP.topic, WARM_UP.partitions, WARM_UP.options)
        produce(broker, WARM_UP.topic, 100_000, 100, 16384, "none", "1")
        HeldMemory.fill(work / "fill")

        def note(setting, action, gb):
            os.sync()
            time.sleep(0.5)
            before = load.cpu_s(broker)
            try:
                figures = action()
                figures["cpu_s_per_GB"] = (load.cpu_s(broker) - before) / gb
            except tools.ToolFailed as error:
                figures = {"failed": str(error)[-300:]}
            measured.append({"broker": kind, "setting": setting, "round": round_number, **figures})
            said = "  ".join(f"{name} {short(value)}" if name != "failed" else f"FAILED: {value}" for name, value in figures.items())
            print(f"round {round_number} {kind:20}{setting:42}{said}", file=sys.stderr, flush=True)

        for codec in CODECS:
            topic, sent = f"java-{codec}", 0
            if args.rows and codec not in args.rows:
                continue
            load.create(broker, topic, 4)
            for name, (size, batch, per_s) in SIZES.items():
                count = max(1000, int(per_s * args.secs))
                for acks in ("all",) if kind == BARGAIN else ACKS:
                    note(f"produce {codec}, {name}, acks={acks}",
                         lambda: produce(broker, topic, count, size, batch, codec, acks), count * size / 1e9)  # noqa: B023
                    sent += count * size
            if kind != BARGAIN:
                records = sum(max(1000, int(per_s * args.secs)) for _, _, per_s in SIZES.values()) * len(ACKS)
                note(f"consume {codec}", lambda: consume(broker, topic, records), sent / 1e9)  # noqa: B023
            note(f"end to end {codec}", lambda: ping(broker, f"ping-{codec}", int(PINGS_PER_S * args.secs), codec, work), 1)  # noqa: B023
            # A CPU-s/GB of single records of 100 bytes would say nothing.
            measured[-1].pop("cpu_s_per_GB", None)
    for left in ("fill", f"{KRINGLE}-data", f"{KAFKA}-data"):
        shutil.rmtree(work / left, ignore_errors=True)


def produce(broker, topic, count, size, batch, codec, acks):
    """producer-perf-test as fast as it can."""
    # Its own warm-up: its figures are those of what follows.
    said = tools.run("producer-perf-test", "--topic", topic, "--num-records", count, "--warmup-records", count // 3, "--record-size", size,
                     "--throughput", -1, "--command-property", f"bootstrap.servers={broker.bootstrap}", f"acks={acks}", f"batch.size={batch}", "linger.ms=5",
                     f"compression.type={codec}", "buffer.memory=67108864", wait_s=WAIT_S, status=0)
    found = PRODUCED.search(said.lines[-1]) if said.lines else None
    if not found:
        raise tools.ToolFailed(f"producer-perf-test said {said.out[-200:]} {said.err[-200:]}")
    mb_per_s, mean, p50, p99, p999 = map(float, found.groups())
    return {"MBps": mb_per_s * 1.048576, "mean_ms": mean, "p50_ms": p50, "p99_ms": p99, "p999_ms": p999}


def consume(broker, topic, records):
    """consumer-perf-test over the whole topic, in a group."""
    said = tools.run("consumer-perf-test", "--bootstrap-server", broker.bootstrap, "--topic", topic, "--num-records", records,
                     "--group", f"group-{topic}", "--timeout", 30_000, wait_s=WAIT_S, status=0)
    lines = [line for line in said.lines if line.count(",") > 5]
    if len(lines) < 2:
        raise tools.ToolFailed(f"consumer-perf-test said {said.out[-200:]} {said.err[-200:]}")
    row = dict(zip(*(map(str.strip, cells) for cells in csv.reader(lines[-2:]))))
    if int(row["data.consumed.in.nMsg"]) < records:
        raise tools.ToolFailed(f"consumed {row['data.consumed.in.nMsg']} of {records} records")
    return {"MBps": float(row["fetch.MB.sec"]) * 1.048576}


def ping(broker, topic, count, codec, work):
    """e2e-latency: one record on its way at a time, acks=all, from send to receipt."""
    load.create(broker, topic, 1)
    properties = work / f"ping-{codec}.properties"
    properties.write_text(f"compression.type={codec}\n")
    said = tools.run("e2e-latency", broker.bootstrap, topic, count, "all", 100, properties, wait_s=WAIT_S, status=0)
    found = PINGED.search(said.out)
    if not found:
        raise tools.ToolFailed(f"e2e-latency said {said.out[-200:]} {said.err[-200:]}")
    return dict(zip(("mean_ms", "p50_ms", "p99_ms", "p999_ms"), map(float, found.groups())))


def tables(made, kinds):
    """One line for each setting: both brokers and their ratio."""
    for one in made.measured:
        if "failed" in one:
            made.warn(f"{one['broker']} {one['setting']} round {one['round']}: {one['failed']}")
    for kind in kinds:
        if kind != KAFKA:
            compare(kind, made)


def compare(kind, made):
    """Adds what `kind` has beside Kafka: two tables and their pictures."""
    promise = " with acks=all answered from the page cache by both" if kind == BARGAIN else ""

    def both(setting, figure):
        values = [[one[figure] for one in made.measured if (one["broker"], one["setting"]) == (broker, setting) and figure in one]
                  for broker in (KAFKA, kind)]
        return [statistics.median(of) if of else None for of in values]

    def ratio(values, met):
        theirs, ours = values
        if ours is None or not theirs:
            return "-", ""
        return f"{ours / theirs:.2f}", "met" if met(ours / theirs) else "MISSED"

    speeds, costs = [], []
    throughput = Table(f"Throughput (wanted: >= {THROUGHPUT_TARGET}x Kafka's) and the broker's CPU (wanted: <= {CPU_TARGET}x){promise}",
                       ["setting", "Kafka MB/s", "Kringle MB/s", "ratio", "", "Kafka CPU-s/GB", "Kringle CPU-s/GB", "ratio", "", "Kafka p99 ms",
                        "Kringle p99 ms"])
    latency = Table(f"End to end, one record of 100 B on its way{promise or ', acks=all (Kringle: durable)'}",
                    ["setting", "Kafka mean ms", "Kringle mean ms", "ratio", "Kafka p99 ms", "Kringle p99 ms", "Kafka p99.9 ms", "Kringle p99.9 ms"])
    for setting in dict.fromkeys(one["setting"] for one in made.measured if one["broker"] == kind):
        if setting.startswith("end to end"):
            mean = both(setting, "mean_ms")
            latency.add(setting, *map(short, mean), ratio(mean, lambda _: True)[0], *map(short, both(setting, "p99_ms")),
                        *map(short, both(setting, "p999_ms")))
            continue
        speed, cpu = both(setting, "MBps"), both(setting, "cpu_s_per_GB")
        faster = ratio(speed, lambda got: got >= THROUGHPUT_TARGET)
        cheaper = ratio(cpu, lambda got: got <= CPU_TARGET)
        throughput.add(setting, *map(short, speed), *faster, *map(short, cpu), *cheaper, *map(short, both(setting, "p99_ms")))
        for bars, (got, verdict), bound, wanted in ((speeds, faster, THROUGHPUT_TARGET, ">="), (costs, cheaper, CPU_TARGET, "<=")):
            if verdict:
                bars.append(Bar(setting, float(got), bound, f"{wanted} {bound:g}", verdict))
    made.tables += [throughput, latency]
    made.charts += [(f"Throughput, of Kafka's{promise}", speeds), (f"The broker's CPU per GB, of Kafka's{promise}", costs)]
