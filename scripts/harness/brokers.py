"""Starts and stops one broker, Kringle or Apache Kafka, on a directory and a port of its own.

A broker started here is ended here, by its own process id; nothing else on the machine is signalled.
Whatever it prints goes to a log file that a failure can name.
"""

import base64
import os
import pathlib
import signal
import socket
import subprocess
import time
import uuid

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent
KAFKA = str(SCRIPTS / "kafka")
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60


class BrokerFailed(Exception):
    """The broker did not start, or did not stop as it should; the message says what it printed last."""


def free_port():
    """A TCP port that is free together with the one after it (Kafka's controller listens there)."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def kringle_binary():
    """KRINGLE_BIN, or the release build of this tree, which is made (or found up to date) here."""
    if "KRINGLE_BIN" in os.environ:
        return os.path.abspath(os.environ["KRINGLE_BIN"])
    root = SCRIPTS.parent
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=root, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", str(root / "target"))
    return os.path.abspath(os.path.join(root, target, "release", "kringle"))


def server_properties(path, directory, port, quorum="voters", **more):
    """Writes a server.properties that means the same to both brokers.

    `quorum` says how the one controller is named: `voters` (the static list, and a plain format) or `bootstrap`
    (what Kafka's own sample file does, which wants `format --standalone`).
    """
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{port + 1}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(directory),
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
    }
    if quorum == "voters":
        settings["controller.quorum.voters"] = f"1@127.0.0.1:{port + 1}"
    else:
        settings["controller.quorum.bootstrap.servers"] = f"127.0.0.1:{port + 1}"
    settings.update({name.replace("_", "."): str(value) for name, value in more.items()})
    pathlib.Path(path).write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return path


def format_directory(properties, *words):
    """What `kafka-storage.sh format` does, with a new cluster id; `words` may be --standalone."""
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
    done = subprocess.run([KAFKA, "storage", "format", "--cluster-id", cluster_id, "--config", str(properties), *words],
                          capture_output=True, text=True)
    if done.returncode:
        raise BrokerFailed(f"storage format: {done.stdout} {done.stderr}")
    return cluster_id


class Broker:
    """One broker process. `command` runs in the foreground; a second `start` opens the same directory again."""

    def __init__(self, kind, command, port, log_path):
        self.kind, self.command, self.port, self.log_path = kind, command, port, pathlib.Path(log_path)
        self.bootstrap = f"127.0.0.1:{port}"
        self.process = None

    @classmethod
    def fresh(cls, kind, work, overrides=()):
        """A broker on an empty directory under `work`, with the settings the scripts agree on."""
        port, directory = free_port(), os.path.join(work, f"{kind}-data")
        overrides = list(overrides)
        if kind == "kafka":
            command = [KAFKA, "broker", directory, str(port), *overrides]
        else:
            # What scripts/kafka gives Apache Kafka.
            settings = ["process.roles=broker,controller", "node.id=1", f"controller.quorum.voters=1@127.0.0.1:{port + 1}",
                        f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{port + 1}",
                        "controller.listener.names=CONTROLLER", f"log.dirs={directory}",
                        "group.initial.rebalance.delay.ms=0", "kringle.shards=2", *overrides]
            command = [kringle_binary(), *(word for setting in settings for word in ("--override", setting))]
        return cls(kind, command, port, os.path.join(work, f"{kind}.log"))

    @classmethod
    def on_file(cls, kind, properties, port, log_path):
        """A broker that reads `properties`; the same file serves both kinds."""
        if kind == "kafka":
            command = [KAFKA, "server", str(properties)]
        else:
            command = [kringle_binary(), str(properties)]
        return cls(kind, command, port, log_path)

    def start(self):
        """Returns once the broker answers on its port. Both brokers open it only when they can serve."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while time.monotonic() < deadline:
                if self.process.poll() is not None:
                    raise BrokerFailed(f"{self.kind} ended with status {self.process.returncode}: {self.last_words()}")
                if self._serves():
                    return self
                time.sleep(0.01)
            raise BrokerFailed(f"{self.kind} did not open port {self.port} in {START_TIMEOUT_S} s: {self.last_words()}")
        except BaseException:
            self.kill()  # an interrupt too leaves nothing behind
            raise

    def _serves(self):
        """An ApiVersions request (version 0, no client id) is answered, not only accepted."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as conn:
                conn.sendall(bytes.fromhex("0000000a" "0012" "0000" "00000001" "ffff"))
                return len(conn.recv(4)) == 4
        except OSError:
            return False

    def stop(self):
        """A clean stop: SIGTERM and an orderly end. Returns how many seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BrokerFailed(f"{self.kind} did not stop in {STOP_TIMEOUT_S} s after SIGTERM") from None
        # A JVM that SIGTERM ends reports 128 + 15 although its shutdown hooks ran to the end.
        if status not in (0, 128 + signal.SIGTERM):
            raise BrokerFailed(f"{self.kind} stopped with status {status}: {self.last_words()}")
        return time.monotonic() - began

    def kill(self):
        """What a power cut does to a process: SIGKILL."""
        self.process.kill()
        self.process.wait()

    def last_words(self):
        """The end of its log, in one line."""
        lines = self.log_path.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:]) or "(printed nothing)"

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            try:
                self.stop()
            except BrokerFailed:
                pass
            finally:
                self.kill()
