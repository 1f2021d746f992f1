"""The scripts' library: acceptance files and cluster files, without any node."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from contrib import Cluster, Node, UringServer, read_config, rotate
from contrib.acceptance import main
from contrib.cluster import ConfigError, PortTaken, require_free
from contrib.coyote import FileError, Outcome, load, parse, run_entry, seconds

ROOT = Path(__file__).resolve().parent.parent


def outcome(**fields: Any) -> Outcome:
    suite = parse([{"name": "group", "entries": [fields]}])
    return run_entry(suite.groups[0].entries[0])


class ParseTests(SynchronousTestCase):
    """Files."""

    def test_title(self) -> None:
        """The group named coyote is no group, but gives the title."""
        suite = parse([{"name": "coyote", "title": "t"}, {"name": "g", "entries": []}])
        self.assertEqual(suite.title, "t")
        self.assertEqual([group.name for group in suite.groups], ["g"])

    def test_durations(self) -> None:
        """Durations are read as Go writes them, and others refused."""
        self.assertEqual(
            [seconds(text) for text in ("300s", "1m30s", "250ms", 3)], [300.0, 90.0, 0.25, 3.0]
        )
        for text in ("", "5", "s", "5s!", "five"):
            self.assertRaises(ValueError, seconds, text)

    def test_refusals(self) -> None:
        """A file that would not test what it seems to is refused."""
        documents: list[Any] = [
            {},
            [{"entries": []}],
            [{"name": "g", "entries": [{"name": "no command"}]}],
            [{"name": "g", "entries": [{"command": "true", "stdout_hass": ["x"]}]}],
            [{"name": "g", "entries": [{"command": "true", "stdout_has": ["("]}]}],
            [{"name": "g", "entries": [{"command": "true", "timeout": "soon"}]}],
        ]
        for document in documents:
            self.assertRaises(FileError, parse, document)

    def test_our_own_file(self) -> None:
        """contrib/3u-test.yml is read whole, and holds the status lines the seed asked for."""
        suite = load(ROOT / "contrib" / "3u-test.yml")
        entries = [entry for group in suite.groups for entry in group.entries]
        texts = {wanted.text for entry in entries for wanted in entry.expectations}
        self.assertGreater(len(entries), 40)
        for line in ("HTTP/1.1 201 Created", "HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found"):
            self.assertIn(line, texts)
        self.assertEqual([entry.name for entry in entries if not entry.expectations], [])

    def test_variables(self) -> None:
        """Variables of the file and of a group are put in place, the group's first."""
        suite = parse(
            [
                {"name": "coyote", "vars": {"A": "file", "B": "file"}},
                {"name": "g", "vars": {"A": "group"}, "entries": [{"command": "echo %A% %B%"}]},
            ]
        )
        self.assertEqual(suite.groups[0].entries[0].command, "echo group file")


class RunTests(SynchronousTestCase):
    """Commands."""

    def test_expectations(self) -> None:
        """Each kind of expectation passes where it holds and fails where it does not."""
        command = "echo out; echo err >&2"
        for holds, fails in (
            ({"stdout_has": ["^o.t"]}, {"stdout_has": ["out", "in"]}),
            ({"stdout_not_has": ["in"]}, {"stdout_not_has": ["out"]}),
            ({"stderr_has": ["err"]}, {"stderr_has": ["out"]}),
            ({"stderr_not_has": ["out"]}, {"stderr_not_has": ["err"]}),
            ({"stdout": [{"match": ["o.t"]}]}, {"stdout": [{"match": ["o.t"], "contains": True}]}),
            ({"stderr": [{"not_match": ["x"]}]}, {"stderr": [{"not_match": ["err"]}]}),
        ):
            self.assertEqual(outcome(command=command, **holds).problems, ())
            self.assertEqual(len(outcome(command=command, **fails).problems), 1, fails)

    def test_exit_code(self) -> None:
        """A command that fails is a failure, unless that is to be ignored."""
        self.assertEqual(outcome(command="exit 3").problems, ("exit code 3",))
        self.assertEqual(outcome(command="exit 3", ignore_exit_code=True).problems, ())

    def test_time_out(self) -> None:
        """A command that does not end is killed with its children, and is a failure."""
        found = outcome(command="cat; sleep 600 | cat", stdin="x", timeout="200ms")
        self.assertEqual(found.problems, ("no end within 0.2 s",))
        self.assertLess(found.seconds, 60)

    def test_surroundings(self) -> None:
        """Input, environment, and directory are as the entry says."""
        found = outcome(command="cat; echo $X; pwd", stdin="in ", env=["X=a=b"], workdir="/")
        self.assertEqual(found.stdout, "in a=b\n/\n")

    def test_skip(self) -> None:
        """A skipped entry is not run, and is neither a failure nor a success."""
        found = outcome(command="exit 1", skip="True")
        self.assertEqual((found.verdict, found.problems), ("skipped", ()))


