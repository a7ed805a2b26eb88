"""Kafka's verifiable producer and consumers: groups that change while records flow. Every acknowledged record must be consumed.

These programs tell every event as a JSON line, so who owns what and what was read is known from outside.
"""

import collections
import json
import signal

from cases import BOOTSTRAP, Failed, case, expect, main, name, until
from harness import tools

SERVER = ("--bootstrap-server", BOOTSTRAP)
ASSIGNORS = "org.apache.kafka.clients.consumer."
SESSION_MS = 6000


def events(tool, kind):
    return [event for event in map(json.loads, tool.lines()) if event["name"] == kind]


class Consumer:
    """A verifiable-consumer in the background."""

    def __init__(self, group, topic, number, *words):
        path = f"{group}-{number}.out"
        with open("client.properties", "w") as file:
            file.write("heartbeat.interval.ms=300\nmetadata.max.age.ms=1000\n")
        self.tool = tools.Running(path, "verifiable-consumer", *SERVER, "--topic", topic, "--group-id", group, "--verbose",
                                  "--session-timeout", SESSION_MS, "--command-config", "client.properties", *words)

    def owned(self):
        """The partitions it holds now, by the events it told."""
        held = set()
        for event in map(json.loads, self.tool.lines()):
            parts = {part["partition"] for part in event.get("partitions", []) if isinstance(part, dict)}
            if event["name"] == "partitions_assigned":
                held |= parts
            elif event["name"] == "partitions_revoked":
                held -= parts
        return held

    def read(self):
        return [(event["partition"], event["offset"], event["value"]) for event in events(self.tool, "record_data")]


def create(topic, partitions):
    tools.run("topics", *SERVER, "--create", "--topic", topic, "--partitions", str(partitions), status=0)


def producer(topic, count, per_second):
    """With keys, because records without keys stay on one partition until a batch is full: in ten seconds some get none."""
    return tools.Running(f"{topic}.producer", "verifiable-producer", *SERVER, "--topic", topic, "--max-messages", count,
                         "--throughput", per_second, "--acks", "-1", "--repeating-keys", 60)


def balanced(consumers, partitions):
    """All partitions are owned, each by one."""
    held = [part for consumer in consumers for part in consumer.owned()]
    return sorted(held) == list(range(partitions)) and all(consumer.owned() for consumer in consumers)


def all_read(sender, consumers):
    """Every acknowledged value was read, each at the offset that the broker named; returns how many were read twice."""
    acked = {event["value"]: (event["partition"], event["offset"]) for event in events(sender, "producer_send_success")}
    got = collections.Counter()
    for consumer in consumers:
        for partition, offset, value in consumer.read():
            got[value] += 1
            if value in acked and acked[value] != (partition, offset):
                raise Failed(f"value {value} was acknowledged at {acked[value]} and read at {(partition, offset)}")
    missing = [value for value in acked if value not in got]
    if missing:
        raise Failed(f"{len(missing)} of {len(acked)} acknowledged records not read yet, {missing[:5]}")
    return sum(times > 1 for times in got.values())


def _three_then_two(title, strategy, *words):
    @case(f"{title}: three consumers, one is killed, the rest take over, nothing acknowledged is missed")
    def _():
        partitions, count = 6, 6000
        topic = group = name(strategy)
        create(topic, partitions)
        consumers = [Consumer(group, topic, number, *words) for number in range(3)]
        sender = None
        try:
            until("three share six", lambda: balanced(consumers, partitions))
            sender = producer(topic, count, 600)
            until("records flow", lambda: all(len(consumer.read()) > 20 for consumer in consumers))
            consumers[1].tool.end(signal.SIGKILL)
            rest = [consumers[0], consumers[2]]
            until("two share six", lambda: balanced(rest, partitions), 40)
            expect(sender.wait(60), 0, "status of the producer")
            expect(len(events(sender, "producer_send_success")), count, "acknowledged")
            until("all is read", lambda: all_read(sender, consumers) is not None, 30)
        finally:
            for consumer in consumers:
                consumer.tool.end()
            if sender:
                sender.end()


_three_then_two("range", "range")
_three_then_two("cooperative-sticky", "sticky", "--assignment-strategy", ASSIGNORS + "CooperativeStickyAssignor")


@case("cooperative-sticky: a new member takes some partitions, the others keep theirs")
def _():
    topic = group = name("keep")
    words = ("--assignment-strategy", ASSIGNORS + "CooperativeStickyAssignor")
    create(topic, 4)
    consumers = [Consumer(group, topic, 0, *words)]
    try:
        until("one owns four", lambda: balanced(consumers, 4))
        consumers.append(Consumer(group, topic, 1, *words))
        until("two share four", lambda: balanced(consumers, 4))
        revoked = [part["partition"] for event in events(consumers[0].tool, "partitions_revoked") for part in event["partitions"]]
        expect(len(revoked), 2, f"partitions taken from the first ({revoked})")
    finally:
        for consumer in consumers:
            consumer.tool.end()


@case("static members: one restarts within its session, nobody else is disturbed")
def _():
    topic = group = name("instance")
    create(topic, 4)
    consumers = [Consumer(group, topic, number, "--group-instance-id", f"seat-{number}") for number in range(2)]
    back = None
    try:
        until("two share four", lambda: balanced(consumers, 4))
        held, told = consumers[0].owned(), len(events(consumers[1].tool, "partitions_assigned"))
        consumers[0].tool.end(signal.SIGKILL)
        back = Consumer(group, topic, "0-again", "--group-instance-id", "seat-0")
        until("it has its partitions again", lambda: back.owned() == held)
        expect(len(events(consumers[1].tool, "partitions_assigned")), told, "assignments of the other")
    finally:
        for consumer in [*consumers, *([back] if back else [])]:
            consumer.tool.end()


main()
