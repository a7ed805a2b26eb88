"""kafka-python: a client of its own, in pure Python, with the newest versions of many requests."""

import contextlib

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic, OffsetSpec
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import (InvalidConfigurationError, InvalidTopicError, MessageSizeTooLargeError, OffsetOutOfRangeError,
                          TopicAlreadyExistsError, UnknownTopicOrPartitionError)

from cases import BOOTSTRAP, Failed, case, eventually, expect, main, name, until

WAIT_S = 20
admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)


def create(topic, partitions=1, **configs):
    configs = {key.replace("_", "."): str(value) for key, value in configs.items()}
    admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
    until(f"{topic} has leaders", lambda: [part["leader_id"] for part in admin.describe_topics([topic])[0]["partitions"]] == [1] * partitions)


def produce(topic, values, **settings):
    """Sends the values to partition 0 in order; returns what the broker answered for each."""
    with contextlib.closing(KafkaProducer(bootstrap_servers=BOOTSTRAP, **settings)) as producer:
        sent = [producer.send(topic, value, partition=0) for value in values]
        producer.flush(WAIT_S)
        return [each.get(WAIT_S) for each in sent]


def read(consumer, count):
    """`count` records, or Failed with what came."""
    got = []

    def enough():
        for records in consumer.poll(500, max_records=count - len(got)).values():
            got.extend(records)
        return len(got) >= count

    until(f"{count} records", enough)
    return got


def reader(topic, offset=0, **settings):
    consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP, **settings)
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek(TopicPartition(topic, 0), offset)
    return contextlib.closing(consumer)


def member(group, *topics, **settings):
    return KafkaConsumer(*topics, bootstrap_servers=BOOTSTRAP, group_id=group, auto_offset_reset="earliest", heartbeat_interval_ms=300,
                         enable_auto_commit=False, **settings)


def refused(error, function):
    try:
        function()
    except error:
        return
    raise Failed(f"expected {error.__name__}, got no error")


@case("admin creates, lists and describes topics")
def _():
    create(name("created"), 3)
    expect(name("created") in admin.list_topics(), True, "listed")
    topic = admin.describe_topics([name("created")])[0]
    expect((topic["error_code"], topic["is_internal"], len(topic["partitions"])), (0, False, 3))
    absent = admin.describe_topics([name("absent")])[0]
    expect(absent["error_code"], 3, "an unknown topic")


@case("admin: describe topic partitions")
def _():
    create(name("parts"), 2)
    topic = admin.describe_topic_partitions([name("parts")])["topics"][0]
    seen = [(part["partition_index"], part["leader_id"], part["isr_nodes"]) for part in topic["partitions"]]
    expect(seen, [(0, 1, [1]), (1, 1, [1])])


@case("admin: a topic that exists, a bad name and a bad setting are refused")
def _():
    create(name("twice"))
    refused(TopicAlreadyExistsError, lambda: create(name("twice")))
    refused(InvalidTopicError, lambda: create("no spaces"))
    refused(InvalidConfigurationError, lambda: create(name("bad"), retention_ms="soon"))


@case("admin: describe, alter and reset topic configs")
def _():
    topic = name("configs")
    create(topic, retention_ms=4321)
    expect(_described(topic, "all")["retention.ms"], "4321")
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "2000"})])
    eventually(lambda: [_described(topic, "all")[key] for key in ("max.message.bytes", "retention.ms")], ["2000", "4321"], "altered")
    refused(MessageSizeTooLargeError, lambda: produce(topic, [b"x" * 5000]))
    admin.reset_configs([ConfigResource(ConfigResourceType.TOPIC, topic, ["max.message.bytes"])])
    eventually(lambda: _described(topic, "all")["max.message.bytes"], "1048588", "reset")


def _described(topic, which):
    entries = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter=which)["topic"][topic]
    return {key: entry["value"] if isinstance(entry, dict) else entry for key, entry in entries.items()}


