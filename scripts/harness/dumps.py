"""Reads a stopped broker's directory with Kafka's own dump-log, file by file, and collects its complaints."""

import pathlib

from . import tools

# Whatever dump-log says when something is not as it should be; none of these words is in the dump of a sound file.
COMPLAINTS = ("isvalid: false", "Mismatches in", " is followed by ", "timestamp mismatch", "out of order timestamp",
              "invalid bytes", "Exception", "Index offset:", "Ignoring unknown file", "Could not skip", "corrupt")
# Files a command: a command line has its limits, and a segment of values is printed whole.
AT_ONCE = 400
METADATA, OFFSETS = "__cluster_metadata-0", "__consumer_offsets-"


def _kinds(directory):
    """(title, options, files): every file that dump-log can read, with what it needs to understand it."""
    def files(pattern, keep):
        # A deleted topic's files wait for a minute under such a name; nobody will open them again.
        return sorted(path for path in directory.glob(pattern)
                      if keep(path.parent.name) and not path.parent.name.endswith("-delete") and path.stat().st_size)

    def plain(folder):
        return folder != METADATA and not folder.startswith(OFFSETS)

    yield "--deep-iteration", ["--deep-iteration"], files("*/*.log", plain)
    yield "--offsets-decoder", ["--offsets-decoder", "--deep-iteration"], files("*/*.log", lambda folder: folder.startswith(OFFSETS))
    yield ("--cluster-metadata-decoder", ["--cluster-metadata-decoder", "--deep-iteration"],
           files("*/*.log", lambda folder: folder == METADATA) + files(f"{METADATA}/*.checkpoint", lambda folder: True))
    yield "--verify-index-only", ["--verify-index-only"], files("*/*.index", lambda folder: True) + files("*/*.timeindex", lambda folder: True)
    yield "--index-sanity-check", ["--index-sanity-check"], files("*/*.index", lambda folder: True) + files("*/*.timeindex", lambda folder: True)
    yield "producer snapshots", [], files("*/*.snapshot", plain)


def _complains(line, before):
    if not any(word in line for word in COMPLAINTS):
        return False
    # Of every segment but the first the tool says that its base offset does not follow on -1.
    offset = line.strip().removeprefix("-1 is followed by ")
    return not (offset.isdigit() and before.startswith("Non-consecutive offsets in ") and before.endswith(f"/{int(offset):020}.log"))


def check(directory):
    """Yields (title, number of files, complaint or None) for each way of reading."""
    for title, options, files in _kinds(pathlib.Path(directory)):
        complaint = None
        for at in range(0, len(files), AT_ONCE):
            said = tools.run("dump-log", *options, "--files", ",".join(map(str, files[at:at + AT_ONCE])), wait_s=120)
            lines = (said.out + said.err).splitlines()
            found = next((number for number, line in enumerate(lines) if _complains(line, lines[number - 1])), None)
            if found is not None:
                complaint = " ".join(lines[max(0, found - 1):found + 2])
            elif said.status:
                complaint = f"status {said.status}: {said.err}"
        yield title, len(files), complaint
