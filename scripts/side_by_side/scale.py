"""`--scale`: what many partitions, many connections, a full load and a second shard cost, for Kringle and for Apache Kafka.

Everything is measured against itself in the same run: 10,000 partitions against 10 on the same broker, memory with connections
against memory without.
"""

import resource
import shutil
import statistics
import subprocess
import sys
import time

from . import load
from .contestants import KAFKA, KRINGLE, HeldMemory, bench_binary, brokers, contestant
from .report import Report, short
from .rows import ROWS, WARM_UP

FEW, MANY = 10, 10_000
# One request may not create 10,000 partitions (Kafka bounds its metadata records): two topics, and a load on each.
TOPICS = 2
SPREAD = "--conns 2 --inflight 5 --one-batch --records 16 --size 1024"
PROBE = "--conns 2 --inflight 5 --one-batch --records 1 --size 100 --warm 0"
IDLE = 10_000
IDLE_PER_PROCESS = 2_000
LED_WITHIN_S = 180  # Apache Kafka goes on electing leaders for a while after it has said that a topic is there
SPARE_DESCRIPTORS = 500
FULL_LOAD = ("produce-16x1K", "produce-128x1K", "produce-16x1K-p100", "fetch-64K-4conn", "fetch-1M-4conn")
SHARDS_LOAD = ("produce-1x100", "produce-16x1K-p100", "fetch-64K-4conn")


def run(args, work):
    """All parts that were asked for; the report."""
    limit = most_descriptors()
    kinds = brokers(args.only)
    made = Report("What scale costs", work)
    made.facts["descriptors"] = f"{limit} for each process"
    with made.measuring(args.held):
        for name, part in PARTS.items():
            if not args.rows or name in args.rows:
                part(made, kinds, args, work, limit)
    return made


