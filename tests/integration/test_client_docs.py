"""The code in docs/CLIENT.md does what it says, on a real node, and leaves nothing out."""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue

import uring.client
import uring.client.asyncio
from tests.integration.base import ProcessTestCase
from uring.client import Client, Lock, WebSocketSession

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "CLIENT.md"


def blocks() -> list[str]:
    """Return the blocks of Python, in order."""
    return re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.M | re.S)


class DocumentTests(ProcessTestCase):
    async def test_code(self) -> None:
        """Every block runs: programs in processes of their own, the others one after the other."""
        address = (await self.formed(1)).servers[0].address
        client = Client(address)
        self.addCleanup(client.close)
        names: dict[str, Any] = {"client": client, "print": lambda *things: None}
        programs = 0
        for code in blocks():
            code = re.sub(r"127\.0\.0\.1:808\d", address, code)
            if "def main(" in code:
                programs += 1
                self.assertEqual(await self.program(code), "boop\n")
                continue
            compiled = compile(code, str(DOCUMENT), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            running = eval(compiled, names)
            if inspect.iscoroutine(running):
                await Deferred.fromCoroutine(running).addTimeout(20, self.reactor)
        self.assertEqual(programs, 2)
        self.assertGreater(len(blocks()), 8)

    async def program(self, code: str) -> str:
        """Run ``code``; return what it printed."""
        script = self.directory / "script.py"
        script.write_text(code)
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        out, err, exit_code = await getProcessOutputAndValue(
            sys.executable, [str(script)], env=environment, path=str(self.directory)
        ).addTimeout(30, self.reactor)
        self.assertEqual((exit_code, err), (0, b""))
        return str(out.decode())

    async def test_everything_is_there(self) -> None:
        """Every public class and function is named, and every call of a client, lock and socket."""
        text = DOCUMENT.read_text("utf-8")
        names = {*uring.client.__all__, *uring.client.asyncio.__all__}
        for kind in (Client, Lock, WebSocketSession):
            names |= {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}
        names -= {"lasting", "pause", "resume", "drop", "send", "text_received", "connection_lost"}
        missing = [name for name in sorted(names) if not re.search(rf"\b{name}\b", text)]
        self.assertEqual(missing, [])