class MainTests(SynchronousTestCase):
    """The runner as a whole."""

    def run_file(self, *entries: dict[str, Any]) -> tuple[int, str, str]:
        place = Path(self.mktemp())
        place.mkdir()
        document = [{"name": "coyote", "title": "a <title>"}, {"name": "g", "entries": entries}]
        (place / "test.yml").write_text(yaml.safe_dump(document, sort_keys=False))
        out, report = io.StringIO(), place / "coyote.html"
        code = main([str(place / "test.yml"), "--out", str(report)], out)
        return code, out.getvalue(), report.read_text() if report.exists() else ""

    def test_success(self) -> None:
        """A file whose commands all pass ends with 0, and the report shows them escaped."""
        code, out, report = self.run_file({"name": "one", "command": "echo '<b>'"})
        self.assertEqual(code, 0)
        self.assertIn("1 of 1 commands as expected", out)
        self.assertIn("a &lt;title&gt;", report)
        self.assertIn("&lt;b&gt;", report)
        self.assertNotIn("<b>", report)

    def test_failures(self) -> None:
        """The exit code is the number of failures, and each is printed with its reason."""
        code, out, report = self.run_file(
            {"command": "true"}, {"command": "false"}, {"command": "true", "stdout_has": ["x"]}
        )
        self.assertEqual(code, 2)
        self.assertIn("stdout lacks 'x'", out)
        self.assertIn("FAILED", report)

    def test_nothing_to_run(self) -> None:
        """A file without commands has proved nothing."""
        self.assertEqual(self.run_file()[0], 255)


class ConfigTests(SynchronousTestCase):
    """Cluster files."""

    def read(self, document: Any) -> list[Node]:
        path = Path(self.mktemp())
        path.write_text(json.dumps(document))
        return read_config(path)

    def test_ours(self) -> None:
        """The three files of contrib describe clusters of three, five, and seven."""
        for count in (3, 5, 7):
            nodes = read_config(ROOT / "contrib" / f"{count}u.json")
            expected = [Node(8080 + n, n, n == 1) for n in range(1, count + 1)]
            self.assertEqual(nodes, expected)

    def test_refusals(self) -> None:
        """What cannot form a cluster is refused."""
        one = {"port": 1, "id": "1", "bootstrap": True}
        documents: list[Any] = [
            {},
            [],
            [{"port": 1}],
            [one, {"port": 2, "id": "1"}],
            [one, {"port": 1, "id": "2"}],
            [one, {"port": 2, "id": "2", "bootstrap": True}],
            [{"port": 1, "id": "1"}],
        ]
        for document in documents:
            self.assertRaises(ConfigError, self.read, document)

    def test_peers(self) -> None:
        """Each node is told of all others and not of itself; only the founder gets -b."""
        nodes = read_config(ROOT / "contrib" / "3u.json")
        servers = Cluster(nodes, self.mktemp()).servers
        self.assertEqual(servers[1].peers, ["127.0.0.1:8083", "127.0.0.1:8081"])
        self.assertEqual([("-b" in server.command()) for server in servers], [True, False, False])
        self.assertEqual(rotate([1, 2, 3]), [2, 3, 1])

    def test_reset_is_careful(self) -> None:
        """Only a directory that is named as a data directory is deleted."""
        place = Path(self.mktemp())
        data = place / "raft-leveldb-1"
        data.mkdir(parents=True)
        UringServer(1, 1, data_dir=data).reset()
        self.assertFalse(data.exists())
        self.assertRaises(ValueError, UringServer(1, 1, data_dir=place).reset)
        self.assertTrue(place.exists())

    def test_taken_port(self) -> None:
        """A port in use is named before anything is started."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            number = taken.getsockname()[1]
            error = self.assertRaises(PortTaken, require_free, "127.0.0.1", [number])
        self.assertIn(f"port {number}", str(error))
        require_free("127.0.0.1", [number])


class Fake(UringServer):
    """A process that is no node."""

    code = ""

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.code]


class ServerTests(TestCase):
    """Processes."""

    def server(self, code: str) -> Fake:
        server = Fake(1, 1, data_dir=Path(self.mktemp()) / "raft-leveldb-1")
        server.code = code
        return server

    async def test_stop(self) -> None:
        """A process that obeys ends by SIGTERM, one that does not is killed; neither is unasked."""
        unasked: list[Any] = []
        for code in ("", "signal.signal(signal.SIGTERM, signal.SIG_IGN); "):
            server = self.server(f"import signal; {code}print('up', flush=True); signal.pause()")
            server.unasked = lambda *args: unasked.append(args)
            server.start()
            self.assertTrue(server.running)
            # Until it has begun its own program, a signal meets the handlers of this one.
            while not server.output() and server.running:
                await deferLater(reactor, 0.01)
            self.assertIsNone(await server.stop(0.2))
            self.assertFalse(server.running)
        self.assertEqual(unasked, [])

    async def test_unasked_end(self) -> None:
        """Who ends by itself is reported with its code and the end of its output."""
        told: Deferred[Any] = Deferred()
        server = self.server("import sys; print('no disk'); sys.exit(3)")
        server.unasked = lambda *args: told.callback(args)
        server.start()
        self.assertEqual(await told, (server, 3))
        self.assertEqual(server.output(), "no disk\n")

    async def test_signal_to_a_process_that_has_just_ended(self) -> None:
        """Its output may not be read to the end yet: that is no error of whoever signals."""

        def ended_already(name: object) -> None:
            raise ProcessExitedAlready

        server = self.server("import signal; signal.pause()")
        server.start()
        transport = server._transport
        patch = self.patch(transport, "signalProcess", ended_already)
        server.signal("KILL")
        patch.restore()
        await server.die()
        self.assertFalse(server.running)

    async def test_start_gives_up(self) -> None:
        """A cluster whose node ends at once is given up, with the node's last words."""
        cluster = Cluster([Node(0, 1, True)], self.mktemp(), reactor=reactor)
        fake = self.server("import sys; sys.exit('damaged')")
        cluster.servers = [fake]
        with self.assertRaisesRegex(Exception, "exit code 1:\ndamaged"):
            await cluster.start()
        await cluster.stop()