@case("admin: cluster, log directories, quorum, features")
def _():
    cluster = admin.describe_cluster()
    expect([each["broker_id"] for each in cluster["brokers"]], [1], "brokers")
    expect(len(cluster["cluster_id"]), 22, "length of the cluster id")
    create(name("dirs"))
    produce(name("dirs"), [b"x" * 100])
    topics = {topic["name"]: topic for each in admin.describe_log_dirs() for log_dir in each["log_dirs"] for topic in log_dir["topics"]}
    size = topics[name("dirs")]["partitions"][0]["partition_size"]
    expect(100 < size < 300, True, f"size {size} is plausible")
    quorum = admin.describe_metadata_quorum()["topics"][0]
    expect((quorum["topic_name"], quorum["partitions"][0]["leader_id"]), ("__cluster_metadata", 1))
    expect(admin.describe_features()["metadata.version"]["finalized"], (30, 30), "metadata.version")


@case("admin adds partitions and deletes topics")
def _():
    topic = name("grow")
    create(topic)
    admin.create_partitions({topic: 3})
    until("three partitions", lambda: len(admin.describe_topics([topic])[0]["partitions"]) == 3)
    admin.delete_topics([topic])
    until("it is gone", lambda: topic not in admin.list_topics())
    refused(UnknownTopicOrPartitionError, lambda: admin.delete_topics([topic]))


def _codec(codec):
    @case(f"idempotent producer, codec {codec}: order and content")
    def _():
        topic = name(f"codec-{codec}")
        create(topic)
        values = [f"{number} ".encode() + b"b" * (number % 200) for number in range(2000)]
        answers = produce(topic, values, enable_idempotence=True, acks="all", linger_ms=20,
                          compression_type=None if codec == "none" else codec)
        expect([answer.offset for answer in answers], list(range(2000)), "offsets")
        with reader(topic) as consumer:
            expect([record.value for record in read(consumer, 2000)], values, "values")


for _each in ("none", "gzip", "snappy", "lz4", "zstd"):
    _codec(_each)


@case("acks 0 and 1 without idempotence")
def _():
    topic = name("acks")
    create(topic)
    produce(topic, [b"zero"], enable_idempotence=False, acks=0)
    produce(topic, [b"one"], enable_idempotence=False, acks=1)
    with reader(topic) as consumer:
        # Without an answer to wait for, the second connection may be faster.
        expect(sorted(record.value for record in read(consumer, 2)), [b"one", b"zero"])


@case("keys, headers, null values and timestamps survive")
def _():
    topic = name("whole")
    create(topic)
    with contextlib.closing(KafkaProducer(bootstrap_servers=BOOTSTRAP)) as producer:
        producer.send(topic, b"v", key=b"k", headers=[("a", b"1"), ("b", b"")], timestamp_ms=1_600_000_000_123).get(WAIT_S)
        producer.send(topic, None, key=b"gone", timestamp_ms=1_600_000_000_124).get(WAIT_S)
    with reader(topic) as consumer:
        first, second = read(consumer, 2)
    expect((first.key, first.value, list(first.headers)), (b"k", b"v", [("a", b"1"), ("b", b"")]))
    expect((first.timestamp, first.timestamp_type), (1_600_000_000_123, 0), "timestamp")
    expect((second.key, second.value, list(second.headers)), (b"gone", None, []))


@case("offsets: beginning, end, for times, out of range")
def _():
    topic = name("offsets")
    create(topic)
    with contextlib.closing(KafkaProducer(bootstrap_servers=BOOTSTRAP)) as producer:
        for stamp in (1000, 2000, 3000):
            producer.send(topic, b"v", timestamp_ms=1_600_000_000_000 + stamp).get(WAIT_S)
    part = TopicPartition(topic, 0)
    with reader(topic) as consumer:
        expect((consumer.beginning_offsets([part])[part], consumer.end_offsets([part])[part]), (0, 3))
        found = consumer.offsets_for_times({part: 1_600_000_001_500})[part]
        expect((found.offset, found.timestamp), (1, 1_600_000_002_000))
        expect(consumer.offsets_for_times({part: 1_600_000_003_001})[part], None, "after the last")
    with reader(topic, 99, auto_offset_reset="none") as consumer:
        refused(OffsetOutOfRangeError, lambda: read(consumer, 1))
    listed = admin.list_partition_offsets({part: OffsetSpec.LATEST})[part]
    expect((listed.offset, listed.leader_epoch), (3, 0))


