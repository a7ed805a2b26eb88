"""Kafka's own command line tools (and so the Java admin client): topics, configs, features, quorum, cluster, log directories."""

import json
import re

from cases import BOOTSTRAP, case, expect, expect_in, main, name
from harness import tools


def run(tool, *words, status=0):
    said = tools.run(tool, "--bootstrap-server", BOOTSTRAP, *words)
    expect(said.status, status, f"status of {tool} {' '.join(words)} ({said.out} {said.err})")
    return said


def fails(reason, tool, *words):
    """The tool must end with 1 and name the reason."""
    said = run(tool, *words, status=1)
    expect_in(reason, said.out + said.err)


def partition_lines(described):
    return [line.strip().split("\t") for line in described.lines if "\tPartition: " in line]


@case("topics: create, list, describe")
def _():
    topic = name("topic")
    expect(run("topics", "--create", "--topic", topic, "--partitions", "3", "--config", "retention.ms=4321").out,
           f"Created topic {topic}.\n")
    expect(topic in run("topics", "--list").lines, True, "listed")
    described = run("topics", "--describe", "--topic", topic)
    head = dict(part.split(": ", 1) for part in described.lines[0].split("\t") if ": " in part)
    expect((head["Topic"], head["PartitionCount"], head["ReplicationFactor"]), (topic, "3", "1"))
    expect(len(head["TopicId"]), 22, "length of the topic id")
    expect_in("retention.ms=4321", head["Configs"])
    for number, line in enumerate(partition_lines(described)):
        expect(line[:5], [f"Topic: {topic}", f"Partition: {number}", "Leader: 1", "Replicas: 1", "Isr: 1"])
    expect(len(partition_lines(described)), 3, "partitions")


@case("topics: what exists, is missing or is wrong is refused")
def _():
    topic = name("refused")
    run("topics", "--create", "--topic", topic)
    run("topics", "--create", "--topic", topic, "--if-not-exists")
    fails(f"Topic '{topic}' already exists.", "topics", "--create", "--topic", topic)
    fails("Unable to replicate the partition 3 time(s)", "topics", "--create", "--topic", name("r3"), "--replication-factor", "3")
    fails("does not exist as expected", "topics", "--describe", "--topic", name("absent"))
    fails("Invalid value", "topics", "--create", "--topic", name("bad"), "--config", "retention.ms=soon")
    fails("Unknown topic config name", "topics", "--create", "--topic", name("bad"), "--config", "no.such.setting=1")


@case("topics: alter partitions, up only")
def _():
    topic = name("alter")
    run("topics", "--create", "--topic", topic, "--partitions", "2")
    run("topics", "--alter", "--topic", topic, "--partitions", "5")
    expect(len(partition_lines(run("topics", "--describe", "--topic", topic))), 5, "partitions")
    fails(f"The topic {topic} currently has 5 partition(s); 3 would not be an increase.",
          "topics", "--alter", "--topic", topic, "--partitions", "3")


@case("topics: describe what is overridden or under-replicated; delete")
def _():
    topic = name("delete")
    run("topics", "--create", "--topic", topic, "--config", "segment.ms=100000")
    expect_in(f"Topic: {topic}\t", run("topics", "--describe", "--topics-with-overrides").out)
    expect(run("topics", "--describe", "--topic", topic, "--under-replicated-partitions").out, "")
    expect(run("topics", "--describe", "--topic", topic, "--unavailable-partitions").out, "")
    run("topics", "--delete", "--topic", topic)
    expect(topic in run("topics", "--list").lines, False, "still listed")


@case("configs: set, list and delete on a topic")
def _():
    topic = name("configs")
    run("topics", "--create", "--topic", topic)
    on = ("--entity-type", "topics", "--entity-name", topic)
    expect(run("configs", *on, "--alter", "--add-config", "max.message.bytes=2000,cleanup.policy=[compact,delete]").out,
           f"Completed updating config for topic {topic}.\n")
    described = run("configs", *on, "--describe").out
    expect_in("  max.message.bytes=2000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:max.message.bytes=2000, "
              "DEFAULT_CONFIG:message.max.bytes=1048588}\n", described)
    expect_in("  cleanup.policy=compact,delete sensitive=false", described)
    run("configs", *on, "--alter", "--delete-config", "max.message.bytes")
    expect("max.message.bytes" in run("configs", *on, "--describe").out, False, "still set")
    everything = run("configs", *on, "--describe", "--all").out
    expect_in("  max.message.bytes=1048588 sensitive=false", everything)
    expect(len(everything.splitlines()) > 30, True, f"--all lists all: {len(everything.splitlines())} lines")
    fails("Unknown topic config name", "configs", *on, "--alter", "--add-config", "no.such.setting=1")


