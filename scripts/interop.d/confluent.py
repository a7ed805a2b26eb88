"""confluent-kafka: librdkafka as most Python and .NET programs use it, with its admin client."""

import time

from confluent_kafka import (Consumer, ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, Producer,
                             TopicPartition)
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource, NewPartitions,
                                   NewTopic, OffsetSpec, ResourceType)

from cases import BOOTSTRAP, Failed, case, eventually, expect, main, name, until

WAIT_S = 20
admin = AdminClient({"bootstrap.servers": BOOTSTRAP})


def create(topic, partitions=1, **configs):
    configs = {key.replace("_", "."): str(value) for key, value in configs.items()}
    admin.create_topics([NewTopic(topic, partitions, 1, config=configs)])[topic].result(WAIT_S)

    def led():
        parts = admin.list_topics(topic, WAIT_S).topics[topic].partitions
        return len(parts) == partitions and all(part.leader == 1 for part in parts.values())

    until(f"{topic} has leaders", led)


def produce(topic, values, **settings):
    """Sends the values in order; returns the delivered messages, or raises the first error."""
    delivered, errors = [], []

    def on_delivery(error, message):
        errors.append(error) if error else delivered.append(message)

    producer = Producer({"bootstrap.servers": BOOTSTRAP, **{key.replace("_", "."): value for key, value in settings.items()}})
    for value in values:
        producer.produce(topic, value=value, partition=0, on_delivery=on_delivery)
        producer.poll(0)
    left = producer.flush(WAIT_S)
    if errors:
        raise KafkaException(errors[0])
    expect(left, 0, "undelivered")
    return delivered


def group_consumer(group, topic, **settings):
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": group, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, **{key.replace("_", "."): value for key, value in settings.items()}})
    consumer.subscribe([topic])
    return consumer


def read(consumer, count):
    """`count` messages, or Failed with what came."""
    got, deadline = [], time.monotonic() + WAIT_S
    while len(got) < count and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        got.append(message)
    if len(got) < count:
        raise Failed(f"expected {count} messages, got {[message.value() for message in got]}")
    return got


def read_all(topic, count):
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": name("unused"), "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        return read(consumer, count)
    finally:
        consumer.close()


def error_code(function):
    """The code of the KafkaException that `function` must raise."""
    try:
        function()
    except KafkaException as error:
        return error.args[0].code()
    raise Failed("expected an error, got none")


@case("admin creates, lists and describes topics")
def _():
    create(name("created"), 3, retention_ms=1234567)
    listed = admin.list_topics(timeout=WAIT_S).topics
    expect(sorted(listed[name("created")].partitions), [0, 1, 2], "partitions")
    described = admin.describe_topics(_topics([name("created")]))[name("created")].result(WAIT_S)
    expect([part.id for part in described.partitions], [0, 1, 2], "described partitions")
    expect(described.is_internal, False, "internal")
    expect([part.leader.id for part in described.partitions], [1, 1, 1], "leaders")


def _topics(names):
    from confluent_kafka import TopicCollection

    return TopicCollection(names)


@case("admin: a topic that exists, a bad name and a bad setting are refused")
def _():
    create(name("twice"))
    expect(error_code(lambda: create(name("twice"))), KafkaError.TOPIC_ALREADY_EXISTS)
    expect(error_code(lambda: create("bad/name")), KafkaError.TOPIC_EXCEPTION)
    expect(error_code(lambda: create(name("bad"), retention_ms="soon")), KafkaError.INVALID_CONFIG)
    expect(error_code(lambda: create(name("zero"), 0)), KafkaError.INVALID_PARTITIONS)


@case("admin: validate_only creates nothing")
def _():
    admin.create_topics([NewTopic(name("dry"), 1, 1)], validate_only=True)[name("dry")].result(WAIT_S)
    expect(name("dry") in admin.list_topics(timeout=WAIT_S).topics, False, "the topic is there")


