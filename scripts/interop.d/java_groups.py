"""kafka-consumer-groups: what it lists, describes, resets and deletes."""

import re

from cases import BOOTSTRAP, case, expect, expect_in, main, name, until
from harness import tools

SERVER = ("--bootstrap-server", BOOTSTRAP)


def run(tool, *words, stdin="", status=0):
    return tools.run(tool, *SERVER, *words, stdin=stdin, status=status)


def groups(*words):
    return run("consumer-groups", *words)


def topic_with(topic, count, partitions=1):
    run("topics", "--create", "--topic", topic, "--partitions", str(partitions))
    run("console-producer", "--topic", topic, stdin="".join(f"{number}\n" for number in range(count)))


def group_that_read(group, topic, count):
    run("console-consumer", "--topic", topic, "--group", group, "--from-beginning", "--max-messages", str(count), "--timeout-ms", "20000")


def committed(group):
    return {int(row["PARTITION"]): row["CURRENT-OFFSET"] for row in groups("--describe", "--group", group).rows("GROUP")}


class Live:
    """A consumer that stays in its group until the block ends."""

    def __init__(self, group, topic, *properties):
        self.group = group
        words = [word for each in ("client.id=live-client", *properties) for word in ("--command-property", each)]
        self.tool = tools.Running(f"{group}.out", "console-consumer", *SERVER, "--topic", topic, "--group", group, *words)

    def __enter__(self):
        until("the group is stable", lambda: "Stable" in groups("--describe", "--group", self.group, "--state").out)
        return self

    def __exit__(self, *_):
        self.tool.end()


@case("list, with states and by state")
def _():
    topic, group = name("list"), name("list")
    topic_with(topic, 3)
    group_that_read(group, topic, 2)
    expect(group in groups("--list").lines, True, "listed")
    states = {row["GROUP"]: row["STATE"] for row in groups("--list", "--state").rows("GROUP")}
    expect(states[group], "Empty")
    expect_in(group, groups("--list", "--state", "Empty").out)
    expect(group in groups("--list", "--state", "Stable").out, False, "listed as stable")
    kinds = {row["GROUP"]: row for row in run("groups", "--list").rows("GROUP")}
    expect(kinds[group], {"GROUP": group, "TYPE": "Classic", "PROTOCOL": "consumer"})


@case("describe offsets and lag of an empty group")
def _():
    topic, group = name("lag"), name("lag")
    topic_with(topic, 10)
    group_that_read(group, topic, 4)
    said = groups("--describe", "--group", group)
    expect_in(f"Consumer group '{group}' has no active members.", said.err + said.out)
    row = said.rows("GROUP")[0]
    expect([row[column] for column in ("TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID")],
           [topic, "0", "4", "10", "6", "-"])


@case("describe a live group: offsets, members, state")
def _():
    topic, group = name("live"), name("live")
    topic_with(topic, 3, 2)
    with Live(group, topic):
        rows = groups("--describe", "--group", group, "--offsets").rows("GROUP")
        expect([(row["TOPIC"], row["PARTITION"], row["HOST"], row["CLIENT-ID"]) for row in rows],
               [(topic, str(number), "/127.0.0.1", "live-client") for number in range(2)])
        said = groups("--describe", "--group", group, "--members", "--verbose")
        row = said.rows("GROUP")[0]
        expect((row["#PARTITIONS"], row["CURRENT-ASSIGNMENT"], row["CLIENT-ID"]), ("2", f"{topic}:0,1", "live-client"))
        expect(bool(re.fullmatch(r"live-client-[0-9a-f-]{36}", row["CONSUMER-ID"])), True, f"form of {row['CONSUMER-ID']}")
        state = groups("--describe", "--group", group, "--state").lines[-1].split()
        expect(state, [group, BOOTSTRAP, "(1)", "range", "Stable", "1"])
        refused = groups("--delete", "--group", group)
        expect_in("The group is not empty.", refused.out)
        refused = tools.run("consumer-groups", *SERVER, "--reset-offsets", "--to-earliest", "--execute", "--group", group, "--topic", topic)
        expect_in("Assignments can only be reset if the group", refused.out + refused.err)


@case("a static member shows its instance id")
def _():
    topic, group = name("static"), name("static")
    topic_with(topic, 1)
    with Live(group, topic, "group.instance.id=chair-1"):
        row = groups("--describe", "--group", group, "--members").rows("GROUP")[0]
        expect((row["CONSUMER-ID"].startswith("chair-1-"), row["GROUP-INSTANCE-ID"]), (True, "chair-1"))


@case("reset-offsets: to earliest, latest, offset, by shift, dry run, to a time")
def _():
    topic, group = name("reset"), name("reset")
    topic_with(topic, 10)
    group_that_read(group, topic, 4)
    on = ("--reset-offsets", "--group", group, "--topic", topic)

    def reset(*words):
        rows = groups(*on, *words).rows("GROUP")
        return [(row["TOPIC"], row["PARTITION"], row["NEW-OFFSET"]) for row in rows]

    expect(reset("--shift-by", "2", "--dry-run"), [(topic, "0", "6")], "dry run")
    expect(committed(group), {0: "4"}, "after the dry run")
    for words, wanted in ((("--to-earliest",), "0"), (("--shift-by", "3"), "3"), (("--shift-by", "-1"), "2"), (("--to-offset", "8"), "8"),
                          (("--to-datetime", "2020-01-01T00:00:00.000"), "0"), (("--to-latest",), "10"), (("--by-duration", "PT1H"), "0"),
                          (("--to-current",), "0")):
        expect(reset(*words, "--execute"), [(topic, "0", wanted)], " ".join(words))
    expect(committed(group), {0: "0"}, "in the end")
    expect(groups("--reset-offsets", "--group", group, "--all-topics", "--to-latest", "--export", "--dry-run").lines, [f"{topic},0,10"])


@case("delete-offsets of a topic, then the group")
def _():
    topic, group = name("delete"), name("delete")
    topic_with(topic, 3)
    group_that_read(group, topic, 2)
    said = groups("--delete-offsets", "--group", group, "--topic", topic)
    expect_in(f"Request succeeded for deleting offsets from group {group}.", said.out)
    expect(said.lines[-1].split(), [topic, "0", "Successful"])
    group_that_read(group, topic, 1)
    expect_in(f"Deletion of requested consumer groups ('{group}') was successful.", groups("--delete", "--group", group).out)
    expect(group in groups("--list").lines, False, "still listed")
    gone = tools.run("consumer-groups", *SERVER, "--describe", "--group", group)
    expect_in(f"Group {group} not found.", gone.out + gone.err)


main()
