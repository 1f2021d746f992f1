"""What the documents say exists: files, headings, commands, options, routes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from twisted.trial.unittest import SynchronousTestCase

from tests.integration import tutorial
from uring.cli.main import main
from uring.options import Options

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """Return every Markdown file of the project."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def prose(path: Path) -> str:
    """Return a document without its blocks of code."""
    return _FENCE.sub("", path.read_text("utf-8"))


def anchors(path: Path) -> set[str]:
    """Return the names of the headings, as GitHub and MkDocs make them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return found


def links(path: Path) -> Iterator[str]:
    """Yield the targets of all links and pictures."""
    for match in _LINK.finditer(prose(path)):
        yield match[1] or match[2]


class DocumentTests(SynchronousTestCase):
    def test_links(self) -> None:
        """Every link within the project leads somewhere, headings included."""
        broken = []
        for path in documents():
            for target in links(path):
                if re.match(r"[a-z]+:", target):
                    continue
                name, _, anchor = unquote(target).partition("#")
                file = (path.parent / name).resolve() if name else path
                if not file.exists() or (
                    anchor and file.suffix == ".md" and anchor not in anchors(file)
                ):
                    broken.append(f"{path.relative_to(ROOT)}: {target}")
        self.assertEqual(broken, [])

    def test_read_on(self) -> None:
        """The README leads to every document."""
        readme = set(links(ROOT / "README.md"))
        missing = [
            path.name for path in (ROOT / "docs").glob("*.md") if f"docs/{path.name}" not in readme
        ]
        self.assertEqual(missing, [])

    def test_commands(self) -> None:
        """Every command of the client that a document shows is one that there is."""
        wrong = []
        for path in documents():
            text = path.read_text("utf-8")
            for line in re.findall(r"^\s*(?:\$ )?uring ((?:-\S+ \S+ )*)(\w[\w-]*)", text, re.M):
                if line[1] not in main.commands:
                    wrong.append(f"{path.name}: uring {line[1]}")
        self.assertEqual(wrong, [])

    def test_options(self) -> None:
        """Every option of a node that a document shows is one that there is."""
        options = Options()
        known = {name.rstrip("=") for name in options.longOpt} | {"pidfile", "log-format"}
        wrong = []
        for path in documents():
            for line in re.findall(
                r"twistd? (?:-n )?(?:--\S+ )*uring (.*)", path.read_text("utf-8")
            ):
                for name in re.findall(r"(?:^|\s)--([a-z][a-z-]*)", line.split("#")[0]):
                    if name not in known:
                        wrong.append(f"{path.name}: --{name}")
        self.assertEqual(wrong, [])


class TutorialTests(SynchronousTestCase):
    """What ``tox -e tutorial`` relies on; it runs the commands."""

    def test_blocks(self) -> None:
        """Every block says in which terminal it runs, and what is expected is really asked for."""
        found = tutorial.blocks((ROOT / tutorial.TUTORIAL).read_text("utf-8"))
        commands = [command for block in found for command in block.commands]
        self.assertEqual(set(tutorial.EXPECTED) - set(commands), set())
        self.assertLessEqual(set(tutorial.AFTERWARDS), {block.terminal for block in found})

    def test_block_without_a_terminal(self) -> None:
        """A block that nobody would run is refused."""
        with self.assertRaises(tutorial.WrongTutorial):
            tutorial.blocks("text\n```bash\nuring status\n```\n")
