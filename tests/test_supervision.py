"""What the service manager is told, and the files that are for it and for who watches."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from pathlib import Path

from twisted.internet.task import Clock
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from tests.support.gateway import FakeGateway
from uring.api.metrics import exposition, make_registry
from uring.supervision import Supervisor

CONTRIB = Path(__file__).parents[1] / "contrib"


class SupervisorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.relpath(self.mktemp())
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.channel.close)
        # The path of a socket has at most 107 bytes.
        self.name = f"@uring-test-{os.getpid()}-{id(self)}"
        self.channel.bind("\0" + self.name[1:])
        self.channel.setblocking(False)
        self.clock = Clock()

    def told(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.channel.recv(4096).decode())
            except BlockingIOError:
                return found

    def supervisor(self, **environment: str) -> Supervisor:
        return Supervisor(self.clock, {"NOTIFY_SOCKET": self.name, **environment})

    def test_ready_and_stopping(self) -> None:
        """The manager is told when the node serves, and when it stops."""
        supervisor = self.supervisor()
        supervisor.ready("serves at a:1")
        supervisor.stopping()
        self.assertEqual(self.told(), ["READY=1\nSTATUS=serves at a:1", "STOPPING=1"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_watchdog(self) -> None:
        """Signs of life come twice as often as they are wanted, until it stops."""
        supervisor = self.supervisor(WATCHDOG_USEC="4000000")
        supervisor.ready("")
        self.told()
        self.clock.pump([1.0] * 4)
        self.assertEqual(self.told(), ["WATCHDOG=1"] * 2)
        supervisor.stopping()
        self.told()
        self.clock.pump([1.0] * 4)
        self.assertEqual(self.told(), [])

    def test_nobody(self) -> None:
        """Without a manager, or with one that is gone or means another process, nothing happens."""
        Supervisor(self.clock, {}).ready("")
        Supervisor(self.clock, {"NOTIFY_SOCKET": "/nonexistent"}).ready("")
        other = self.supervisor(WATCHDOG_USEC="4000000", WATCHDOG_PID="1")
        self.assertIsNone(other.period)
        self.assertIsNone(self.supervisor(WATCHDOG_USEC="x").period)


class FileTests(TestCase):
    async def checked(self, *command: str) -> str:
        program = shutil.which(command[0])
        if program is None:
            raise SkipTest(f"{command[0]} is not installed")
        out, err, code = await getProcessOutputAndValue(program, command[1:], env=dict(os.environ))
        text = (out + err).decode()
        self.assertEqual(code, 0, text)
        return text

    def series(self) -> set[str]:
        text = exposition(make_registry(FakeGateway(), lambda: (0, 0), {})).decode()
        return set(re.findall(r"^([a-z_]+)", text, re.MULTILINE)) | {"up"}

    def used(self, text: str) -> set[str]:
        return set(re.findall(r"\b((?:uring|process)_[a-z_]+)", text))

    def test_rules_name_series_that_exist(self) -> None:
        """Alerts look at nothing that /metrics does not show."""
        text = (CONTRIB / "prometheus" / "uring.rules.yml").read_text()
        expressions = "\n".join(re.findall(r"expr: (.*)", text))
        self.assertEqual(self.used(expressions) - self.series(), set())

    def test_panels_name_series_that_exist(self) -> None:
        """Nor do the panels of the Grafana dashboard."""
        board = json.loads((CONTRIB / "grafana" / "uring.json").read_text())
        expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        self.assertGreater(len(expressions), 10)
        self.assertEqual(self.used("\n".join(expressions)) - self.series(), set())

    async def test_promtool(self) -> None:
        """Prometheus accepts the rules, and what it scrapes."""
        rules = str(CONTRIB / "prometheus" / "uring.rules.yml")
        self.assertIn("SUCCESS", await self.checked("promtool", "check", "rules", rules))

    async def test_systemd(self) -> None:
        """systemd accepts the units."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        for name in ("uring.service", "uring.socket"):
            text = (CONTRIB / "systemd" / name).read_text()
            (directory / name).write_text(text.replace("/opt/uring/bin/twist", "/bin/true"))
        said = await self.checked(
            "systemd-analyze", "verify", *map(str, sorted(directory.iterdir()))
        )
        self.assertNotIn(str(directory), said)

    def test_example_configuration(self) -> None:
        """The example file is one that a node takes."""
        from uring.options import Options

        self.patch(os, "environ", {})
        options = Options()
        options.parseOptions(["--config", str(CONTRIB / "uring.toml")])
        self.assertEqual(options.settings.node_id, 1)
        self.assertEqual(len(options.settings.peers), 2)
