"""aiokafka: asyncio; it speaks old, non-flexible versions of most requests."""

import asyncio
import contextlib

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import MessageSizeTooLargeError

from cases import BOOTSTRAP, Failed, case, expect, main, name

WAIT_S = 20


def async_case(title):
    """A case that gets a started admin client."""

    def add(function):
        async def run():
            async with running(AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP), stop="close") as admin:
                await asyncio.wait_for(function(admin), 60)

        case(title)(lambda: asyncio.run(run()))

    return add


@contextlib.asynccontextmanager
async def running(client, stop="stop"):
    await client.start()
    try:
        yield client
    finally:
        await getattr(client, stop)()


async def create(admin, topic, partitions=1, **configs):
    """The broker's error code for the topic."""
    configs = {key.replace("_", "."): str(value) for key, value in configs.items()}
    answer = await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
    code = answer.topic_errors[0][1]
    if code == 0:
        async def leaders():
            return [part["leader"] for part in (await admin.describe_topics([topic]))[0]["partitions"]]

        await eventually(leaders, [1] * partitions, f"{topic} has leaders")
    return code


async def produce(topic, values, **settings):
    async with running(AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, **settings)) as producer:
        sent = [await producer.send(topic, value, partition=0) for value in values]
        return [await each for each in sent]


async def read(consumer, count):
    got = []
    try:
        while len(got) < count:
            got.append(await asyncio.wait_for(consumer.getone(), WAIT_S))
    except asyncio.TimeoutError:
        raise Failed(f"expected {count} records, got {[record.value for record in got]}") from None
    return got


async def read_all(topic, count):
    async with running(AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP)) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        consumer.seek(TopicPartition(topic, 0), 0)
        return await read(consumer, count)


def member(group, topic, **settings):
    return AIOKafkaConsumer(topic, bootstrap_servers=BOOTSTRAP, group_id=group, auto_offset_reset="earliest", heartbeat_interval_ms=300,
                            enable_auto_commit=False, **settings)


async def wait_for(what, check):
    async def now():
        return bool(check())

    await eventually(now, True, what)


async def eventually(get, wanted, what="answer"):
    """Kafka answers an admin request when its controller has decided; another request may see the old state for a moment."""
    for _ in range(WAIT_S * 20):
        got = await get()
        if got == wanted:
            return
        await asyncio.sleep(0.05)
    expect(got, wanted, f"{what}, even after {WAIT_S} s")


@async_case("admin creates, lists, describes and deletes topics")
async def _(admin):
    expect(await create(admin, name("created"), 3), 0, "create")
    expect(await create(admin, name("created"), 3), 36, "create again")
    expect(await create(admin, "a/b"), 17, "a bad name")
    expect(name("created") in await admin.list_topics(), True, "listed")
    described = (await admin.describe_topics([name("created")]))[0]
    expect([(part["partition"], part["leader"], part["isr"]) for part in described["partitions"]], [(n, 1, [1]) for n in range(3)])
    await admin.create_partitions({name("created"): NewPartitions(5)})

    async def count():
        return len((await admin.describe_topics([name("created")]))[0]["partitions"])

    await eventually(count, 5, "partitions after adding")
    answer = await admin.delete_topics([name("created")])
    expect(answer.topic_error_codes, [(name("created"), 0)], "delete")

    async def listed():
        return name("created") in await admin.list_topics()

    await eventually(listed, False, "still listed")


@async_case("admin describes and alters configs (the older, not incremental request)")
async def _(admin):
    topic = name("configs")
    await create(admin, topic, retention_ms=4321)

    async def value(key):
        answer = (await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))[0]
        return {entry[0]: entry[1] for entry in answer.resources[0][4]}[key]

    expect(await value("retention.ms"), "4321")
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "2000"})])
    await eventually(lambda: value("max.message.bytes"), "2000", "altered")
    expect(await value("retention.ms"), "604800000", "what is not named goes back to its default")
    try:
        await produce(topic, [b"x" * 5000])
    except MessageSizeTooLargeError:
        return
    raise Failed("a record above max.message.bytes was taken")


@async_case("admin describes the cluster")
async def _(admin):
    cluster = await admin.describe_cluster()
    expect([node["node_id"] for node in cluster["brokers"]], [1])
    expect(len(cluster["cluster_id"]), 22, "length of the cluster id")


def _codec(codec):
    @async_case(f"idempotent producer, codec {codec}: order and content")
    async def _(admin):
        topic = name(f"codec-{codec}")
        await create(admin, topic)
        values = [f"{number} ".encode() + b"c" * (number % 200) for number in range(2000)]
        answers = await produce(topic, values, enable_idempotence=True, linger_ms=20,
                                compression_type=None if codec == "none" else codec)
        expect([answer.offset for answer in answers], list(range(2000)), "offsets")
        expect([record.value for record in await read_all(topic, 2000)], values, "values")