@case("admin deletes a topic; made again it is empty")
def _():
    topic = name("again")
    create(topic)
    produce(topic, [b"old"])
    admin.delete_topics([topic])[topic].result(WAIT_S)
    until("it is gone", lambda: topic not in admin.list_topics(timeout=WAIT_S).topics)
    create(topic)
    produce(topic, [b"new"])
    message = read_all(topic, 1)[0]
    expect((message.offset(), message.value()), (0, b"new"))


@case("admin adds partitions, never fewer")
def _():
    create(name("grow"), 1)
    admin.create_partitions([NewPartitions(name("grow"), 4)])[name("grow")].result(WAIT_S)
    until("four are listed", lambda: len(admin.list_topics(name("grow"), WAIT_S).topics[name("grow")].partitions) == 4)
    shrink = admin.create_partitions([NewPartitions(name("grow"), 2)])[name("grow")]
    expect(error_code(lambda: shrink.result(WAIT_S)), KafkaError.INVALID_PARTITIONS)


@case("admin describes topic configs with their sources")
def _():
    create(name("configs"), retention_ms=4321)
    entries = _describe(ResourceType.TOPIC, name("configs"))
    expect((entries["retention.ms"].value, entries["retention.ms"].source), ("4321", ConfigSource.DYNAMIC_TOPIC_CONFIG.value))
    expect((entries["cleanup.policy"].value, entries["cleanup.policy"].source), ("delete", ConfigSource.DEFAULT_CONFIG.value))
    expect(entries["segment.bytes"].value, "1073741824")


def _describe(kind, resource):
    asked = ConfigResource(kind, resource)
    return admin.describe_configs([asked])[asked].result(WAIT_S)


@case("admin alters one config incrementally and takes it back")
def _():
    topic = name("alter")
    create(topic, retention_ms=1000)

    def alter(operation, value):
        change = ConfigEntry("max.message.bytes", value, incremental_operation=operation)
        asked = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])
        admin.incremental_alter_configs([asked])[asked].result(WAIT_S)

    alter(AlterConfigOpType.SET, "2000")
    eventually(lambda: [_describe(ResourceType.TOPIC, topic)[key].value for key in ("max.message.bytes", "retention.ms")], ["2000", "1000"])
    expect(error_code(lambda: produce(topic, [b"x" * 5000], compression_type="none")), KafkaError.MSG_SIZE_TOO_LARGE)
    alter(AlterConfigOpType.DELETE, None)
    eventually(lambda: _describe(ResourceType.TOPIC, topic)["max.message.bytes"].value, "1048588")


@case("admin describes the broker's configs and the cluster")
def _():
    entries = _describe(ResourceType.BROKER, "1")
    expect(entries["node.id"].value, "1")
    expect(entries["node.id"].is_read_only, True, "node.id is read only")
    cluster = admin.describe_cluster().result(WAIT_S)
    expect([node.id for node in cluster.nodes], [1], "nodes")
    expect(len(cluster.cluster_id), 22, "length of the cluster id")


def _codec(codec):
    @case(f"idempotent producer, codec {codec}: order and content")
    def _():
        topic = name(f"codec-{codec}")
        create(topic)
        values = [f"{number} ".encode() + b"a" * (number % 200) for number in range(3000)]
        delivered = produce(topic, values, enable_idempotence=True, compression_type=codec, linger_ms=20)
        expect([message.offset() for message in delivered], list(range(3000)), "offsets")
        expect([message.value() for message in read_all(topic, 3000)], values, "values")


for _each in ("none", "gzip", "snappy", "lz4", "zstd"):
    _codec(_each)


@case("a million bytes through many small batches in flight")
def _():
    topic = name("flight")
    create(topic)
    values = [str(number).encode().rjust(100, b".") for number in range(10_000)]
    delivered = produce(topic, values, enable_idempotence=True, batch_size=2000, linger_ms=0)
    expect([message.offset() for message in delivered], list(range(10_000)), "offsets")
    expect([message.value() for message in read_all(topic, 10_000)], values, "values")


