"""Runs Kafka's own tools through scripts/kafka and says what they printed."""

import dataclasses
import signal
import subprocess

from .brokers import KAFKA


class ToolFailed(Exception):
    """A tool ended with another status than it should, or not at all."""


@dataclasses.dataclass
class Said:
    """What a tool left behind."""

    status: int
    out: str
    err: str

    @property
    def lines(self):
        return [line.rstrip() for line in self.out.splitlines() if line.strip()]

    def rows(self, first_header):
        """The table whose header line begins with `first_header`, as dictionaries by column name."""
        lines = self.lines
        at = next((number for number, line in enumerate(lines) if line.split()[:1] == [first_header]), None)
        if at is None:
            raise ToolFailed(f"no table {first_header} in {self.out!r} {self.err!r}")
        header = lines[at].split()
        return [dict(zip(header, line.split())) for line in lines[at + 1:]]


def run(tool, *words, stdin="", wait_s=60, status=None):
    """Runs a tool to its end, whatever its status; with `status` given it must be that."""
    command = [KAFKA, tool, *(str(word) for word in words)]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=wait_s)
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"{tool} {' '.join(command[2:])} did not end in {wait_s} s: {error.stdout} {error.stderr}") from None
    if status is not None and done.returncode != status:
        raise ToolFailed(f"{tool} {' '.join(command[2:])}: status {done.returncode}: {done.stdout} {done.stderr}")
    return Said(done.returncode, done.stdout, done.stderr)


class Running:
    """A tool in the background; what it prints on standard output can be read while it runs."""

    def __init__(self, path, tool, *words):
        self.path = path
        with open(path, "w") as out, open(f"{path}.err", "w") as err:
            self.process = subprocess.Popen([KAFKA, tool, *(str(word) for word in words)], stdout=out, stderr=err,
                                            stdin=subprocess.DEVNULL)

    def lines(self):
        with open(self.path) as file:
            text = file.read()
        whole, _, _ = text.rpartition("\n")
        return whole.splitlines()

    def running(self):
        return self.process.poll() is None

    def wait(self, wait_s):
        try:
            return self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            raise ToolFailed(f"{' '.join(self.process.args[1:])} did not end in {wait_s} s") from None

    def end(self, with_signal=signal.SIGTERM, wait_s=30):
        if self.running():
            self.process.send_signal(with_signal)
            try:
                self.process.wait(wait_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
