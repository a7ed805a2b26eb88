"""The default mode: the same thin load on every contestant, round after round."""

import os
import shutil
import statistics
import sys
import time

from . import load
from .bars import Bar
from .contestants import FLOOR, KAFKA, KRINGLE, HeldMemory, contestant
from .report import Report, Table, short
from .rows import CPU, FETCHED, P50, P99, P999, ROWS, TARGETS, THROUGHPUT, TITLES, WARM_UP

WHOSE = {KAFKA: "Kafka's", FLOOR: "the floor's"}
SETTLE_S = 2  # Apache Kafka goes on electing leaders for a moment after it has said that a topic is there


def chosen(names):
    """The rows to run, in their order; fetch rows bring the row that fills their topic."""
    rows = {name: row for name, row in ROWS.items() if not names or name in names}
    if any(row.what == "fetch" for row in rows.values()):
        rows = {FETCHED: ROWS[FETCHED], **rows}
    return rows


def run(args, work):
    """All rounds; the report."""
    rows = chosen(args.rows)
    made = Report("Kringle, Apache Kafka and the machine's floor side by side", work)
    with made.measuring(args.held):
        for round_number in range(1, args.rounds + 1):
            for kind in args.only:
                one_broker(kind, rows, round_number, args, work, made.measured)
    tables(made, rows, args.only)
    return made


def one_broker(kind, rows, round_number, args, work, measured):
    """Starts a broker on an empty directory, warms it up, runs all rows, stops it. Nothing is deleted in between."""
    fill = work / "fill"
    ready = contestant(kind, work)  # the release profile may have to be built
    began = time.monotonic()
    with ready as broker:
        measured.append({"broker": kind, "row": "start", "round": round_number, "secs": time.monotonic() - began})
        for row in (*rows.values(), WARM_UP):
            load.create(broker, row.topic, row.partitions)
        time.sleep(SETTLE_S)
        measured[-1]["rss_MB"] = load.rss_mb(broker)
        load.run(WARM_UP.what, broker, WARM_UP.topic, WARM_UP.partitions, WARM_UP.options)
        HeldMemory.fill(fill)
        for name, row in rows.items():
            os.sync()
            time.sleep(0.5)
            figures = load.run(row.what, broker, row.topic, row.partitions, f"{row.options} --secs {args.secs} --warm 2")
            measured.append({"broker": kind, "row": name, "round": round_number, **figures})
            print(f"round {round_number} {kind:8}{name:20}{said(figures)}", file=sys.stderr, flush=True)
    for left in (fill, work / f"{kind}-data"):
        shutil.rmtree(left, ignore_errors=True)


def said(figures):
    """A run in one line."""
    if "failed" in figures:
        return f"FAILED: {figures['failed']}"
    errors = f"  ERRORS {figures['errors']} (first {figures['first_error']})" if figures["errors"] else ""
    return (f"{short(figures[THROUGHPUT]):>7} MB/s  p50 {figures[P50]} p99 {figures[P99]} p99.9 {figures[P999]} us"
            f"  {short(figures.get(CPU))} CPU-s/GB{errors}")


def tables(made, rows, kinds):
    """Medians, and Kringle's divided by the others'."""
    measured = made.measured

    def median(kind, row, figure):
        values = [one[figure] for one in measured if one["broker"] == kind and one["row"] == row and figure in one]
        return statistics.median(values) if values else None

    bad = [one for one in measured if one.get("errors") or "failed" in one]
    for one in bad:
        made.warn(f"{one['broker']} {one['row']} round {one['round']}: "
                  + (one.get("failed") or f"{one['errors']} errors, the first was error code {one['first_error']}"))

    wanted, others = [], []
    ratios = Table("Ratios of medians: Kringle's figure divided by the other's", ["row", "figure", "against", "ratio", "target", ""])
    for row in rows:
        targets = {(target.figure, target.against): target for target in TARGETS.get(row, [])}
        shown = [(THROUGHPUT, KAFKA), (THROUGHPUT, FLOOR), (CPU, KAFKA), (CPU, FLOOR), (P50, KAFKA), (P99, KAFKA), (P999, KAFKA)]
        for figure, against in shown:
            ours, theirs = median(KRINGLE, row, figure), median(against, row, figure)
            if not ours or not theirs:
                continue
            target = targets.get((figure, against))
            verdict = "" if not target else "met" if target.met(ours / theirs) else "MISSED"
            bar = Bar(f"{row}, {TITLES[figure]} of {WHOSE[against]}", ours / theirs, *((target.bound, target.wanted(), verdict) if target else ()))
            (wanted if target else others).append(bar)
            ratios.add(row, TITLES[figure], against, f"{ours / theirs:.2f}", target.wanted() if target else "", verdict)
    made.tables.append(ratios)
    made.charts += [("Ratios beside their targets", wanted), ("Other ratios", others)]

    medians = Table("Medians", ["row", "broker", "MB/s", "req/s", "p50 us", "p99 us", "p99.9 us", "CPU-s/GB", "generator cores", "RSS MB", "errors"])
    for row in rows:
        for kind in kinds:
            figures = (THROUGHPUT, "reqs_per_s", P50, P99, P999, CPU, "generator_cores", "rss_MB", "errors")
            medians.add(row, kind, *(short(median(kind, row, figure)) for figure in figures))
    made.tables.append(medians)
    starts = Table("Start on an empty directory", ["broker", "s", "RSS MB when idle"])
    for kind in kinds:
        starts.add(kind, short(median(kind, "start", "secs")), short(median(kind, "start", "rss_MB")))
    made.tables.append(starts)
