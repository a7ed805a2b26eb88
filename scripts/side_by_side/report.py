"""Tables as text, JSON and one HTML page, with what they belong to at the head. The page has charts too."""

import contextlib
import html
import json
import pathlib
import signal
import sys

from harness.brokers import BrokerFailed

from . import bars, machine
from .contestants import HeldMemory

INTERRUPTED_STATUS = 128 + signal.SIGINT
INTERRUPTED = "interrupted: what was measured until then follows"

STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:.5em 0 2em}th,td{padding:.15em .8em;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}
.met{color:#17692b}.missed{color:#b3261e;font-weight:600}.warning{background:#fde8e6;padding:.4em .8em}
dt{float:left;clear:left;width:7em;color:#666}dd{margin-left:7.5em}
""" + bars.STYLE


def short(value, digits=4):
    """A figure with as many digits as mean something."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    return f"{value:.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


class Table:
    """Rows of words under a title."""

    def __init__(self, title, columns):
        self.title, self.columns, self.rows = title, columns, []

    def add(self, *cells):
        self.rows.append([str(cell) for cell in cells])

    def text(self):
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows)]
        # Names to the left, figures to the right.
        left = [all(not cell[:1].isdigit() for cell in column) for column in zip(*self.rows)] or [True] * len(widths)
        line = lambda cells: "  ".join(  # noqa: E731
            cell.ljust(width) if to_left else cell.rjust(width) for cell, width, to_left in zip(cells, widths, left)).rstrip()
        return "\n".join([self.title, "", line(self.columns), line(["-" * width for width in widths]), *map(line, self.rows)])

    def html(self):
        def cell(text):
            kind = f' class="{text.lower()}"' if text in ("met", "MISSED") else ""
            return f"<td{kind}>{html.escape(text)}</td>"

        head = "".join(f"<th>{html.escape(column)}</th>" for column in self.columns)
        body = "".join(f"<tr>{''.join(map(cell, row))}</tr>\n" for row in self.rows)
        return f"<h2>{html.escape(self.title)}</h2>\n<table><tr>{head}</tr>\n{body}</table>\n"


class Report:
    """Everything that one run has to say."""

    def __init__(self, title, directory):
        self.title = title
        self.interrupted = self.measures = self.complete = False
        self.facts = machine.facts(directory)
        self.measured, self.warnings, self.charts, self.tables, self.notes = [], [], [], [], []

    @contextlib.contextmanager
    def measuring(self, held_gb):
        """Memory is held meanwhile. An interrupt (SIGINT, SIGTERM) ends the measuring but not the report, and so does a broker that does not
        start; a second interrupt ends the program."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._interrupt)
        try:
            with contextlib.suppress(KeyboardInterrupt), HeldMemory(held_gb) as held:
                self.facts["memory held"] = f"{held.gb:.1f} GB"
                self.measures = True
                yield
                self.complete = True
        except BrokerFailed as error:
            self.warn(f"{error}; what was measured until then follows")
        self.measures = False
        if self.interrupted:
            self.warnings.insert(0, INTERRUPTED)

    def _interrupt(self, *_):
        if not self.measures:
            print("interrupted", file=sys.stderr, flush=True)
            sys.exit(INTERRUPTED_STATUS)
        self.interrupted, self.measures = True, False
        print(INTERRUPTED, file=sys.stderr, flush=True)
        raise KeyboardInterrupt

    def warn(self, text):
        """Something that went wrong: said before any figure."""
        self.warnings.append(text)

    def table(self, title, columns):
        """A table whose rows come one by one: those that are complete stand in the report, whatever happens."""
        self.tables.append(Table(title, columns))
        return self.tables[-1]

    def text(self):
        width = max(map(len, self.facts)) + 1
        parts = [self.title, "\n".join(f"{name + ':':{width}} {value}" for name, value in self.facts.items())]
        parts += ["\n".join(f"ERROR: {warning}" for warning in self.warnings)] if self.warnings else []
        parts += [table.text() for table in self.tables if table.rows] + self.notes
        return "\n\n".join(parts)

    def html(self):
        facts = "".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in self.facts.items())
        warnings = "".join(f'<p class="warning">{html.escape(warning)}</p>' for warning in self.warnings)
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        tables = "".join(table.html() for table in self.tables if table.rows)
        charts = "".join(bars.chart(title, of) for title, of in self.charts)
        return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(self.title)}</title>'
                f"<style>{STYLE}</style><h1>{html.escape(self.title)}</h1><dl>{facts}</dl>{warnings}{charts}{tables}{notes}</html>\n")

    def json(self):
        tables = [{"title": table.title, "columns": table.columns, "rows": table.rows} for table in self.tables]
        return json.dumps({"title": self.title, **self.facts, "errors": self.warnings, "measured": self.measured, "tables": tables,
                           "notes": self.notes}, indent=1) + "\n"

    def leave(self, out, page):
        """Writes it where it was asked for, and prints it. The exit status of the script: 1 if something failed, 130 if it was interrupted."""
        for path, made in ((out, self.json), (page, self.html)):
            if path:
                try:
                    pathlib.Path(path).write_text(made())
                except OSError as error:
                    self.warn(f"{path} is not written: {error.strerror}")
        print(self.text(), flush=True)
        return INTERRUPTED_STATUS if self.interrupted else 1 if self.warnings else 0