def most_descriptors():
    """Raises this process's limit, which the brokers inherit, as far as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def note(made, **figures):
    """Keeps a measurement, and says it at once."""
    made.measured.append(figures)
    print("  ".join(f"{name} {short(value) if isinstance(value, float) else value}" for name, value in figures.items()), file=sys.stderr, flush=True)


def partitions(made, kinds, args, work, limit):
    """Throughput over 10,000 partitions against throughput over 10."""
    table = made.table(f"Produce 16x1 KB over {MANY:,} partitions and over {FEW} (wanted: >= 0.80)",
                       ["broker", "partitions", "MB/s many", "MB/s few", "ratio", "", "CPU-s/GB many", "few", "RSS MB idle", "descriptors per partition"])
    for kind in kinds:
        with contestant(kind, work) as broker:
            before = load.descriptors(broker)
            for number in range(TOPICS):
                load.create(broker, f"few-{number}", FEW // TOPICS)
            load.create(broker, "probe", 100)
            lead_all(made, broker, "probe", 100)
            each = (load.descriptors(broker) - before) / (100 + FEW)
            many = MANY
            if each * MANY + SPARE_DESCRIPTORS > limit:
                many = int((limit - SPARE_DESCRIPTORS) / each) // 100 * 100
                made.warn(f"{kind}: {each:.1f} descriptors for each partition, and `ulimit -Hn` is {limit}: {MANY:,} partitions need "
                          f"{each * MANY + SPARE_DESCRIPTORS:,.0f}. Measured with {many:,}. Raise the limit (LimitNOFILE=, limits.conf)")
            for number in range(TOPICS):
                load.create(broker, f"many-{number}", many // TOPICS)
                lead_all(made, broker, f"many-{number}", many // TOPICS)
            rss = load.rss_mb(broker)
            HeldMemory.fill(work / "fill")
            # In turns, so that both see the same machine.
            figures = {"few": [], "many": []}
            for round_number in range(args.rounds):
                for name, count in (("few", FEW), ("many", many)):
                    beside = [load.Beside("produce", broker, f"{name}-{number}", count // TOPICS, f"{SPREAD} --secs {args.secs} --warm 2")
                              for number in range(TOPICS)]
                    got = [one.figures() for one in beside]
                    if bad := next((one for one in got if "failed" in one or one["errors"]), None):
                        made.warn(f"{kind} {name}: {bad}")
                    # Each of the two sees the whole CPU time of the broker.
                    total = sum(one.get("MBps", 0) for one in got)
                    cpu = statistics.mean(one.get("cpu_s", 0) / one.get("secs", 1) for one in got) / (total / 1000) if total else None
                    figures[name].append((total, cpu))
                    note(made, part="partitions", broker=kind, partitions=count, round=round_number + 1, MBps=total, cpu_s_per_GB=cpu)
            speed = {name: statistics.median(total for total, _ in got) for name, got in figures.items()}
            cpu = {name: statistics.median(cpu or 0 for _, cpu in got) for name, got in figures.items()}
            ratio = speed["many"] / speed["few"] if speed["few"] else 0
            table.add(kind, f"{many:,}", short(speed["many"]), short(speed["few"]), f"{ratio:.2f}", "MISSED" if ratio < 0.8 else "met" if many == MANY else "too few",
                      short(cpu["many"]), short(cpu["few"]), short(rss), f"{each:.1f}")
        shutil.rmtree(work / f"{kind}-data", ignore_errors=True)


def lead_all(made, broker, topic, count):
    """Waits until every partition takes a batch."""
    deadline = time.monotonic() + LED_WITHIN_S
    while True:
        # Long enough for each partition to be reached once.
        got = load.run("produce", broker, topic, count, f"{PROBE} --secs {0.2 + count / 5000}")
        if not got.get("errors") and "failed" not in got:
            return
        if time.monotonic() > deadline:
            made.warn(f"{broker.kind}: {topic} does not take batches for all partitions: {got}")
            return


def connections(made, kinds, args, work, limit):
    """Memory of 10,000 connections that have asked once and then say nothing."""
    count = min(IDLE, limit - SPARE_DESCRIPTORS)
    if count < IDLE:
        made.warn(f"`ulimit -Hn` is {limit}: measured with {count:,} connections instead of {IDLE:,}")
    table = made.table(f"{count:,} idle connections (wanted: < 100 MB for Kringle)", ["broker", "RSS MB without", "RSS MB with", "KB per connection", ""])
    for kind in kinds:
        with contestant(kind, work) as broker:
            time.sleep(2)
            before = load.rss_mb(broker)
            clients, left = [], count
            try:
                while left:
                    mine = min(left, IDLE_PER_PROCESS)
                    left -= mine
                    clients.append(subprocess.Popen([bench_binary(), "raw", "idle", "--broker", broker.bootstrap, "--conns", str(mine)],
                                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
                opened = sum(int((client.stdout.readline().split() or [0, 0])[1]) for client in clients)
                time.sleep(2)
                after = load.rss_mb(broker)
            finally:
                for client in clients:
                    client.stdin.close()
                for client in clients:
                    client.wait()
            if opened != count:
                made.warn(f"{kind}: only {opened} of {count} connections were opened")
            note(made, part="connections", broker=kind, connections=opened, rss_before_MB=before, rss_MB=after)
            verdict = "" if kind == KAFKA else "met" if after < 100 and opened >= IDLE else "MISSED"
            table.add(kind, short(before), short(after), short((after - before) * 1024 / max(opened, 1)), verdict)
        shutil.rmtree(work / f"{kind}-data", ignore_errors=True)


def rows_on(broker, names, args):
    """Runs rows on a broker that is warm: name -> figures."""
    for name in (WARM_UP, *(ROWS[name] for name in names)):
        load.create(broker, name.topic, name.partitions)
    time.sleep(2)
    load.run(WARM_UP.what, broker, WARM_UP.topic, WARM_UP.partitions, WARM_UP.options)
    return {name: load.run(ROWS[name].what, broker, ROWS[name].topic, ROWS[name].partitions, f"{ROWS[name].options} --secs {args.secs} --warm 1")
            for name in names}


def memory(made, kinds, args, work, _limit):
    """Resident memory while the broker does as much as it can."""
    table = made.table("Resident memory under full load (wanted: < 150 MB for Kringle)", ["broker", "highest RSS MB", "after each load, MB", ""])
    for kind in kinds:
        with contestant(kind, work) as broker:
            figures = rows_on(broker, FULL_LOAD, args)
            highest = load.status_kib(broker, "VmHWM") / 1024
        for name, one in figures.items():
            if "failed" in one or one["errors"]:
                made.warn(f"{kind} {name}: {one}")
        note(made, part="memory", broker=kind, highest_rss_MB=highest)
        table.add(kind, short(highest), " ".join(short(one.get("rss_MB")) for one in figures.values()),
                  "" if kind == KAFKA else "met" if highest < 150 else "MISSED")
        shutil.rmtree(work / f"{kind}-data", ignore_errors=True)


def shards(made, kinds, args, work, _limit):
    """The same loads on one shard and on two."""
    if KRINGLE not in kinds:
        return
    table = made.table("Kringle on one shard and on two (the load generator has one of the machine's cores)",
                       ["row", "MB/s on one", "on two", "ratio", "CPU-s/GB on one", "on two"])
    got = {}
    for count in (1, 2):
        with contestant(KRINGLE, work, [f"kringle.shards={count}"]) as broker:
            HeldMemory.fill(work / "fill")
            names = ("produce-16x1K", *SHARDS_LOAD)  # the first fills what the fetch reads
            got[count] = rows_on(broker, names, args)
    for name in SHARDS_LOAD:
        one, two = got[1][name], got[2][name]
        for count, figures in ((1, one), (2, two)):
            if "failed" in figures or figures["errors"]:
                made.warn(f"{count} shards {name}: {figures}")
            note(made, part="shards", shards=count, row=name, MBps=figures.get("MBps"), cpu_s_per_GB=figures.get("cpu_s_per_GB"))
        if "MBps" in one and "MBps" in two:
            table.add(name, short(one["MBps"]), short(two["MBps"]), f"{two['MBps'] / one['MBps']:.2f}", short(one["cpu_s_per_GB"]), short(two["cpu_s_per_GB"]))


PARTS = {"partitions": partitions, "connections": connections, "memory": memory, "shards": shards}
