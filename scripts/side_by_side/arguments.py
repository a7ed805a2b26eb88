"""What is wrong with the arguments is said at once, in one line and with status 2, and not after minutes of measuring."""

import contextlib
import os
import pathlib
import sys
import tempfile


def refuse(why):
    """Ends the program."""
    print(f"error: {why}", file=sys.stderr)
    sys.exit(2)


def names(option, words, known):
    """The names in `words`, by commas, all of them known."""
    given = [name for name in words.split(",") if name]
    if unknown := [name for name in given if name not in known]:
        refuse(f"{option}: no {', '.join(unknown)}; there are {', '.join(known)}")
    return given


def positive(**values):
    """Rounds, seconds and sizes, by what they are."""
    for name, value in values.items():
        if not value > 0:
            refuse(f"{name}: {value:g} is not above 0")


@contextlib.contextmanager
def tried(option, path):
    """A file or directory that may be no use."""
    try:
        yield
    except (OSError, ValueError) as error:
        refuse(f"{option} {path}: {getattr(error, 'strerror', None) or error}")


def text(option, path):
    """What a file says."""
    with tried(option, path):
        return pathlib.Path(path).read_text()


def directory(option, path):
    """Files can be made in it."""
    with tried(option, path):
        tempfile.TemporaryFile(dir=path).close()


def writable(option, path):
    """A file that will be written, if it was asked for."""
    if path and os.path.exists(path):
        with tried(option, path):
            open(path, "a").close()
    elif path:
        directory(option, os.path.dirname(path) or ".")
