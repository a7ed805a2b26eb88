"""kcat: librdkafka as people first try it on a new broker. Writes, reads, groups, each codec, offsets by time."""

import json
import os
import signal
import subprocess

from cases import BOOTSTRAP, Failed, case, expect, main, name, until
from raw import create_topic

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def kcat(*words, stdin="", wait_s=30):
    """Its standard output; Failed with its complaint when it does not end with 0."""
    command = ["kcat", "-b", BOOTSTRAP, *words]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=wait_s)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{' '.join(command)} did not end in {wait_s} s: {error.stderr}") from None
    if done.returncode:
        raise Failed(f"{' '.join(command)}: status {done.returncode}: {done.stderr}")
    return done.stdout


def consume(topic, *words):
    """All records from the beginning to the end, one line each."""
    return kcat("-C", "-t", topic, "-o", "beginning", "-e", "-q", *words).splitlines()


def first_topic(topic):
    """The first record makes the topic (auto-creation)."""
    kcat("-P", "-t", topic, stdin="0\n")


@case("metadata lists the broker")
def _():
    told = json.loads(kcat("-L", "-J"))
    expect(len(told["brokers"]), 1, "brokers")
    expect(told["controllerid"], told["brokers"][0]["id"], "controller")


@case("metadata of a topic that producing created")
def _():
    first_topic(name("meta"))
    topic = json.loads(kcat("-L", "-J", "-t", name("meta")))["topics"][0]
    expect(topic["topic"], name("meta"))
    expect([part["partition"] for part in topic["partitions"]], [0], "partitions")
    expect(topic["partitions"][0]["leader"], 1, "leader")


def _codec(codec):
    @case(f"produce and consume, codec {codec}")
    def _():
        lines = [f"record {number} " + "x" * (number % 300) for number in range(2000)]
        kcat("-P", "-t", name(codec), "-z", codec, "-X", "linger.ms=50", stdin="\n".join(lines) + "\n")
        expect(consume(name(codec)), lines, "records")


for _each in CODECS:
    _codec(_each)


@case("produce and consume, idempotent")
def _():
    lines = [str(number) for number in range(5000)]
    kcat("-P", "-t", name("idempotent"), "-X", "enable.idempotence=true", stdin="\n".join(lines) + "\n")
    expect(consume(name("idempotent")), lines, "records")


@case("produce with acks 0, 1 and all")
def _():
    for acks in ("0", "1", "all"):
        kcat("-P", "-t", name("acks"), "-X", f"acks={acks}", stdin=f"{acks}\n")
    until("all three are there", lambda: sorted(consume(name("acks"))) == ["0", "1", "all"])


@case("keys, headers, empty and null values survive")
def _():
    topic = name("parts")
    kcat("-P", "-t", topic, "-K", ":", "-H", "colour=blue", "-H", "empty=", stdin="k1:v1\n")
    kcat("-P", "-t", topic, "-K", ":", "-Z", stdin="k2:\n")
    read = consume(topic, "-f", "%k|%S|%s|%h\\n", "-Z")
    expect(read, ["k1|2|v1|colour=blue,empty=", "k2|-1|NULL|"])


@case("the value of a file, 900 KB, whole")
def _():
    body = os.urandom(450_000).hex()
    with open("big.txt", "w") as file:
        file.write(body)
    kcat("-P", "-t", name("big"), "-X", "message.max.bytes=1000000", "big.txt")
    expect(consume(name("big")) == [body], True, "the same bytes")


@case("consume from an offset, from the tail, and a count")
def _():
    topic = name("offsets")
    kcat("-P", "-t", topic, stdin="".join(f"{number}\n" for number in range(100)))
    expect(kcat("-C", "-t", topic, "-p", "0", "-o", "40", "-c", "3", "-q").split(), ["40", "41", "42"], "from 40")
    expect(kcat("-C", "-t", topic, "-p", "0", "-o", "-2", "-e", "-q").split(), ["98", "99"], "the last two")