@case("admin deletes records")
def _():
    topic, part = name("delete-records"), TopicPartition(name("delete-records"), 0)
    create(topic)
    produce(topic, [b"0", b"1", b"2", b"3"])
    expect(admin.delete_records({part: 3})[part]["low_watermark"], 3)
    with reader(topic, 3) as consumer:
        expect(consumer.beginning_offsets([part])[part], 3)
        expect([record.value for record in read(consumer, 1)], [b"3"])


@case("a consumer group commits, stops and resumes")
def _():
    topic, group = name("resume"), name("resume")
    create(topic)
    produce(topic, [str(number).encode() for number in range(10)])
    with contextlib.closing(member(group, topic)) as consumer:
        expect([record.value for record in read(consumer, 4)], [b"0", b"1", b"2", b"3"], "first")
        consumer.commit({TopicPartition(topic, 0): OffsetAndMetadata(4, "four", -1)})
    with contextlib.closing(member(group, topic)) as consumer:
        expect([record.value for record in read(consumer, 6)], [b"4", b"5", b"6", b"7", b"8", b"9"], "second")
        expect(consumer.committed(TopicPartition(topic, 0), metadata=True).metadata, "four")


def _pair(title, assignor):
    @case(f"two members, assignor {title}: shared, then handed over")
    def _():
        topic, group = name(f"pair-{title}"), name(f"pair-{title}")
        create(topic, 4)
        members = [member(group, topic, partition_assignment_strategy=[assignor]) for _ in range(2)]

        def shared():
            for each in members:
                each.poll(200)
            return [len(each.assignment()) for each in members] == [2, 2]

        until("two partitions each", shared)
        expect({part.partition for each in members for part in each.assignment()}, {0, 1, 2, 3}, "together")
        members.pop().close()
        until("all four to the one that stays", lambda: members[0].poll(200) is not None and len(members[0].assignment()) == 4)
        members[0].close()


_pair("range", RangePartitionAssignor)
_pair("cooperative-sticky", CooperativeStickyAssignor)


@case("admin lists, describes, resets and deletes groups")
def _():
    topic, group = name("group-admin"), name("group-admin")
    create(topic)
    produce(topic, [b"0", b"1"])
    with contextlib.closing(member(group, topic, client_id="the-client")) as consumer:
        read(consumer, 2)
        consumer.commit()
        described = admin.describe_groups([group])[group]
        expect((described["group_state"], described["protocol_data"]), ("Stable", "range"))
        expect([each["client_id"] for each in described["members"]], ["the-client"])
        assigned = described["members"][0]["member_assignment"]["assigned_partitions"]
        expect(assigned, [{"topic": topic, "partitions": [0]}])
    part = TopicPartition(topic, 0)
    expect([each["group_state"] for each in admin.list_groups() if each["group_id"] == group], ["Empty"], "listed")
    expect(admin.list_group_offsets([group])[group][part].offset, 2, "committed")
    admin.reset_group_offsets(group, {part: OffsetSpec.EARLIEST})
    expect(admin.list_group_offsets([group])[group][part].offset, 0, "reset")
    admin.delete_group_offsets(group, [part])
    until("its offset is gone", lambda: part not in admin.list_group_offsets([group])[group])
    # A group without offsets, members and generation may be gone by now; delete only what is still there.
    if group in [each["group_id"] for each in admin.list_groups()]:
        admin.delete_groups([group])
    expect(group in [each["group_id"] for each in admin.list_groups()], False, "still listed")


main()
