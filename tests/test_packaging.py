"""Wheels and editable installs, built and installed into environments of their own.

Needs pip to reach a package index, for the build back-end and Twisted; says so where it cannot.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, TestCase

ROOT = Path(__file__).resolve().parent.parent
PACKED = ("src", "pyproject.toml", "README.md", "LICENSE")
NO_INDEX = ("No matching distribution found", "Could not find a version", "NewConnectionError")


class InstallTests(TestCase):
    """Both ways to install."""

    timeout = 600

    def setUp(self) -> None:
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir()
        self.checkout = self.place / "checkout with spaces"
        self.checkout.mkdir()
        for name in PACKED:
            if (ROOT / name).is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "dropin.cache")
                shutil.copytree(ROOT / name, self.checkout / name, ignore=ignore)
            else:
                shutil.copy(ROOT / name, self.checkout / name)
        # As a node that ran from the checkout leaves it: it must not be packed.
        (self.checkout / "src" / "twisted" / "plugins" / "dropin.cache").write_bytes(b"stale")
        self.environment = {
            name: value for name, value in os.environ.items() if name != "PYTHONPATH"
        }

    def pip(self, python: Path | str, *words: str) -> None:
        done = subprocess.run(
            [str(python), "-m", "pip", "--disable-pip-version-check", *words],
            env=self.environment,
            cwd=self.place,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            if any(sign in done.stderr for sign in NO_INDEX):
                raise SkipTest(f"pip cannot fetch packages here: {done.stderr.splitlines()[-1]}")
            self.fail(done.stderr)

    def new_environment(self) -> Path:
        venv.create(self.place / "venv", with_pip=True)
        python = self.place / "venv" / "bin" / "python"
        # Only what listing plugins needs: uring itself is installed without its dependencies.
        self.pip(python, "install", "--quiet", "twisted")
        return python

    def assert_listed(self, python: Path) -> None:
        for name in ("twist", "twistd"):
            done = subprocess.run(
                [str(python.parent / name), "--help"],
                env=self.environment,
                cwd=self.place,
                capture_output=True,
                text=True,
                check=False,
            )
            listed = [line for line in done.stdout.splitlines() if line.split()[:1] == ["uring"]]
            self.assertEqual(len(listed), 1, f"{name}: {done.stdout}{done.stderr}")

    def test_wheel(self) -> None:
        """A wheel holds the plugin and no cache, and both runners list uring from it."""
        wheels = self.place / "wheels"
        self.pip(
            sys.executable, "wheel", "--no-deps", "--quiet", "-w", str(wheels), str(self.checkout)
        )
        (wheel,) = wheels.glob("uring-*.whl")
        names = zipfile.ZipFile(wheel).namelist()
        self.assertIn("twisted/plugins/uring_plugin.py", names)
        self.assertIn("uring/py.typed", names)
        self.assertEqual([name for name in names if "dropin" in name], [])
        self.assertEqual(
            [name for name in names if name.startswith("twisted/") and "__init__" in name], []
        )
        python = self.new_environment()
        self.pip(python, "install", "--no-deps", "--quiet", str(wheel))
        self.assert_listed(python)

    def test_editable(self) -> None:
        """An editable install lets both runners list uring."""
        (self.checkout / "src" / "twisted" / "plugins" / "dropin.cache").unlink()
        python = self.new_environment()
        self.pip(python, "install", "--no-deps", "--quiet", "--editable", str(self.checkout))
        self.assert_listed(python)