@case("configs: all settings of the broker")
def _():
    said = run("configs", "--entity-type", "brokers", "--entity-name", "1", "--describe", "--all")
    expect(said.lines[0], "All configs for broker 1 are:")
    settings = {}
    for line in said.lines[1:]:
        found = re.match(r"  (\S+)=(.*) sensitive=(true|false) synonyms=\{(.*)\}$", line)
        expect(bool(found), True, f"form of {line!r}")
        settings[found[1]] = found[2]
    expect((settings["node.id"], settings["log.segment.bytes"]), ("1", "1073741824"))
    expect(len(settings) > 200, True, f"there are {len(settings)}")


@case("configs: dynamic settings of one broker and of all")
def _():
    one = ("--entity-type", "brokers", "--entity-name", "1")
    run("configs", *one, "--alter", "--add-config", "log.cleaner.threads=2")
    expect_in("log.cleaner.threads=2 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.cleaner.threads=2, "
              "DEFAULT_CONFIG:log.cleaner.threads=1}", run("configs", *one, "--describe").out)
    run("configs", *one, "--alter", "--delete-config", "log.cleaner.threads")
    expect("log.cleaner.threads" in run("configs", *one, "--describe").out, False, "still set")
    every = ("--entity-type", "brokers", "--entity-default")
    run("configs", *every, "--alter", "--add-config", "log.retention.ms=100000000")
    expect_in("log.retention.ms=100000000 sensitive=false", run("configs", *every, "--describe").out)
    run("configs", *every, "--alter", "--delete-config", "log.retention.ms")
    fails("Cannot update these configs dynamically", "configs", *one, "--alter", "--add-config", "node.id=7")


@case("get-offsets of an empty topic, all partitions")
def _():
    run("topics", "--create", "--topic", name("empty"), "--partitions", "3")
    expect(run("get-offsets", "--topic", name("empty")).lines, [f"{name('empty')}:{number}:0" for number in range(3)])


@case("log-dirs: describe")
def _():
    topic = name("dirs")
    run("topics", "--create", "--topic", topic, "--partitions", "2")
    told = json.loads(run("log-dirs", "--describe", "--topic-list", topic).lines[-1])
    expect(told["version"], 1)
    parts = [part for log_dir in told["brokers"][0]["logDirs"] for part in log_dir["partitions"]]
    expect(sorted(part["partition"] for part in parts), [f"{topic}-0", f"{topic}-1"])
    expect([(part["size"], part["offsetLag"], part["isFuture"]) for part in parts], [(0, 0, False)] * 2)


@case("broker-api-versions: every request is usable by the Java client")
def _():
    said = run("broker-api-versions")
    expect_in(f"{BOOTSTRAP} (id: 1 rack: null isFenced: false) -> (", said.lines[0])
    ranges = {found[1]: found[2] for found in re.finditer(r"\t(\w+)\(\d+\): (.*?),?\n", said.out)}
    for request in ("Produce", "Fetch", "Metadata", "JoinGroup", "InitProducerId", "DescribeConfigs"):
        expect("UNSUPPORTED" in ranges.get(request, "UNSUPPORTED"), False, f"{request} is unsupported")


@case("features: describe")
def _():
    said = run("features", "describe")
    levels = {found[1]: found[2] for found in re.finditer(r"Feature: (\S+)\s.*FinalizedVersionLevel: (\S+)\s", said.out)}
    expect(levels["metadata.version"], "4.3-IV0")
    expect(levels["kraft.version"], "0")


@case("metadata-quorum: status and replication")
def _():
    said = run("metadata-quorum", "describe", "--status")
    told = dict(re.split(r":\s+", line, maxsplit=1) for line in said.lines)
    expect((told["LeaderId"], told["MaxFollowerLag"], told["CurrentObservers"]), ("1", "0", "[]"))
    expect(len(told["ClusterId"]), 22, "length of the cluster id")
    expect([voter["id"] for voter in json.loads(told["CurrentVoters"])], [1], "voters")
    rows = run("metadata-quorum", "describe", "--replication").rows("NodeId")
    expect([(row["NodeId"], row["Lag"], row["Status"]) for row in rows], [("1", "0", "Leader")])
    expect(int(rows[0]["LogEndOffset"]) > 0, True, "the metadata log has records")


@case("cluster: id and endpoints")
def _():
    expect(bool(re.fullmatch(r"Cluster ID: [\w-]{22}\n", run_cluster("cluster-id").out)), True, "form of the id")
    rows = run_cluster("list-endpoints").rows("ID")
    host, _, port = BOOTSTRAP.rpartition(":")
    expect([(row["ID"], row["HOST"], row["PORT"], row["STATE"]) for row in rows], [("1", host, port, "unfenced")])


def run_cluster(command):
    said = tools.run("cluster", command, "--bootstrap-server", BOOTSTRAP, status=0)
    return said


@case("nothing to elect, nothing to reassign")
def _():
    run("leader-election", "--election-type", "preferred", "--all-topic-partitions")
    expect_in("No partition reassignments found.", run("reassign-partitions", "--list").out)


main()