@case("keys, headers, null values and timestamps survive")
def _():
    topic = name("parts")
    create(topic)
    producer = Producer({"bootstrap.servers": BOOTSTRAP})
    producer.produce(topic, key=b"k", value=b"v", headers=[("a", b"1"), ("a", b"2"), ("none", None)], timestamp=1_600_000_000_123)
    producer.produce(topic, key=b"gone", value=None, timestamp=1_600_000_000_124)
    expect(producer.flush(WAIT_S), 0, "undelivered")
    first, second = read_all(topic, 2)
    expect((first.key(), first.value(), first.headers()), (b"k", b"v", [("a", b"1"), ("a", b"2"), ("none", None)]))
    expect(first.timestamp(), (1, 1_600_000_000_123), "CreateTime")
    expect((second.key(), second.value(), second.headers()), (b"gone", None, None))


@case("LogAppendTime is the broker's clock")
def _():
    topic = name("append-time")
    create(topic, message_timestamp_type="LogAppendTime")
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "compression.type": "lz4"})
    producer.produce(topic, value=b"v", timestamp=1_000)
    expect(producer.flush(WAIT_S), 0, "undelivered")
    kind, stamp = read_all(topic, 1)[0].timestamp()
    expect(kind, 2, "timestamp type")
    expect(abs(time.time() * 1000 - stamp) < 60_000, True, "it is now")


@case("offsets for times, and the watermarks")
def _():
    topic = name("times")
    create(topic)
    producer = Producer({"bootstrap.servers": BOOTSTRAP})
    for stamp in (1000, 2000, 3000):
        producer.produce(topic, value=b"v", timestamp=1_600_000_000_000 + stamp)
        expect(producer.flush(WAIT_S), 0, "undelivered")
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": name("unused")})
    asked = [TopicPartition(topic, 0, 1_600_000_000_000 + stamp) for stamp in (0, 1500, 3000, 3001)]
    expect([consumer.offsets_for_times([each], WAIT_S)[0].offset for each in asked], [0, 1, 2, -1])
    expect(consumer.get_watermark_offsets(TopicPartition(topic, 0), WAIT_S), (0, 3))
    consumer.close()


@case("admin lists offsets: earliest, latest, of the largest timestamp")
def _():
    topic = name("list-offsets")
    create(topic)
    produce(topic, [b"1", b"2"])

    def listed(spec, **more):
        asked = TopicPartition(topic, 0)
        return admin.list_offsets({asked: spec}, **more)[asked].result(WAIT_S).offset

    expect(listed(OffsetSpec.earliest()), 0, "earliest")
    expect(listed(OffsetSpec.latest()), 2, "latest")
    expect(listed(OffsetSpec.max_timestamp()) in (0, 1), True, "of the largest timestamp")
    expect(listed(OffsetSpec.latest(), isolation_level=IsolationLevel.READ_COMMITTED), 2, "last stable")


@case("admin deletes records; reading begins after them")
def _():
    topic = name("delete-records")
    create(topic)
    produce(topic, [str(number).encode() for number in range(10)])
    asked = TopicPartition(topic, 0, 7)
    result = admin.delete_records([asked])[asked].result(WAIT_S)
    expect(result.low_watermark, 7)
    consumer = group_consumer(name("after-delete"), topic)
    expect([message.value() for message in read(consumer, 3)], [b"7", b"8", b"9"])
    consumer.close()


