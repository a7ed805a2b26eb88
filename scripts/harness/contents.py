"""What a broker holds, written and read back through a client: topics, settings, records, committed offsets.

`Writer` adds to it in rounds, a round for each broker that has the directory; `read` gives all of it as one flat
dictionary, so that two readings can be compared key by key. Needs confluent-kafka.
"""

import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource, NewPartitions, NewTopic,
                                   OffsetSpec, ResourceType)

from . import tools

WAIT_S = 30
# A client that outlives a broker would otherwise fill the screen with what it is meant to bear.
QUIET = {"log_level": 0}
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
# Settings whose source is one of these were made by a request, and so live in the metadata log.
DYNAMIC = {ConfigSource.DYNAMIC_TOPIC_CONFIG.value, ConfigSource.DYNAMIC_BROKER_CONFIG.value, ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG.value}


class Unexpected(Exception):
    """The broker holds or answers something else than it should."""


def retrying(what, action):
    """A broker that has just started may not lead all its partitions yet."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return action()
        except (KafkaException, Unexpected) as error:
            if time.monotonic() > deadline:
                raise Unexpected(f"{what}: {error}") from None
            time.sleep(0.1)


class Writer:
    """Writes what later brokers must find. One idempotent producer lives through all brokers of the directory."""

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
        self.faithful = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0, **QUIET})
        self.round = 0

    def write(self):
        """One round. All of it is acknowledged when this returns."""
        self.round += 1
        if self.round == 1:
            self._create("plain", 3)
            for codec in CODECS:
                self._create(f"codec-{codec}", 1)
            self._create("recompressed", 1, **{"compression.type": "lz4"})
            self._create("append-time", 1, **{"message.timestamp.type": "LogAppendTime"})
            self._create("compacted", 1, **{"cleanup.policy": "compact"})
            self._create("segments", 1, **{"segment.bytes": "1048576", "index.interval.bytes": "1024"})
            self._create("trimmed", 1)
            self._create("faithful", 1)
        self._create(f"doomed-{self.round}", 1)
        self._create(f"new-{self.round}", 2, **{"retention.ms": str(1_000_000_000 + self.round)})
        self._produce("plain", 60, partitions=3)
        for codec in CODECS:
            self._produce(f"codec-{codec}", 500, codec=codec)
        self._produce("recompressed", 200, codec="gzip")
        self._produce("append-time", 20, codec="zstd")
        self._produce("compacted", 50)
        self._produce("segments", 2500, size=1000)
        self._produce("trimmed", 30)
        self._produce(f"doomed-{self.round}", 5)
        self._send_faithfully(100)
        self._delete_records("trimmed", 30 * self.round - 10)
        self._commit(f"group-{self.round}", {0: 7, 1: 8})
        self._commit("group", {0: 10 * self.round, 2: 1})
        self._set(ResourceType.TOPIC, "plain", "max.message.bytes", str(500_000 + self.round))
        self._set(ResourceType.BROKER, "1", "log.cleaner.backoff.ms", str(15_000 + self.round))
        self._set_for_all_brokers("log.retention.ms", str(2_000_000_000 + self.round))
        self._grow(f"new-{self.round}", 4)
        self._delete(f"doomed-{self.round}")
        self._await_setting("log.retention.ms", str(2_000_000_000 + self.round))

    def _create(self, topic, partitions, **configs):
        self.admin.create_topics([NewTopic(topic, partitions, 1, config=configs)])[topic].result(WAIT_S)
        self._await_partitions(topic, partitions)

    def _await_partitions(self, topic, partitions):
        def led():
            found = self.admin.list_topics(topic, WAIT_S).topics[topic].partitions
            if len(found) != partitions or any(part.leader < 0 for part in found.values()):
                raise Unexpected(f"{len(found)} partitions")

        retrying(f"{topic} has {partitions} partitions with leaders", led)

    def _produce(self, topic, count, codec="none", partitions=1, size=20):
        producer = Producer({"bootstrap.servers": self.bootstrap, "compression.type": codec, "linger.ms": 5, "batch.size": 16_000, **QUIET})
        for number in range(count):
            value = f"round {self.round} number {number} ".encode().ljust(size, b"v")
            headers = [("round", str(self.round).encode()), ("none", None)] if number % 10 == 0 else None
            producer.produce(topic, key=str(number % 7).encode() if number % 2 else None, value=value if number % 11 else None,
                             headers=headers, partition=number % partitions)
            producer.poll(0)
        if producer.flush(WAIT_S):
            raise Unexpected(f"{topic}: not all records were acknowledged")

    def _send_faithfully(self, count):
        failed = []
        for number in range(count):
            self.faithful.produce("faithful", value=f"{self.round}/{number}".encode(),
                                  on_delivery=lambda error, _: failed.append(error) if error else None)
        if self.faithful.flush(WAIT_S) or failed:
            raise Unexpected(f"the producer that lives through all brokers: {failed[:1] or 'not acknowledged'}")

    def _delete_records(self, topic, before):
        asked = TopicPartition(topic, 0, before)
        self.admin.delete_records([asked])[asked].result(WAIT_S)

    def _commit(self, group, offsets):
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, "enable.auto.commit": False, **QUIET})
        parts = [TopicPartition("plain", partition, offset, metadata=f"round {self.round}") for partition, offset in offsets.items()]
        retrying(f"{group} commits", lambda: consumer.commit(offsets=parts, asynchronous=False))
        consumer.close()

    def _set(self, kind, resource, key, value):
        asked = ConfigResource(kind, resource, incremental_configs=[ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)])
        self.admin.incremental_alter_configs([asked])[asked].result(WAIT_S)

    def _set_for_all_brokers(self, key, value):
        """The client library cannot name "all brokers"; Kafka's tool can."""
        tools.run("configs", "--bootstrap-server", self.bootstrap, "--alter", "--entity-type", "brokers", "--entity-default",
                  "--add-config", f"{key}={value}", status=0)

    def _await_setting(self, key, value):
        """Kafka's broker follows its controller a moment later; what was changed last is seen last."""
        asked = ConfigResource(ResourceType.BROKER, "1")

        def seen():
            if self.admin.describe_configs([asked])[asked].result(WAIT_S)[key].value != value:
                raise Unexpected("not seen")

        retrying(f"{key}={value}", seen)

    def _grow(self, topic, partitions):
        self.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(WAIT_S)
        self._await_partitions(topic, partitions)

    def _delete(self, topic):
        self.admin.delete_topics([topic])[topic].result(WAIT_S)

        def gone():
            if topic in self.admin.list_topics(timeout=WAIT_S).topics:
                raise Unexpected("still listed")

        retrying(f"{topic} is deleted", gone)


