"""Kafka's console producer and consumer, and the tools that ask for or delete offsets of records."""

import json
import re

from cases import BOOTSTRAP, Failed, case, expect, expect_in, main, name
from harness import tools

SERVER = ("--bootstrap-server", BOOTSTRAP)


def run(tool, *words, stdin=""):
    return tools.run(tool, *SERVER, *words, stdin=stdin, status=0)


def create(topic, partitions=1, **configs):
    words = [word for key, value in configs.items() for word in ("--config", f"{key.replace('_', '.')}={value}")]
    run("topics", "--create", "--topic", topic, "--partitions", str(partitions), *words)


def produce(topic, lines, *words):
    run("console-producer", "--topic", topic, *words, stdin="".join(f"{line}\n" for line in lines))


def consume(topic, count, *words):
    """The lines of `count` records; fewer within the time are Failed."""
    said = run("console-consumer", "--topic", topic, "--max-messages", str(count), "--timeout-ms", "20000", *words)
    if f"Processed a total of {count} messages" not in said.err:
        raise Failed(f"expected {count} records, got {said.lines} {said.err}")
    return said.out.splitlines()


@case("console-producer makes the topic, console-consumer reads it --from-beginning")
def _():
    lines = [f"line {number}" for number in range(500)]
    produce(name("auto"), lines)
    expect(consume(name("auto"), 500, "--from-beginning"), lines)


@case("keys, headers, null values, offset, partition and epoch are printed")
def _():
    topic = name("parts")
    create(topic)
    produce(topic, ["a:1,b:2|k1|v1", "a:3|k2|NULL"], "--reader-property", "parse.headers=true", "--reader-property", "parse.key=true",
            "--reader-property", "headers.delimiter=|", "--reader-property", "key.separator=|", "--reader-property", "null.marker=NULL")
    shown = [word for part in ("key", "headers", "offset", "partition", "timestamp") for word in ("--formatter-property", f"print.{part}=true")]
    lines = [line.split("\t") for line in consume(topic, 2, "--from-beginning", *shown)]
    expect([bool(re.fullmatch(r"CreateTime:\d{13}", line[0])) for line in lines], [True, True], "timestamps")
    expect([line[1:] for line in lines], [["Partition:0", "Offset:0", "a:1,b:2", "k1", "v1"], ["Partition:0", "Offset:1", "a:3", "k2", "null"]])


def _codec(codec):
    @case(f"console-producer --compression-codec {codec}")
    def _():
        topic = name(f"codec-{codec}")
        lines = [f"{number} {'z' * (number % 100)}" for number in range(1000)]
        create(topic)
        produce(topic, lines, "--compression-codec", codec)
        expect(consume(topic, 1000, "--from-beginning"), lines)


for _each in ("gzip", "snappy", "lz4", "zstd"):
    _codec(_each)


@case("the broker recompresses by compression.type")
def _():
    topic = name("recompress")
    lines = [f"{number} {'y' * 100}" for number in range(500)]
    create(topic, compression_type="zstd")
    produce(topic, lines, "--compression-codec", "gzip")
    expect(consume(topic, 500, "--from-beginning"), lines)
    told = json.loads(run("log-dirs", "--describe", "--topic-list", topic).lines[-1])
    size = told["brokers"][0]["logDirs"][0]["partitions"][0]["size"]
    expect(size < 30_000, True, f"{size} bytes on disk are fewer than half of the plain ones")


@case("LogAppendTime is printed as such")
def _():
    topic = name("append-time")
    create(topic, message_timestamp_type="LogAppendTime")
    produce(topic, ["x"])
    expect_in("LogAppendTime:", consume(topic, 1, "--from-beginning", "--formatter-property", "print.timestamp=true")[0])


@case("console-consumer: one partition from an offset")
def _():
    topic = name("offset")
    create(topic)
    produce(topic, [str(number) for number in range(20)])
    expect(consume(topic, 3, "--partition", "0", "--offset", "15"), ["15", "16", "17"])


@case("console-consumer --group goes on where it committed")
def _():
    topic, group = name("group"), name("group")
    create(topic)
    produce(topic, [str(number) for number in range(10)])
    expect(consume(topic, 4, "--group", group, "--from-beginning"), ["0", "1", "2", "3"])
    expect(consume(topic, 6, "--group", group), ["4", "5", "6", "7", "8", "9"])


@case("console-consumer with isolation read_committed, and by regular expression")
def _():
    topic = name("include")
    create(topic)
    produce(topic, ["one", "two"])
    expect(consume(topic, 2, "--from-beginning", "--isolation-level", "read_committed"), ["one", "two"])
    said = run("console-consumer", "--include", f"{topic}.*", "--max-messages", "2", "--timeout-ms", "20000", "--from-beginning")
    expect(said.out.splitlines(), ["one", "two"])


@case("get-offsets: latest, earliest, of the largest timestamp, by timestamp")
def _():
    topic = name("offsets")
    create(topic, 2)
    tools.run("verifiable-producer", *SERVER, "--topic", topic, "--max-messages", "10", "--message-create-time", "1600000000000",
              "--repeating-keys", "1", status=0)

    def offsets(when):
        lines = [line.split(":") for line in run("get-offsets", "--topic", topic, "--time", when).lines]
        return {int(partition): int(offset) for _, partition, offset in lines}

    latest = offsets("-1")
    full = max(latest, key=latest.get)
    expect(latest, {full: 10, 1 - full: 0}, "latest")
    expect(offsets("-2"), {0: 0, 1: 0}, "earliest")
    # The tool leaves out a partition in which there is no such record.
    largest = offsets("-3")
    expect((list(largest), 0 <= largest[full] < 10), ([full], True), f"of the largest timestamp ({largest})")
    expect(offsets("1599999999999"), {full: 0}, "before all")
    expect(offsets("1900000000000"), {}, "after all")
    expect(run("get-offsets", "--topic", topic, "--partitions", str(full), "--time", "earliest").lines, [f"{topic}:{full}:0"])


@case("delete-records: the log begins later")
def _():
    topic = name("delete-records")
    create(topic)
    produce(topic, [str(number) for number in range(10)])
    with open("delete.json", "w") as file:
        json.dump({"partitions": [{"topic": topic, "partition": 0, "offset": 7}], "version": 1}, file)
    expect_in(f"partition: {topic}-0\tlow_watermark: 7", run("delete-records", "--offset-json-file", "delete.json").out)
    expect(run("get-offsets", "--topic", topic, "--time", "-2").lines, [f"{topic}:0:7"])
    expect(consume(topic, 3, "--from-beginning"), ["7", "8", "9"])


@case("transactions describe-producers shows an idempotent producer")
def _():
    topic = name("producers")
    create(topic)
    produce(topic, ["x", "y", "z"])
    rows = tools.run("transactions", *SERVER, "describe-producers", "--topic", topic, "--partition", "0", status=0).rows("ProducerId")
    expect([(row["ProducerEpoch"], row["LastSequence"], row["CurrentTransactionStartOffset"]) for row in rows], [("0", "2", "None")])


main()
