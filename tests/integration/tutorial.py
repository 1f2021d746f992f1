"""Walks docs/TUTORIAL.md, command by command as printed: ``tox -e tutorial``.

In a fresh clone of what is committed, in an empty directory, with nothing of this environment but
a PATH (and what pip and TLS need to reach an index).  Each block says in a comment before it which
terminal it is for; one that ``stays`` goes on by itself.  Every command must succeed, and print
what is expected of it.  Needs the ports that the tutorial uses.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.trial.unittest import SkipTest

from contrib.cluster import require_free

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = "docs/TUTORIAL.md"
PORTS = (8081, 8082, 8083, 9081)
COMMAND_SECONDS = 60.0
START_SECONDS = 400.0
"""bin/start makes its environment first, from an index that may be slow."""
KEPT = ("PIP_", "SSL_", "REQUESTS_", "HTTP", "http", "PYTHON_KEYRING")
"""Variables that a machine may need to install anything at all begin so."""
_BLOCK = re.compile(r"<!-- terminal: (\w+)(; stays)? -->\n```bash\n(.*?)```", re.DOTALL)
_ANY_BLOCK = re.compile(r"^```bash\n", re.MULTILINE)

EXPECTED = {
    "bin/start": r"A cluster of 3 nodes",
    "uring status": r"Leader",
    "uring get beep": r"^(boop|still-here)$",
    "curl http://127.0.0.1:8083/kv/beep": r'"value":"boop"',
    "uring -o json get beep": r'"revision":',
    'uring put beep badger --if-revision 1 || echo "somebody was faster: exit code $?"': (
        r"somebody was faster: exit code"
    ),
    "uring list": r"beep",
    "uring list services/": r"services/web",
    "uring ring show": r"n3",
    "uring restore --check today.backup": r"",
    "uring -e 127.0.0.1:9081 get beep": r"^still-here$",
}
"""What a command prints (a regular expression, by lines); others need only succeed."""

AFTERWARDS = {
    "watch": (r'"Put".*"a/1"', r'"Put".*"a/2"', r'"Delete".*"a/1"'),
}
"""What a terminal that stays has printed at the end."""


@frozen
class Block:
    """Commands for one terminal."""

    terminal: str
    stays: bool
    commands: tuple[str, ...]


class WrongTutorial(Exception):
    """The tutorial does not do what it says; the text says where."""


def blocks(text: str) -> list[Block]:
    """Return all blocks of commands.  Raises WrongTutorial if one does not say where it runs."""
    found = [
        Block(match[1], bool(match[2]), tuple(match[3].strip().splitlines()))
        for match in _BLOCK.finditer(text)
    ]
    if len(found) != len(_ANY_BLOCK.findall(text)):
        raise WrongTutorial("a block of commands does not say for which terminal it is")
    return found


class Terminal:
    """A shell that is fed line by line, in a process group of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.output = ""
        self._arrived: Queue[str] = Queue()
        self._shell = subprocess.Popen(
            ["/bin/bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._shell.stdout is not None
        for line in self._shell.stdout:
            self._arrived.put(line)

    def type(self, line: str) -> None:
        """Type a line."""
        assert self._shell.stdin is not None
        print(f"$ {line}", flush=True)
        self._shell.stdin.write(line + "\n")

    def until(self, pattern: str, seconds: float) -> str:
        """Return what was printed up to a line that matches ``pattern``.  Raises WrongTutorial."""
        end = time.monotonic() + seconds
        printed = ""
        while (left := end - time.monotonic()) > 0:
            try:
                line = self._arrived.get(timeout=left)
            except Empty:
                break
            self.output += line
            printed += line
            if re.search(pattern, line):
                return printed
        raise WrongTutorial(f"never {pattern!r} in: {printed or self.output}")

    def run(self, line: str) -> None:
        """Run a command.  Raises WrongTutorial if it fails, or prints something else."""
        self.type(line)
        self.type('echo "[[[$?]]]"')
        printed = self.until(r"\[\[\[\d+\]\]\]$", COMMAND_SECONDS)
        text, _, code = printed.rpartition("[[[")
        print(text, end="", flush=True)
        if code.strip() != "0]]]":
            raise WrongTutorial(f"{line}: exit code {code.strip(']' + chr(10))}\n{text}")
        if not re.search(EXPECTED.get(line, ""), text, re.MULTILINE):
            raise WrongTutorial(f"{line}: expected {EXPECTED[line]!r}, printed:\n{text}")

    def interrupt(self) -> None:
        """Press Ctrl-C, and leave."""
        self._end(signal.SIGINT)

    def close(self) -> None:
        """End all that runs here."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self._shell.poll() is None:
            os.killpg(self._shell.pid, number)
            assert self._shell.stdin is not None
            self._shell.stdin.close()
            try:
                self._shell.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._shell.pid, signal.SIGKILL)
                self._shell.wait()


class Walk:
    """All terminals, and what the text between the blocks says."""

    def __init__(self, folder: Path, home: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
        path = "/usr/local/bin:/usr/bin:/bin"
        self._environment = {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", **kept}
        self._folder = folder
        self._terminals: dict[str, Terminal] = {}

    def terminal(self, name: str) -> Terminal:
        """Return a terminal, which is opened the first time."""
        if name not in self._terminals:
            self._terminals[name] = Terminal(self._folder, self._environment)
            if name in ("watch", "restored"):
                self._exports(self._terminals[name])
        return self._terminals[name]

    def _exports(self, terminal: Terminal) -> None:
        """What the tutorial asks for in words: the same two lines."""
        for block in blocks((self._folder / TUTORIAL).read_text("utf-8")):
            for command in block.commands:
                if command.startswith("export "):
                    terminal.run(command)

    def run(self, block: Block) -> None:
        """Run a block."""
        terminal = self.terminal(block.terminal)
        for command in block.commands:
            if block.stays and command is block.commands[-1]:
                terminal.type(command)
                if command in EXPECTED:
                    terminal.until(EXPECTED[command], START_SECONDS)
                else:
                    time.sleep(3)  # for those who look, too, nothing says that it is ready
            else:
                terminal.run(command)

    def again(self) -> None:
        """Stop the cluster with Ctrl-C and start it again, as the tutorial says in words."""
        print("(Ctrl-C, and again)", flush=True)
        self._terminals.pop("cluster").interrupt()
        terminal = self.terminal("cluster")
        terminal.type("bin/start")
        terminal.until(EXPECTED["bin/start"], START_SECONDS)

    def check(self) -> None:
        """Look at what the terminals that stayed have printed."""
        for name, patterns in AFTERWARDS.items():
            for pattern in patterns:
                terminal = self.terminal(name)
                if not re.search(pattern, terminal.output):
                    terminal.until(pattern, 5)

    def close(self) -> None:
        """End everything."""
        for terminal in self._terminals.values():
            terminal.close()


def look(addresses: list[str], *parts: str) -> None:
    """Open the dashboard of a node that lives, and see that it shows ``parts``."""
    script = [sys.executable, "-m", "tests.integration.tutorial", "--look", *addresses, "--"]
    subprocess.run([*script, *parts], check=True, cwd=ROOT, timeout=120)


async def _look(reactor: object, addresses: list[str], parts: list[str]) -> None:
    from tests.support.browser import Browser, BrowserFailed

    with tempfile.TemporaryDirectory() as directory:
        try:
            browser = Browser(reactor, Path(directory))
        except SkipTest as skipped:
            print(f"(the dashboard was not looked at: {skipped})")
            return
        try:
            for address in addresses:
                try:
                    page = await browser.open(f"http://{address}/")
                except BrowserFailed:
                    continue  # the one that was killed
                await page.until_text(*parts)
                print(f"(the dashboard of {address} shows: {'; '.join(parts)})")
                return
            raise WrongTutorial("no dashboard answers")
        finally:
            await browser.kill()


def walk(folder: Path, home: Path) -> None:
    """Do all that the tutorial of the clone in ``folder`` says."""
    walking = Walk(folder, home)
    try:
        for block in blocks((folder / TUTORIAL).read_text("utf-8")):
            walking.run(block)
            if any("kill -9" in command for command in block.commands):
                nodes = [f"127.0.0.1:{port}" for port in PORTS[:3]]
                look(nodes, "does not lead any more", "is not heard of any more", "2 of 3 voters")
                walking.again()
        walking.check()
    finally:
        walking.close()


def main() -> None:
    """Clone, walk."""
    if sys.argv[1:2] == ["--look"]:
        place = sys.argv.index("--")
        addresses, parts = sys.argv[2:place], sys.argv[place + 1 :]
        react(lambda reactor: Deferred.fromCoroutine(_look(reactor, addresses, parts)))
    require_free("127.0.0.1", PORTS)
    with tempfile.TemporaryDirectory(prefix="tutorial-") as directory:
        home, folder = Path(directory) / "home", Path(directory) / "uring"
        home.mkdir()
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        walk(folder, home)
    print("the tutorial works as printed")


if __name__ == "__main__":
    main()
