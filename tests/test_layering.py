"""Imports run downwards only: which room may import what, read from the source itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import uring

PACKAGE = Path(uring.__file__).parent
PLUGIN = PACKAGE.parent / "twisted" / "plugins" / "uring_plugin.py"

ROOMS: dict[str, tuple[str, ...]] = {
    "uring": (),
    "uring.errors": (),
    "uring.raft": (),
    "uring.machines": (),
    "uring.wire": ("uring.raft.types", "uring.raft.messages"),
    "uring.store": ("uring.errors", "uring.raft.types", "uring.raft.storage", "uring.wire.codec"),
    "uring.peers": (
        "uring.errors",
        "uring.raft.messages",
        "uring.sockets",
        "uring.turns",
        "uring.wire",
    ),
    "uring.access": ("uring.machines.commands",),
    "uring.together": (),
    "uring.watch": ("uring.errors", "uring.machines", "uring.store.history"),
    "uring.proposals": ("uring.errors", "uring.machines", "uring.together"),
    "uring.reads": ("uring.errors", "uring.machines.commands", "uring.together"),
    "uring.api": (
        "uring.access",
        "uring.errors",
        "uring.machines.commands",
        "uring.machines.limits",
        "uring.machines.ring.commands",
        "uring.machines.values",
        "uring.measures",
        "uring.sockets",
        "uring.together",
        "uring.turns",
        "uring.watch",
    ),
    "uring.client": ("uring.errors",),
    "uring.cli": (
        "uring.backup",
        "uring.client",
        "uring.diskprobe",
        "uring.errors",
        "uring.options",
        "uring.peers.address",
        "uring.restore",
        "uring.security",
        "uring.store.failures",
    ),
    "uring.__main__": ("uring.cli",),
    "uring.limits": ("uring.api.limits", "uring.peers.limits"),
    "uring.configuration": (),
    "uring.options": ("uring.limits", "uring.configuration"),
    "uring.logs": (),
    "uring.faults": (),
    "uring.descriptors": (),
    "uring.sockets": (),
    "uring.scavenger": (),
    "uring.supervision": (),
    "uring.timers": (),
    "uring.turns": (),
    "uring.watchdog": (),
    "uring.security": ("uring.access", "uring.options", "uring.peers"),
    "uring.restore": (
        "uring.backup",
        "uring.machines.levels",
        "uring.machines.table",
        "uring.options",
        "uring.raft.types",
        "uring.recover",
        "uring.store",
    ),
    "uring.rescue": (
        "uring.access",
        "uring.errors",
        "uring.machines.commands",
        "uring.machines.tokens",
    ),
    "uring.recover": (
        "uring.rescue",
        "uring.machines.table",
        "uring.members",
        "uring.options",
        "uring.raft.types",
        "uring.store",
        "uring.upgrades",
    ),
    "uring.service": ("uring",),
    "uring.entry": ("uring.lean", "uring.options", "uring.service"),
    "uring.lean": ("uring.options",),
}
"""What each room may import of the project, besides itself."""

NODE = (
    "uring.access",
    "uring.api.gateway",
    "uring.errors",
    "uring.machines",
    "uring.proposals",
    "uring.raft",
    "uring.reads",
    "uring.together",
    "uring.watch",
    "uring.wire",
)
"""What the node and the modules beside it may import, besides each other.  They are handed their
store, their mesh and their time."""

TYPES_OF_THE_STORE = {
    # Streams what the store reads and writes: the summary of a snapshot, and the job that installs
    # one, are values of the store.  It opens nothing there itself.
    "uring.transfers": ("uring.store.snapshots", "uring.store.state"),
}
"""What single modules beside the node may import more than it."""

NOT_FOR_THE_NODE = (
    "uring.entry",
    "uring.lean",
    "uring.service",
    "uring.recover",
    "uring.rescue",
    "uring.restore",
    "uring.security",
    "uring.faults",
    "uring.descriptors",
    "uring.limits",
    "uring.configuration",
    "uring.options",
    "uring.logs",
    "uring.sockets",
    "uring.supervision",
    "uring.timers",
)
"""Modules beside the node that are above it."""

PURE = ("uring.raft", "uring.wire", "uring.machines")
"""Rooms without input, output and time."""

IMPURE = frozenset(
    (
        "asyncio",
        "autobahn",
        "datetime",
        "klein",
        "logging",
        "os",
        "pathlib",
        "plyvel",
        "secrets",
        "select",
        "selectors",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "treq",
        "twisted",
        "uuid",
        "zope",
    )
)


def modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = [PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(source: str, package: str, known: frozenset[str]) -> Iterator[str]:
    """Yield the dotted name of every module that ``source`` imports, wherever it does so.

    ``package`` is what relative imports start from; ``known`` tells modules from other names.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join(parts[: len(parts) - node.level + 1] + ([base] if base else []))
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield name if name in known else base


def room_of(module: str) -> str:
    """Return the room that ``module`` belongs to: a package or a single module of the root."""
    return ".".join(module.split(".")[:2])


def below(name: str, rooms: tuple[str, ...]) -> bool:
    """Tell whether ``name`` is one of ``rooms`` or in one of them."""
    return any(name == room or name.startswith(room + ".") for room in rooms)


def may_import(module: str, target: str, packages: frozenset[str]) -> bool:
    """Tell whether ``module`` may import ``target``; both are modules of the project."""
    room = room_of(module)
    if target == "uring" or room_of(target) == room:
        return True
    if room in ROOMS:
        return below(target, ROOMS[room])
    if room in packages:
        return False  # a new package needs a rule of its own
    beside = room_of(target) == target and target not in packages
    if beside:
        return target not in NOT_FOR_THE_NODE
    return below(target, (*NODE, *TYPES_OF_THE_STORE.get(module, ())))


