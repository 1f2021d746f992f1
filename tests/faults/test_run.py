"""Short runs with real processes: the tool itself works, and says what it could not do."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

ROOT = Path(__file__).parents[2]


class RunTests(TestCase):
    """Each is a run of some seconds; what is asserted does not depend on their number."""

    timeout = 240

    async def run_faults(self, *words: str) -> tuple[str, int]:
        directory = Path(self.mktemp()).absolute()
        paths = [str(ROOT / "src"), str(ROOT)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        arguments = ["-m", "tests.faults", *words, "--directory", str(directory)]
        out, err, code = await getProcessOutputAndValue(
            sys.executable, arguments, env=environment, path=str(ROOT)
        )
        self.assertEqual(err, b"")
        return out.decode(), code

    def passed(self, output: str, code: int) -> None:
        self.assertEqual(code, 0, output)
        self.assertIn("violations: 0", output)
        compared = re.search(r"compared on all nodes at the end: (\d+)", output)
        self.assertTrue(compared and int(compared[1]), output)

    async def test_processes_on_loopback(self) -> None:
        """Without a sandbox processes are killed and frozen; what is not possible is said aloud."""
        output, code = await self.run_faults(
            "--plain", "--minutes=0.1", "--seed=4", "--nodes=3", "--only=kill,pause,partition"
        )
        self.passed(output, code)
        self.assertIn("SKIPPED partition: ", output)
        self.assertRegex(output, r"(kill|pause) +\d+ ")

    async def test_sandbox(self) -> None:
        """With a sandbox there are partitions and power cuts as well."""
        output, code = await self.run_faults(
            "--minutes=0.1", "--seed=5", "--nodes=3", "--only=partition,power"
        )
        if "SKIPPED power" in output or "SKIPPED partition" in output:
            self.skipTest("no network namespaces, or no loop devices")
        self.passed(output, code)
        self.assertRegex(output, r"partition +\d+ ")
        self.assertRegex(output, r"power +\d+ ")

    async def test_fault_that_does_not_exist(self) -> None:
        """An unknown kind is refused, and the known ones are named."""
        directory = Path(self.mktemp()).absolute()
        arguments = ["-m", "tests.faults", "--only=earthquake", "--directory", str(directory)]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        _, err, code = await getProcessOutputAndValue(
            sys.executable, arguments, env=environment, path=str(ROOT)
        )
        self.assertEqual(code, 2)
        self.assertIn(b"earthquake", err)
        self.assertIn(b"partition", err)