@case("query offsets: earliest, latest, by timestamp")
def _():
    topic = name("query")
    kcat("-P", "-t", topic, stdin="a\nb\n")
    stamps = [int(line) for line in consume(topic, "-f", "%T\\n")]
    expect(kcat("-Q", "-t", f"{topic}:0:-2").strip(), f"{topic} [0] offset 0", "earliest")
    expect(kcat("-Q", "-t", f"{topic}:0:-1").strip(), f"{topic} [0] offset 2", "latest")
    expect(kcat("-Q", "-t", f"{topic}:0:{stamps[0]}").strip(), f"{topic} [0] offset 0", "of the first timestamp")
    expect(kcat("-Q", "-t", f"{topic}:0:{stamps[1] + 1000}").strip(), f"{topic} [0] offset -1", "after the last")


@case("consume a range of timestamps")
def _():
    topic = name("range")
    for value in ("early", "middle", "late"):
        kcat("-P", "-t", topic, stdin=f"{value}\n")
        subprocess.run(["sleep", "0.02"], check=True)  # the three must differ in the clock's milliseconds
    stamps = [int(line) for line in consume(topic, "-f", "%T\\n")]
    read = kcat("-C", "-t", topic, "-o", f"s@{stamps[1]}", "-o", f"e@{stamps[2]}", "-q").split()
    expect(read, ["middle"])


@case("group consumes, commits and resumes")
def _():
    topic, group = name("group"), name("g1")
    kcat("-P", "-t", topic, stdin="".join(f"{number}\n" for number in range(50)))
    words = ("-G", group, "-q", "-X", "auto.offset.reset=earliest", topic)
    expect(kcat("-c", "20", *words).split(), [str(number) for number in range(20)], "first run")
    expect(kcat("-e", *words).split(), [str(number) for number in range(20, 50)], "second run")
    kcat("-P", "-t", topic, stdin="new\n")
    expect(kcat("-e", *words).split(), ["new"], "third run")


@case("two members share a group's partitions; one leaves, the other takes all")
def _():
    topic, group = name("share"), name("g2")
    create_topic(BOOTSTRAP, topic, 4)
    for partition in range(4):
        kcat("-P", "-t", topic, "-p", str(partition), stdin=f"p{partition}\n")
    words = ["kcat", "-b", BOOTSTRAP, "-G", group, "-X", "auto.offset.reset=earliest",
             "-X", "heartbeat.interval.ms=300", "-u", "-f", "%p %s\\n", topic]
    members = [_Member(words, f"member{number}.txt") for number in range(2)]
    try:
        until("both own two partitions", lambda: all(len(member.assigned()) == 2 for member in members))
        together = members[0].assigned() | members[1].assigned()
        expect(together, {f"{topic} [{partition}]" for partition in range(4)}, "together")
        members[0].end()
        until("the other owns all four", lambda: len(members[1].assigned()) == 4)
        for partition in range(4):
            kcat("-P", "-t", topic, "-p", str(partition), stdin=f"after{partition}\n")
        wanted = {f"{partition} after{partition}" for partition in range(4)}
        until("the other reads all four", lambda: wanted <= set(members[1].lines()))
    finally:
        for member in members:
            member.end()


class _Member:
    """A kcat in a group, in the background. It tells its assignment on standard error."""

    def __init__(self, words, path):
        self.path = path
        self.process = subprocess.Popen(words, stdout=open(path, "w"), stderr=open(path + ".err", "w"))

    def lines(self):
        with open(self.path) as file:
            return file.read().splitlines()

    def assigned(self):
        last = ""
        with open(self.path + ".err") as file:
            for line in file:
                if "rebalanced" in line:
                    last = line
        _, _, parts = last.partition("assigned: ")
        return {part.strip() for part in parts.split(",") if part.strip()}

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(20)


@case("an unknown topic is said to be unknown when auto-creation is not asked for")
def _():
    told = json.loads(kcat("-L", "-J", "-t", name("absent"), "-X", "allow.auto.create.topics=false"))
    expect(told["topics"][0].get("error", ""), "Broker: Unknown topic or partition")


main()
