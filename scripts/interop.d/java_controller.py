"""Kafka's tools at the controller's listener (`--bootstrap-controller`), which the broker's quorum names."""

import json
import re

from cases import BOOTSTRAP, case, expect, expect_in, main, name
from harness import tools


def quorum(option, bootstrap):
    said = tools.run("metadata-quorum", option, bootstrap, "describe", "--status", status=0)
    return dict(re.split(r":\s+", line, maxsplit=1) for line in said.lines)


def controller():
    endpoint = json.loads(quorum("--bootstrap-server", BOOTSTRAP)["CurrentVoters"])[0]["endpoints"][0]
    return endpoint.removeprefix("CONTROLLER://")


CONTROLLER = controller()


def run(tool, *words, status=0):
    said = tools.run(tool, *words, "--bootstrap-controller", CONTROLLER)
    expect(said.status, status, f"status of {tool} {' '.join(words)} ({said.out} {said.err})")
    return said


@case("metadata-quorum: the same status as at the broker")
def _():
    here, there = quorum("--bootstrap-controller", CONTROLLER), quorum("--bootstrap-server", BOOTSTRAP)
    for changing in ("HighWatermark", "MaxFollowerLagTimeMs"):
        here.pop(changing), there.pop(changing)
    expect(here, there)


@case("cluster: the endpoint of the controller")
def _():
    host, _, port = CONTROLLER.rpartition(":")
    rows = run("cluster", "list-endpoints").rows("ID")
    expect([(row["ID"], row["HOST"], row["PORT"], row["ENDPOINT_TYPE"]) for row in rows], [("1", host, port, "controller")])
    expect(run("cluster", "cluster-id").out, tools.run("cluster", "cluster-id", "--bootstrap-server", BOOTSTRAP, status=0).out)


@case("features: the same levels as at the broker")
def _():
    def levels(said):
        return dict(re.findall(r"Feature: (\S+)\s.*FinalizedVersionLevel: (\S+)\s", said.out))
    here = levels(tools.run("features", "--bootstrap-controller", CONTROLLER, "describe", status=0))
    expect(here["metadata.version"], "4.3-IV0")
    expect(here, levels(tools.run("features", "--bootstrap-server", BOOTSTRAP, "describe", status=0)))


@case("configs: set at the controller, seen at the broker")
def _():
    one = ("--entity-type", "brokers", "--entity-name", "1")
    run("configs", *one, "--alter", "--add-config", "log.cleaner.threads=2")
    wanted = "log.cleaner.threads=2 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.cleaner.threads=2"
    expect_in(wanted, run("configs", *one, "--describe").out)
    expect_in(wanted, tools.run("configs", "--bootstrap-server", BOOTSTRAP, *one, "--describe", status=0).out)
    run("configs", *one, "--alter", "--delete-config", "log.cleaner.threads")
    expect("log.cleaner.threads" in run("configs", *one, "--describe").out, False, "still set")


@case("topics cannot be asked for there, nor by a tool that takes it for a broker")
def _():
    expect_in("bootstrap-controller is not a recognized option", run("topics", "--list", status=1).err)
    said = tools.run("topics", "--bootstrap-server", CONTROLLER, "--describe", "--topic", name("absent"))
    expect(said.status, 1, "status")
    expect_in("The node does not support METADATA", said.out + said.err)


main()
