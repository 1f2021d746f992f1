"""Log lines: one each, readable by plain jq, not to be forged by what a client sends."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase, TestCase

from uring.logs import observer

SOURCE = Path(__file__).resolve().parent.parent / "src"


def written(as_json: bool, text: str, **fields: Any) -> str:
    file = io.StringIO()
    Logger(namespace="uring.test", observer=observer(file, as_json)).warn(text, **fields)
    return file.getvalue()


def entry(template: str, **fields: Any) -> dict[str, Any]:
    text = written(True, template, **fields)
    assert text.endswith("\n") and text.count("\n") == 1, text
    found: dict[str, Any] = json.loads(text)
    return found


class JsonTests(SynchronousTestCase):
    """The JSON form."""

    def test_own_fields(self) -> None:
        """An event has its time in UTC, level, system, and text."""
        found = entry("role is {role}", role="Leader")
        self.assertEqual(found["level"], "warn")
        self.assertEqual(found["system"], "uring.test")
        self.assertEqual(found["message"], "role is Leader")
        self.assertEqual(datetime.fromisoformat(found["time"]).utcoffset().seconds, 0)  # type: ignore[union-attr]

    def test_keyword_fields(self) -> None:
        """Fields keep their types, and what JSON does not know becomes text."""
        found = entry("x", n=3, names=("a", "b"), raw=b"\xff", where=Path("/x"), nan=float("nan"))
        self.assertEqual(found["n"], 3)
        self.assertEqual(found["names"], ["a", "b"])
        self.assertEqual((found["raw"], found["where"]), ("\\xff", "/x"))
        self.assertEqual(found["nan"], "nan")

    def test_own_names_are_kept(self) -> None:
        """A field named as one of ours does not replace it."""
        found = entry("real", time="forged", system="forged")
        self.assertEqual((found["time_"], found["system_"]), ("forged", "forged"))
        self.assertEqual(found["system"], "uring.test")
        self.assertNotEqual(found["time"], "forged")

    def test_no_record_separator(self) -> None:
        """A line begins with its brace, as plain jq wants it."""
        self.assertTrue(written(True, "x").startswith("{"))

    def test_failure(self) -> None:
        """A failure's traceback is a field."""
        file = io.StringIO()
        log = Logger(observer=observer(file, True))
        try:
            raise ValueError("beep")
        except ValueError:
            log.failure("it failed")
        found = json.loads(file.getvalue())
        self.assertEqual(found["level"], "critical")
        self.assertIn("ValueError: beep", found["traceback"])

    def test_deep_and_cyclic(self) -> None:
        """A field that contains itself is cut, not followed for ever."""
        cyclic: list[Any] = []
        cyclic.append(cyclic)
        self.assertIsInstance(entry("x", cyclic=cyclic)["cyclic"], list)

    def test_a_field_that_cannot_be_shown(self) -> None:
        """A field whose text raises is shown by its type."""

        class Rude:
            def __str__(self) -> str:
                raise RuntimeError

        self.assertEqual(entry("x", rude=Rude())["rude"], "<Rude>")

    @settings(max_examples=50, deadline=None)
    @given(st.text(), st.text())
    def test_any_text(self, one: str, two: str) -> None:
        """Any text stays within its one line and comes back unchanged."""
        found = entry("{one}", one=one, two=two)
        self.assertEqual((found["message"], found["two"]), (one, two))


class TextTests(SynchronousTestCase):
    """The text form."""

    def test_line(self) -> None:
        """A line shows system, level, and text."""
        self.assertIn("[uring.test#warn] hello\n", written(False, "hello"))

    def test_controls_are_escaped(self) -> None:
        """Line feeds, escapes, and reversed reading in a field cannot disturb a line."""
        text = written(False, "key {key}", key="a\r\nforged \x1b[2J\u202e\x85\ud800")
        self.assertTrue(text.endswith("key a\\x0d\\x0aforged \\x1b[2J\\u202e\\x85\\ud800\n"), text)

    def test_traceback_is_indented(self) -> None:
        """Each line of a traceback is indented, so that none passes for an event."""
        file = io.StringIO()
        try:
            raise ValueError("beep\n2026 forged")
        except ValueError:
            Logger(observer=observer(file, False)).failure("it failed")
        first, *rest = file.getvalue().splitlines()
        self.assertIn("it failed", first)
        self.assertTrue(rest)
        self.assertEqual([line for line in rest if not line.startswith("\t")], [])


PLUGIN = """
from twisted.application.service import ServiceMaker
loggy = ServiceMaker("loggy", "loggy_service", "logs one event", "loggy")
"""

SERVICE = """
from twisted.application.service import Service
from twisted.logger import Logger
from twisted.python.usage import Options
from uring.logs import install

class OneEvent(Service):
    def startService(self):
        from twisted.internet import reactor
        Logger(namespace="loggy").info("begun {word}", word="here")
        reactor.callWhenRunning(reactor.stop)

class Options(Options):
    optFlags = [["text", None, ""]]

def makeService(options):
    install(json=not options["text"])
    return OneEvent()
"""

RUNNERS = {
    "twist": ["-c", "from twisted.application.twist._twist import Twist; Twist.main()"],
    "twistd": ["-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile="],
}


class InstallTests(TestCase):
    """Both of Twisted's runners, in processes of their own."""

    def run_service(self, runner: str, *words: str, before: tuple[str, ...] = ()) -> str:
        place = Path(self.mktemp())
        (place / "twisted" / "plugins").mkdir(parents=True)
        (place / "twisted" / "plugins" / "loggy_plugin.py").write_text(PLUGIN)
        (place / "loggy_service.py").write_text(SERVICE)
        path = os.pathsep.join([str(place.absolute()), str(SOURCE)])
        done = subprocess.run(
            [sys.executable, *RUNNERS[runner], *before, "loggy", *words],
            env={**os.environ, "PYTHONPATH": path},
            cwd=place,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        log = place / "to.log"
        return log.read_text() if log.exists() else done.stdout

    def test_json_with_both(self) -> None:
        """With either runner every line is one JSON object, and each event is there once."""
        for runner in RUNNERS:
            lines = [json.loads(line) for line in self.run_service(runner).splitlines()]
            begun = [line for line in lines if line["message"] == "begun here"]
            self.assertEqual(len(begun), 1, runner)
            self.assertEqual(begun[0]["word"], "here")

    def test_text_with_both(self) -> None:
        """With either runner text is text."""
        for runner in RUNNERS:
            text = self.run_service(runner, "--text")
            self.assertEqual(text.count("[loggy#info] begun here\n"), 1, runner)

    def test_file_and_level_stay_theirs(self) -> None:
        """Events go to the file that the runner was told, from the level that it was told."""
        logged = self.run_service("twistd", before=("--logfile", "to.log"))
        self.assertIn('"message": "begun here"', logged)
        quiet = self.run_service("twist", before=("--log-level", "warn"))
        self.assertNotIn("begun", quiet)
