"""What a figure belongs to: machine, kernel, filesystem, commit, date and command. And what must be installed first."""

import contextlib
import datetime
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def facts(directory):
    """Names and values, for the head of every report. `directory` is where the brokers keep their data."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join([os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]]),
        "commit": commit(),
        **given(),
        "kernel": " ".join((os.uname().sysname, os.uname().release, os.uname().machine)),
        "processor": f"{os.cpu_count()} x {processor()}",
        "memory": f"{memory_mb('MemTotal') / 1000:.1f} GB",
        "filesystem": filesystem(directory),
    }


def commit():
    """The commit of this tree, and whether something in it is not committed."""
    def git(*words):
        return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True).stdout.strip()

    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + (" with changes" if git("status", "--porcelain", "-uno") else "")


def given():
    """The programs that were not built from this tree here."""
    names = {"kringle": "KRINGLE_BIN", "kringle-bench": "KRINGLE_BENCH_BIN"}
    return {name: f"{variable}={os.environ[variable]}, which may be of another commit" for name, variable in names.items() if variable in os.environ}


def processor():
    """The processor's name, as the kernel prints it."""
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def memory_mb(field):
    """A field of /proc/meminfo, in MB of 10^6 bytes."""
    line = next(line for line in pathlib.Path("/proc/meminfo").read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024 / 1e6


def filesystem(directory):
    """Type, device and options of the filesystem that `directory` lies on."""
    found = subprocess.run(["findmnt", "-no", "FSTYPE,SOURCE,OPTIONS", "-T", str(directory)], capture_output=True, text=True)
    return " ".join(found.stdout.split()) or "unknown"


def need(*commands):
    """Ends the program with one line if a command is missing."""
    packages = {"java": "openjdk-17-jre-headless", "mvn": "maven", "cargo": "cargo (https://rustup.rs)", "perf": "linux-perf",
                "findmnt": "util-linux"}
    missing = [command for command in commands if not shutil.which(command)]
    if missing:
        sys.exit(f"error: this needs {' and '.join(missing)}. On Debian: apt-get install "
                 + " ".join(packages.get(command, command) for command in missing))


@contextlib.contextmanager
def work_directory():
    """Where brokers under test keep their data: on a disk (a temporary directory may be memory), empty, and deleted in the end."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "kringle"
    for left in cache.glob("compare-*"):
        # A run that was killed leaves what its brokers wrote, which may be much.
        if not pathlib.Path("/proc", left.name.removeprefix("compare-")).exists():
            print(f"removing {left}, left by a run that was killed", file=sys.stderr)
            shutil.rmtree(left, ignore_errors=True)
    work = cache / f"compare-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