def read(bootstrap):
    """All that the broker holds: {"record plain-0 17": (...), "config plain max.message.bytes": "500001", ...}."""
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
    found = {"cluster id": admin.describe_cluster().result(WAIT_S).cluster_id}
    listed = retrying("topics", lambda: admin.list_topics(timeout=WAIT_S))
    topics = sorted(topic for topic in listed.topics if not topic.startswith("__"))
    for topic, future in admin.describe_topics(TopicCollection(topics)).items():
        found[f"topic {topic}"] = (str(future.result(WAIT_S).topic_id), len(listed.topics[topic].partitions))
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics] + [ConfigResource(ResourceType.BROKER, "1")]
    for resource, future in admin.describe_configs(resources).items():
        found.update({f"config {resource.name} {entry.name}": entry.value for entry in future.result(WAIT_S).values() if entry.source in DYNAMIC})
    parts = [TopicPartition(topic, partition) for topic in topics for partition in listed.topics[topic].partitions]
    bounds = retrying("offsets", lambda: _bounds(admin, parts))
    for part, (start, end) in bounds.items():
        found[f"offsets {part[0]}-{part[1]}"] = (start, end)
    found.update(_records(bootstrap, bounds))
    for group in sorted(each.group_id for each in admin.list_consumer_groups().result(WAIT_S).valid):
        offsets = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(WAIT_S)
        found.update({f"commit {group} {at.topic}-{at.partition}": (at.offset, at.metadata) for at in offsets.topic_partitions})
    return found


def _bounds(admin, parts):
    ends = [admin.list_offsets({part: spec for part in parts}) for spec in (OffsetSpec.earliest(), OffsetSpec.latest())]
    return {(part.topic, part.partition): tuple(each[part].result(WAIT_S).offset for each in ends) for part in parts}


def _records(bootstrap, bounds):
    """Every record between the bounds of its partition, with all that a reader can see of it."""
    open_ends = {part: end for part, (start, end) in bounds.items() if end > start}
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reads-without-committing", "enable.auto.commit": False,
                         "enable.partition.eof": True, "fetch.wait.max.ms": 50, "auto.offset.reset": "error", **QUIET})
    consumer.assign([TopicPartition(topic, partition, bounds[topic, partition][0]) for topic, partition in open_ends])
    found, deadline = {}, time.monotonic() + 4 * WAIT_S
    try:
        while open_ends:
            if time.monotonic() > deadline:
                raise Unexpected(f"could not read to the end of {sorted(open_ends)[:5]}")
            for message in consumer.consume(5000, 0.2):
                part = (message.topic(), message.partition())
                if message.error():
                    if message.error().code() != -191:  # -191: the end of the partition
                        raise KafkaException(message.error())
                    open_ends.pop(part, None)
                    continue
                found[f"record {part[0]}-{part[1]} {message.offset()}"] = (message.timestamp(), message.key(), message.value(),
                                                                          message.headers(), message.leader_epoch())
    finally:
        consumer.close()
    return found


def epochs_that_go_back(found):
    """Records whose leader epoch is smaller than that of the record before: clients would drop their metadata and hang."""
    by_partition = {}
    for key, fact in found.items():
        if key.startswith("record "):
            _, part, offset = key.split()
            by_partition.setdefault(part, []).append((int(offset), fact[4]))
    return [f"{part} offset {after[0]}: epoch {after[1]} after {before[1]}" for part, epochs in by_partition.items()
            for before, after in zip(sorted(epochs), sorted(epochs)[1:]) if after[1] < before[1]]


def differences(before, after):
    """What of `before` is not the same in `after`, and what is new there, as short texts."""
    lost = [f"{key}: was {before[key]}, is {after.get(key, 'gone')}" for key in before if before[key] != after.get(key)]
    return lost + [f"{key}: is new: {after[key]}" for key in after if key not in before]