for _each in ("none", "gzip", "snappy", "lz4", "zstd"):
    _codec(_each)


@async_case("acks 0 and 1")
async def _(admin):
    topic = name("acks")
    await create(admin, topic)
    async with running(AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, acks=0)) as producer:
        await producer.send_and_wait(topic, b"zero", partition=0)
    await produce(topic, [b"one"], acks=1)
    # Without an answer to wait for, the second connection may be faster.
    expect(sorted(record.value for record in await read_all(topic, 2)), [b"one", b"zero"])


@async_case("keys, headers, null values and timestamps survive")
async def _(admin):
    topic = name("whole")
    await create(admin, topic)
    async with running(AIOKafkaProducer(bootstrap_servers=BOOTSTRAP)) as producer:
        await producer.send_and_wait(topic, b"v", key=b"k", headers=[("a", b"1"), ("b", b"")], timestamp_ms=1_600_000_000_123)
        await producer.send_and_wait(topic, None, key=b"gone", timestamp_ms=1_600_000_000_124)
    first, second = await read_all(topic, 2)
    expect((first.key, first.value, first.headers), (b"k", b"v", (("a", b"1"), ("b", b""))))
    expect((first.timestamp, first.timestamp_type), (1_600_000_000_123, 0), "timestamp")
    expect((second.key, second.value), (b"gone", None))


@async_case("offsets: beginning, end, for times")
async def _(admin):
    topic, part = name("offsets"), TopicPartition(name("offsets"), 0)
    await create(admin, topic)
    async with running(AIOKafkaProducer(bootstrap_servers=BOOTSTRAP)) as producer:
        for stamp in (1000, 2000, 3000):
            await producer.send_and_wait(topic, b"v", timestamp_ms=1_600_000_000_000 + stamp)
    async with running(AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP)) as consumer:
        consumer.assign([part])
        expect((await consumer.beginning_offsets([part]), await consumer.end_offsets([part])), ({part: 0}, {part: 3}))
        found = (await consumer.offsets_for_times({part: 1_600_000_001_500}))[part]
        expect((found.offset, found.timestamp), (1, 1_600_000_002_000))


@async_case("admin deletes records")
async def _(admin):
    topic, part = name("delete-records"), TopicPartition(name("delete-records"), 0)
    await create(admin, topic)
    await produce(topic, [b"0", b"1", b"2"])
    expect(await admin.delete_records({part: RecordsToDelete(2)}), {part: 2})
    async with running(member(name("after-delete"), topic)) as consumer:
        expect([record.value for record in await read(consumer, 1)], [b"2"])


@async_case("a consumer group commits, stops and resumes")
async def _(admin):
    topic, group, part = name("resume"), name("resume"), TopicPartition(name("resume"), 0)
    await create(admin, topic)
    await produce(topic, [str(number).encode() for number in range(10)])
    async with running(member(group, topic)) as consumer:
        await read(consumer, 4)
        await consumer.commit({part: (4, "four")})
    async with running(member(group, topic)) as consumer:
        expect([record.value for record in await read(consumer, 6)], [b"4", b"5", b"6", b"7", b"8", b"9"])
    offsets = await admin.list_consumer_group_offsets(group)
    expect({part: (at.offset, at.metadata) for part, at in offsets.items()}, {part: (4, "four")})


@async_case("admin lists and describes groups, finds the coordinator")
async def _(admin):
    topic, group = name("described"), name("described")
    await create(admin, topic, 2)
    await produce(topic, [b"0"])
    async with running(member(group, topic, client_id="the-client")) as consumer:
        await read(consumer, 1)
        described = (await admin.describe_consumer_groups([group]))[0].groups[0]
        expect(described[:5], (0, group, "Stable", "consumer", "roundrobin"))
        expect([each[1] for each in described[5]], ["the-client"], "client ids")
    expect((group, "consumer") in await admin.list_consumer_groups(), True, "listed")
    expect(await admin.find_coordinator(group), 1, "coordinator")


def _pair(title, assignor):
    @async_case(f"two members, assignor {title}: shared, then handed over")
    async def _(admin):
        topic, group = name(f"pair-{title}"), name(f"pair-{title}")
        await create(admin, topic, 4)
        async with running(member(group, topic, partition_assignment_strategy=[assignor])) as stays:
            async with running(member(group, topic, partition_assignment_strategy=[assignor])) as leaves:
                await wait_for("two partitions each", lambda: len(stays.assignment()) == len(leaves.assignment()) == 2)
                expect({part.partition for part in stays.assignment() | leaves.assignment()}, {0, 1, 2, 3}, "together")
            await wait_for("all four to the one that stays", lambda: len(stays.assignment()) == 4)


_pair("range", RangePartitionAssignor)
_pair("roundrobin", RoundRobinPartitionAssignor)
_pair("sticky", StickyPartitionAssignor)

main()
