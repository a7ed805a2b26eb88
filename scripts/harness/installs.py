"""Fetches what the client programs need into the user's cache: pinned versions, through the ordinary package clients.

Each `need_*` is cheap when all is there, and says what it is doing when it is not.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "kringle"

# Command -> the Debian package that has it.
DEBIAN = {"java": "openjdk-17-jre-headless", "mvn": "maven", "kcat": "kcat", "node": "nodejs", "npm": "npm", "go": "golang-go"}


class Missing(Exception):
    """Something cannot be installed from here; the message says what to do."""


def need_commands(*commands):
    """Installs the Debian packages of those commands that are missing."""
    missing = sorted({DEBIAN[command] for command in commands if not shutil.which(command)})
    if missing:
        _apt(missing)


def _apt(packages):
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    print(f"     installing {' '.join(packages)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
            subprocess.run([*as_root, "apt-get", *words], env=environment, check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Missing(f"please install: apt-get install {' '.join(packages)} ({getattr(error, 'stderr', None) or error})") from None


def _once(name, inputs, build):
    """Builds a cache folder named after the content of `inputs`, whole or not at all."""
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in inputs)).hexdigest()[:12]
    folder = CACHE / f"{name}-{digest}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"     installing {name} into {folder}", flush=True)
        build(folder)
        (folder / "complete").touch()
    return folder


def _run(*command, cwd=None):
    done = subprocess.run([str(word) for word in command], cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise Missing(f"{' '.join(str(word) for word in command)}: {done.stdout[-600:]}")


def need_python(requirements):
    """A virtual environment with the packages of `requirements`; returns its interpreter."""

    def build(folder):
        try:
            _run(sys.executable, "-m", "venv", folder)
        except Missing:
            _apt(["python3-venv"])  # Debian splits it off
            _run(sys.executable, "-m", "venv", "--clear", folder)
        _run(folder / "bin" / "pip", "install", "--quiet", "-r", requirements)

    return _once("interop-python", [requirements], build) / "bin" / "python"


def need_node_modules(project):
    """The packages that `project`'s lock file names; returns the node_modules folder."""
    need_commands("node", "npm")
    inputs = [project / "package.json", project / "package-lock.json"]

    def build(folder):
        for path in inputs:
            shutil.copy(path, folder)
        _run("npm", "ci", "--silent", "--no-audit", "--no-fund", cwd=folder)

    return _once("interop-node", inputs, build) / "node_modules"


def need_go_program(project):
    """Builds `project` (its go.sum pins everything); returns the program."""
    need_commands("go")

    def build(folder):
        _run("go", "build", "-o", folder / "program", ".", cwd=project)

    return _once("interop-go", sorted(path for path in project.iterdir() if path.is_file()), build) / "program"


def need_kafka():
    """Apache Kafka's jars and tools; returns the wrapper that runs them."""
    need_commands("java", "mvn")
    wrapper = pathlib.Path(__file__).resolve().parent.parent / "kafka"
    _run(wrapper, "fetch")
    return wrapper