def reactor_imports(source: str) -> Iterator[int]:
    """Yield the lines where importing the module would install a reactor."""
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        if any(below(name, ("twisted.internet.reactor",)) for name in names):
            yield getattr(node, "lineno", 0)
        waiting.extend(ast.iter_child_nodes(node))


class LayeringTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.modules = modules()
        self.known = frozenset(self.modules)
        self.packages = frozenset(
            name for name, path in self.modules.items() if path.name == "__init__.py"
        )

    def imported(self, module: str) -> set[str]:
        package = module if module in self.packages else module.rpartition(".")[0]
        return set(imports(self.modules[module].read_text("utf-8"), package, self.known))

    def test_rooms(self) -> None:
        """Every module imports only of its own room and of those below it."""
        wrong = [
            f"{module} imports {target}"
            for module in self.modules
            for target in sorted(self.imported(module))
            if below(target, ("uring",)) and not may_import(module, target, self.packages)
        ]
        self.assertEqual(wrong, [])

    def test_every_directory_is_a_package(self) -> None:
        """Every directory with modules says in its __init__ what it is."""
        directories = {path.parent for path in self.modules.values()}
        self.assertEqual([each for each in directories if not (each / "__init__.py").exists()], [])

    def test_pure_rooms(self) -> None:
        """The core, the codec and the machines know no Twisted, no clock, no disk, no network."""
        wrong = [
            f"{module} imports {target}"
            for module in self.modules
            for target in sorted(self.imported(module))
            if below(module, PURE) and target.partition(".")[0] in IMPURE
        ]
        self.assertEqual(wrong, [])

    def test_no_chance_in_the_machines(self) -> None:
        """Neither machines nor codec draw random numbers."""
        wrong = [
            module
            for module in self.modules
            if below(module, ("uring.machines", "uring.wire")) and "random" in self.imported(module)
        ]
        self.assertEqual(wrong, [])

    def test_reactor(self) -> None:
        """No module installs a reactor when it is imported."""
        wrong = [
            f"{module}:{line}"
            for module, path in self.modules.items()
            for line in reactor_imports(path.read_text("utf-8"))
        ]
        self.assertEqual(wrong, [])

    def test_plugin(self) -> None:
        """The plugin file imports nothing of the project and names the service as a string."""
        if not PLUGIN.exists():  # the installed package has its plugin among Twisted's own
            import twisted.plugins

            (plugin,) = (
                path
                for entry in twisted.plugins.__path__
                for path in Path(entry).glob("uring_plugin.py")
            )
        else:
            plugin = PLUGIN
        source = plugin.read_text("utf-8")
        self.assertEqual(set(imports(source, "", self.known)), {"twisted.application.service"})
        strings = {
            node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)
        }
        self.assertIn("uring.entry", strings)


class CheckerTests(SynchronousTestCase):
    """The checks above would find what they look for."""

    KNOWN = frozenset({"uring", "uring.raft", "uring.raft.log", "uring.machines"})

    def found(self, source: str, package: str = "uring.raft") -> list[str]:
        return list(imports(source, package, self.KNOWN))

    def test_forms_of_import(self) -> None:
        """Every form of import is seen, also in functions and relative ones."""
        self.assertEqual(self.found("import uring.raft.log as l"), ["uring.raft.log"])
        self.assertEqual(self.found("from uring.raft import log"), ["uring.raft.log"])
        self.assertEqual(self.found("from uring.raft import Raft"), ["uring.raft"])
        self.assertEqual(self.found("def f():\n from ..machines import kv"), ["uring.machines"])
        self.assertEqual(self.found("from . import log"), ["uring.raft.log"])

    def test_upwards(self) -> None:
        """Imports that go up, or past the door of a room, are refused."""
        packages = frozenset({"uring.api", "uring.raft", "uring.new"})
        for module, target in (
            ("uring.raft.log", "uring.errors"),
            ("uring.machines.kv", "uring.raft.types"),
            ("uring.wire.codec", "uring.raft.log"),
            ("uring.store.log", "uring.wire.hello"),
            ("uring.api.rest", "uring.machines.kv"),
            ("uring.node", "uring.service"),
            ("uring.node", "uring.store.log"),
            ("uring.node", "uring.api.rest"),
            ("uring.members", "uring.api"),
            ("uring.new.module", "uring.raft.types"),
        ):
            self.assertFalse(may_import(module, target, packages), f"{module} -> {target}")

    def test_downwards(self) -> None:
        """Imports within a room and of those below are allowed."""
        packages = frozenset({"uring.api", "uring.raft"})
        for module, target in (
            ("uring.raft.log", "uring.raft.types"),
            ("uring.wire.codec", "uring.raft.messages"),
            ("uring.node", "uring.members"),
            ("uring.members", "uring.node"),
            ("uring.node", "uring.api.gateway"),
            ("uring.service", "uring.store.log"),
        ):
            self.assertTrue(may_import(module, target, packages), f"{module} -> {target}")

    def test_reactor_forms(self) -> None:
        """A reactor is found at module level, in classes and conditions, but not in functions."""
        at_import = (
            "from twisted.internet import reactor",
            "import twisted.internet.reactor",
            "from twisted.internet.reactor import callLater",
            "class A:\n from twisted.internet import reactor",
            "try:\n from twisted.internet import defer, reactor\nexcept ImportError: pass",
        )
        for source in at_import:
            self.assertEqual(len(list(reactor_imports(source))), 1, source)
        later = (
            "def f():\n from twisted.internet import reactor",
            "class A:\n async def f(self):\n  from twisted.internet import reactor",
            "from twisted.internet import defer",
        )
        for source in later:
            self.assertEqual(list(reactor_imports(source)), [], source)
