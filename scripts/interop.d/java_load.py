"""Kafka's load tools. They are here to be seen working, with every codec and kind of acks; figures are another script's business."""

import re

from cases import BOOTSTRAP, case, expect, main, name
from harness import tools

SERVER = ("--bootstrap-server", BOOTSTRAP)
RECORDS = 20_000


def load(topic, *properties, records=RECORDS, size=500):
    """Runs producer-perf-test; fails when it met an error or sent fewer."""
    said = tools.run("producer-perf-test", *SERVER, "--topic", topic, "--num-records", str(records), "--record-size", str(size),
                     "--throughput", "-1", "--command-property", *properties, status=0)
    expect(said.lines[-1].split(" records sent")[0], str(records), "sent")
    expect([line for line in (said.out + said.err).splitlines() if "Exception" in line], [], "errors")


def end(topic):
    lines = tools.run("get-offsets", *SERVER, "--topic", topic, status=0).lines
    return sum(int(line.rpartition(":")[2]) for line in lines)


def _codec(codec):
    @case(f"producer-perf-test, acks all, codec {codec}; consumer-perf-test reads it")
    def _():
        topic = name(f"all-{codec}")
        tools.run("topics", *SERVER, "--create", "--topic", topic, "--partitions", "4", status=0)
        load(topic, "acks=all", f"compression.type={codec}")
        expect(end(topic), RECORDS, "records in the log")
        said = tools.run("consumer-perf-test", *SERVER, "--topic", topic, "--num-records", str(RECORDS), status=0)
        figures = [field.strip() for field in said.lines[-1].split(",")]
        expect(figures[4], str(RECORDS), "records consumed")


for _each in ("none", "gzip", "snappy", "lz4", "zstd"):
    _codec(_each)


@case("producer-perf-test, acks 1 and 0, not idempotent")
def _():
    topic = name("weak")
    tools.run("topics", *SERVER, "--create", "--topic", topic, status=0)
    load(topic, "acks=1", "enable.idempotence=false")
    expect(end(topic), RECORDS, "records in the log")
    load(topic, "acks=0", "enable.idempotence=false", records=5000)
    expect(end(topic), RECORDS + 5000, "records in the log")


@case("producer-perf-test with large records")
def _():
    topic = name("large")
    tools.run("topics", *SERVER, "--create", "--topic", topic, status=0)
    load(topic, "acks=all", records=60, size=900_000)
    expect(end(topic), 60, "records in the log")


@case("e2e-latency")
def _():
    topic = name("latency")
    tools.run("topics", *SERVER, "--create", "--topic", topic, status=0)
    said = tools.run("e2e-latency", *SERVER, "--topic", topic, "--num-records", "300", "--producer-acks", "all", "--record-size", "100",
                     status=0)
    expect(bool(re.search(r"Avg latency: [\d.]+ ms", said.out)), True, f"figures in {said.out}")
    expect(end(topic), 300, "records in the log")


main()