@case("a consumer group commits, stops and resumes")
def _():
    topic, group = name("resume"), name("resume-group")
    create(topic)
    produce(topic, [str(number).encode() for number in range(10)])
    first = group_consumer(group, topic)
    read(first, 4)
    first.commit(asynchronous=False)
    first.close()
    second = group_consumer(group, topic)
    expect([message.value() for message in read(second, 6)], [b"4", b"5", b"6", b"7", b"8", b"9"])
    second.commit(offsets=[TopicPartition(topic, 0, 10, metadata="all of it")], asynchronous=False)
    committed = second.committed([TopicPartition(topic, 0)], WAIT_S)[0]
    expect((committed.offset, committed.metadata), (10, "all of it"))
    second.close()


def _assigned_pair(strategy):
    @case(f"two members, assignor {strategy}: shared, then handed over")
    def _():
        topic, group = name(f"pair-{strategy}"), name(f"pair-{strategy}")
        create(topic, 4)
        settings = {"partition_assignment_strategy": strategy, "session_timeout_ms": 6000, "heartbeat_interval_ms": 300}
        members = [group_consumer(group, topic, **settings) for _ in range(2)]

        def shared():
            for member in members:
                member.poll(0.1)
            return [len(member.assignment()) for member in members] == [2, 2]

        until("two partitions each", shared)
        together = {part.partition for member in members for part in member.assignment()}
        expect(together, {0, 1, 2, 3}, "together")
        members.pop().close()

        def handed_over():
            members[0].poll(0.1)
            return len(members[0].assignment()) == 4

        until("all four to the one that stays", handed_over)
        members[0].close()


for _each in ("range", "roundrobin", "cooperative-sticky"):
    _assigned_pair(_each)


@case("a static member that comes back keeps its partitions without a rebalance")
def _():
    topic, group = name("static"), name("static")
    create(topic, 2)
    rebalances = []

    def member(instance):
        consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": group, "group.instance.id": instance,
                             "auto.offset.reset": "earliest", "session.timeout.ms": 20000, "heartbeat.interval.ms": 300})
        consumer.subscribe([topic], on_assign=lambda _, parts: rebalances.append((instance, len(parts))))
        return consumer

    stays, leaves = member("stays"), member("leaves")

    def both():
        stays.poll(0.1)
        leaves.poll(0.1)
        return len(stays.assignment()) == len(leaves.assignment()) == 1

    until("one partition each", both)
    mine = leaves.assignment()[0].partition
    leaves.close()
    before = len(rebalances)
    back = member("leaves")

    def returned():
        stays.poll(0.1)
        back.poll(0.1)
        return len(back.assignment()) == 1

    until("it has a partition again", returned)
    expect(back.assignment()[0].partition, mine, "the same partition")
    expect(rebalances[before:], [("leaves", 1)], "assignments since")
    stays.close()
    back.close()


@case("admin lists and describes groups, alters and deletes offsets")
def _():
    topic, group = name("group-admin"), name("group-admin")
    create(topic, 2)
    produce(topic, [b"x"])
    consumer = group_consumer(group, topic, client_id="the-client")
    read(consumer, 1)
    consumer.commit(asynchronous=False)
    described = admin.describe_consumer_groups([group])[group].result(WAIT_S)
    expect((described.state.name, described.partition_assignor), ("STABLE", "range"))
    expect([member.client_id for member in described.members], ["the-client"], "members")
    expect(sorted(part.partition for part in described.members[0].assignment.topic_partitions), [0, 1], "assignment")
    consumer.close()
    listed = admin.list_consumer_groups().result(WAIT_S).valid
    expect([each.state.name for each in listed if each.group_id == group], ["EMPTY"], "listed")
    moved = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 0), TopicPartition(topic, 1, 0)])
    admin.alter_consumer_group_offsets([moved])[group].result(WAIT_S)
    offsets = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(WAIT_S)
    expect(sorted((part.partition, part.offset) for part in offsets.topic_partitions), [(0, 0), (1, 0)])
    admin.delete_consumer_groups([group])[group].result(WAIT_S)
    expect(group in [each.group_id for each in admin.list_consumer_groups().result(WAIT_S).valid], False, "still listed")


main()
