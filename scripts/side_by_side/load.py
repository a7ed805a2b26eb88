"""Runs `kringle-bench raw` against a broker."""

import json
import pathlib
import resource
import subprocess
import time

from .contestants import bench_binary


def command(what, broker, topic, partitions, options=""):
    """The words of one run; its CPU time is the broker's."""
    words = [bench_binary(), "raw", what, "--broker", f"127.0.0.1:{broker.port}", "--topic", topic, "--partitions", str(partitions)]
    if what != "create":
        words += ["--pid", str(broker.process.pid)]
    return words + options.split()


def create(broker, topic, partitions):
    """Creates a topic."""
    subprocess.run(command("create", broker, topic, partitions), check=True)


def run(what, broker, topic, partitions, options):
    """One run; the figures, or why there are none as `failed`. With them how many cores the generator itself took: it has one thread,
    and near 1 it is the generator that is measured."""
    before, began = generators_cpu_s(), time.monotonic()
    figures = result(subprocess.run(command(what, broker, topic, partitions, options), capture_output=True, text=True))
    return {**figures, "generator_cores": (generators_cpu_s() - before) / (time.monotonic() - began)}


def generators_cpu_s():
    """CPU time of all generators that have ended, seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Beside:
    """A run in the background: a load that others are measured beside."""

    def __init__(self, what, broker, topic, partitions, options):
        self.process = subprocess.Popen(command(what, broker, topic, partitions, options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def figures(self):
        """Waits for its end."""
        out, err = self.process.communicate()
        return result(subprocess.CompletedProcess(self.process.args, self.process.returncode, out, err))


def result(done):
    """What a run printed."""
    if done.stdout.startswith("{"):
        return json.loads(done.stdout)
    return {"failed": done.stderr.strip() or f"exit {done.returncode}"}


def rss_mb(broker):
    """Resident memory of a broker, MB of 2^20 bytes as `ps` counts them."""
    return status_kib(broker, "VmRSS") / 1024


def status_kib(broker, field):
    """A field of the broker's /proc/PID/status that is in kB."""
    status = pathlib.Path(f"/proc/{broker.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(field + ":")).split()[1])


def cpu_s(broker):
    """CPU time of a broker so far, seconds."""
    fields = pathlib.Path(f"/proc/{broker.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def descriptors(broker):
    """How many descriptors the broker holds."""
    return len(list(pathlib.Path(f"/proc/{broker.process.pid}/fd").iterdir()))
