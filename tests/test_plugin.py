"""What twist and twistd see of uring."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

SOURCE = Path(__file__).resolve().parent.parent / "src"
PLUGIN = SOURCE / "twisted" / "plugins" / "uring_plugin.py"
RUNNERS = {
    "twist": "from twisted.application.twist._twist import Twist; Twist.main()",
    "twistd": "from twisted.scripts.twistd import run; run()",
}


def run(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class PluginTests(TestCase):
    """The plugin file and how it is found."""

    def test_imports_only_the_service_maker(self) -> None:
        """The plugin file imports ServiceMaker alone, since every twist of a machine imports it."""
        tree = ast.parse(PLUGIN.read_text("utf-8"))
        found = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        self.assertEqual(
            [ast.unparse(node) for node in found],
            ["from twisted.application.service import ServiceMaker"],
        )

    def test_no_package_hides_twisted(self) -> None:
        """Neither directory above the plugin is a package."""
        self.assertEqual(list((SOURCE / "twisted").rglob("__init__.py")), [])

    def test_listed_once(self) -> None:
        """Both runners list uring, once."""
        for name, code in RUNNERS.items():
            done = run(code, "--help")
            listed = [line for line in done.stdout.splitlines() if line.split()[:1] == ["uring"]]
            self.assertEqual(len(listed), 1, f"{name}: {done.stdout}{done.stderr}")

    def test_listing_imports_no_service(self) -> None:
        """To be listed, nothing of uring is imported, and no reactor."""
        done = run(
            "import sys\n"
            "from twisted.plugin import getPlugins\n"
            "from twisted.application.service import IServiceMaker\n"
            "names = [plugin.tapname for plugin in getPlugins(IServiceMaker)]\n"
            "assert names.count('uring') == 1, names\n"
            "loaded = [m for m in sys.modules if m.startswith('uring') or m.endswith('.reactor')]\n"
            "assert not loaded, loaded\n"
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_bad_option_ends_the_process(self) -> None:
        """A refused option ends either runner with a code that is not 0, and says what to write."""
        for name, code in RUNNERS.items():
            before = ["-n", "--pidfile="] if name == "twistd" else []
            done = run(code, *before, "uring", "-i", "0")
            self.assertNotEqual(done.returncode, 0, name)
            self.assertIn("--id=N with N from 1", done.stdout + done.stderr, name)
