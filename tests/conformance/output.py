"""Where a script's output gathers: levels of log lines, silence, indentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

LEVELS = ("DEBUG", "INFO", "WARN", "ERROR", "FATAL", "NONE")


class Output:
    """Text of one directive; at level NONE everything but errors is dropped."""

    def __init__(self) -> None:
        self.level = 0
        self._parts: list[str] = []

    @property
    def is_quiet(self) -> bool:
        """True at level NONE."""
        return self.level == len(LEVELS) - 1

    def write(self, text: str) -> None:
        """Add ``text``."""
        if not self.is_quiet:
            self._parts.append(text)

    def log(self, level: str, text: str) -> None:
        """Add a log line if its level is shown; this is the hook that cores are given."""
        rank = LEVELS.index(level.upper())
        if rank >= self.level:
            self.write(f"{LEVELS[rank]} {text}\n")

    def set_level(self, name: str) -> None:
        """Show log lines from level ``name`` on.  Raises :exc:`ValueError`."""
        if name.upper() not in LEVELS:
            raise ValueError(f"log levels must be either of [{' '.join(LEVELS)}]")
        self.level = LEVELS.index(name.upper())

    def take(self) -> str:
        """Return what has gathered and begin again."""
        text = "".join(self._parts)
        self._parts = []
        return text

    @contextmanager
    def indented(self) -> Iterator[None]:
        """Indent every line that is added inside."""
        outer, self._parts = self._parts, []
        try:
            yield
        finally:
            inner, self._parts = "".join(self._parts), outer
            self._parts += [f"  {line}\n" for line in inner.splitlines()]

    def each(self, heading: str, nodes: list[int], work: Callable[[int], None]) -> None:
        """Do ``work`` for each node; under headings if there are several."""
        for node in nodes:
            if len(nodes) == 1:
                work(node)
                continue
            self.write(f"> {node} {heading}\n")
            with self.indented():
                work(node)