RUN = """
from contrib.running import run_cluster, say

class Server:
    running = True

class Cluster:
    servers = [Server()]

    async def start(self):
        pass

    async def join(self):
        pass

    async def stop(self):
        say("stopped")

run_cluster(
    lambda reactor: Cluster(), wipe=False, any_key=False, formed=lambda *ignored: say("formed")
)
"""


class ForegroundTests(TestCase):
    """A cluster in the foreground, in a process of its own."""

    def test_signals(self) -> None:
        """Ctrl-C and SIGTERM stop the nodes, and the exit code is 0."""
        for number in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen(
                [sys.executable, "-c", RUN],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), "formed\n")
            process.send_signal(number)
            rest, _ = process.communicate(timeout=30)
            self.assertEqual(rest, "stopping ...\nstopped\n")
            self.assertEqual(process.returncode, 0)


class ReadmeTests(SynchronousTestCase):
    """The two commands that the README promises."""

    def test_first_blocks(self) -> None:
        """Under Start and Test the first block is the one command, and nothing else."""
        text = (ROOT / "README.md").read_text("utf-8")
        for heading, command in (("Start", "bin/start"), ("Test", "bin/test")):
            section = text.split(f"\n## {heading}\n", 1)[1]
            self.assertEqual(section.split("```")[1].split("\n", 1)[1], f"{command}\n")
            self.assertTrue(os.access(ROOT / command, os.X_OK))

    def test_ci_runs_the_command_of_the_readme(self) -> None:
        """The CI script runs what stands under Test, and fails as that does."""
        for command, code in (("echo 'it ran'", 0), ("exit 3", 3)):
            place = Path(self.mktemp())
            (place / ".ci").mkdir(parents=True)
            shutil.copy(ROOT / ".ci" / "run", place / ".ci" / "run")
            (place / "README.md").write_text(
                f"## Start\n```\nfalse\n```\n## Test\n```bash\n{command}\n```\n```\nfalse\n```\n"
            )
            done = subprocess.run(
                [place / ".ci" / "run"], capture_output=True, text=True, check=False
            )
            self.assertEqual(done.returncode, code)
            self.assertIn(f"+ {command}\n", done.stdout)
