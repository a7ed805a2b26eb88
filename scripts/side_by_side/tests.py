"""Arguments that are refused, and what an interrupt leaves:  cd scripts && python3 -m unittest side_by_side.tests"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest
from unittest import mock

from harness.brokers import Broker, BrokerFailed

from . import arguments, machine, thin
from .contestants import ALL, KAFKA, KRINGLE
from .report import INTERRUPTED, Report

PYTHON = ("scripts/compare", "scripts/compare-answers", "scripts/start-up", "perf/limits", "perf/flamegraph", "perf/stalls")
SHELL = ("scripts/kafka", "scripts/simulate", "perf/record")
WRONG = (
    "scripts/compare --only kafka,nosuch", "scripts/compare --only kafkas", "scripts/compare -n 0", "scripts/compare -s nan", "scripts/compare -r nosuch",
    "scripts/compare --java -r produce-1x100", "scripts/compare --out /nosuch/file", "scripts/compare --html /", "perf/limits --compare nosuch.json",
    "perf/limits --compare Cargo.toml", "perf/limits --bench nosuch", "perf/limits --dir /nosuch", "perf/limits --out /nosuch/file", "perf/flamegraph",
    "perf/flamegraph nosuch", "perf/flamegraph produce-1x100 --out /nosuch/file", "perf/stalls nosuch", "perf/stalls --html /nosuch/file",
)


def run(words):
    """A program of this tree, to its end."""
    return subprocess.run(words.split(), cwd=machine.ROOT, capture_output=True, text=True, timeout=60)


class Arguments(unittest.TestCase):
    def test_help_goes_to_stdout_and_is_no_failure(self):
        for program in (*PYTHON, *SHELL):
            with self.subTest(program):
                done = run(f"{program} --help")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn(pathlib.Path(program).name, done.stdout)

    def test_what_is_wrong_is_said_in_one_line_before_anything_is_measured(self):
        for words in WRONG:
            with self.subTest(words):
                done = run(words)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertRegex(done.stderr, r"\Aerror: .*\n\Z")

    def test_a_file_that_can_be_written_is_neither_made_nor_changed(self):
        with tempfile.TemporaryDirectory() as work:
            new, old = pathlib.Path(work, "new"), pathlib.Path(work, "old")
            old.write_text("kept")
            arguments.writable("--out", new)
            arguments.writable("--out", old)
            self.assertEqual((new.exists(), old.read_text()), (False, "kept"))


class Interrupted(unittest.TestCase):
    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = self.work / "bench"
        bench.write_text("#!/bin/sh\necho held\nexec cat\n")  # holds no memory
        bench.chmod(0o755)
        stack.enter_context(mock.patch.dict(os.environ, {"KRINGLE_BENCH_BIN": str(bench)}))
        self.out, self.err = io.StringIO(), io.StringIO()
        stack.enter_context(contextlib.redirect_stdout(self.out))
        stack.enter_context(contextlib.redirect_stderr(self.err))
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.getsignal(number))

    def test_the_report_says_so_first_and_has_what_is_complete(self):
        with mock.patch.object(thin, "one_broker", self.broken_off):
            made = thin.run(argparse.Namespace(rows=["ping-1x100"], only=ALL, rounds=3, held=1.5), self.work)
        self.assertEqual(made.leave(self.work / "json", self.work / "html"), 130)
        self.assertEqual(self.err.getvalue().count(INTERRUPTED + "\n"), 1)
        self.assertRegex(self.out.getvalue(), r"memory held: +1\.5 GB\n\nERROR: interrupted(.*\n)+ping-1x100 +p50 +kafka +0\.50")
        self.assertIn(INTERRUPTED, (self.work / "html").read_text())
        written = json.loads((self.work / "json").read_text())
        self.assertEqual((written["errors"], written["memory held"]), ([INTERRUPTED], "1.5 GB"))
        self.assertEqual({(one["broker"], one["round"]) for one in written["measured"]}, {*((kind, 1) for kind in ALL), (KAFKA, 2)})

    @staticmethod
    def broken_off(kind, rows, round_number, _args, _work, measured):
        """Instead of a broker; the second one of the second round is interrupted."""
        if (kind, round_number) == (ALL[1], 2):
            os.kill(os.getpid(), signal.SIGTERM)
        measured += [{"broker": kind, "row": row, "round": round_number, "p50_us": 10 if kind == KRINGLE else 20, "errors": 0} for row in rows]

    def test_a_broker_that_does_not_start_ends_the_measuring_and_not_the_report(self):
        with mock.patch.object(thin, "one_broker", self.not_started):
            made = thin.run(argparse.Namespace(rows=["ping-1x100"], only=ALL, rounds=3, held=0), self.work)
        self.assertEqual(made.leave(None, None), 1)
        self.assertIn("ERROR: floor ended with status 1: no port; what was measured until then follows", self.out.getvalue())

    @staticmethod
    def not_started(kind, rows, round_number, _args, _work, measured):
        """Instead of a broker; the second one does not start."""
        if kind == ALL[1]:
            raise BrokerFailed(f"{kind} ended with status 1: no port")
        measured += [{"broker": kind, "row": row, "round": round_number, "p50_us": 10, "errors": 0} for row in rows]

    def test_a_second_interrupt_ends_the_program(self):
        made = Report("Two interrupts", self.work)
        with self.assertRaises(SystemExit) as ended, made.measuring(0):
            try:
                os.kill(os.getpid(), signal.SIGINT)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
        self.assertEqual(ended.exception.code, 130)

    def test_a_broker_that_starts_is_ended(self):
        broker = Broker(KRINGLE, ["sleep", "60"], 1, self.work / "log")
        with mock.patch.object(broker, "_serves", side_effect=KeyboardInterrupt), self.assertRaises(KeyboardInterrupt), broker:
            self.fail("it does not serve")
        self.assertEqual(broker.process.returncode, -signal.SIGKILL)

    def test_a_file_that_cannot_be_written_keeps_no_other_back(self):
        made = Report("Two files", self.work)
        self.assertEqual(made.leave("/nosuch/json", self.work / "html"), 1)
        self.assertIn("/nosuch/json is not written", (self.work / "html").read_text())
