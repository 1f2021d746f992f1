"""Scripts in the format of cockroachdb/datadriven: a directive, ``----``, what it prints."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

_ARGUMENT = re.compile(r"([^\s=]+)(?:=(\([^)]*\)|\S*))?")


class ScriptError(Exception):
    """A script that cannot be read or a directive that makes no sense."""


@frozen
class Argument:
    """``key``, ``key=value`` or ``key=(value, value)``."""

    key: str
    values: tuple[str, ...] = ()


@frozen
class Command:
    """One line: a name and its arguments."""

    name: str
    arguments: tuple[Argument, ...]

    def value(self, key: str) -> str | None:
        """Return the single value of argument ``key``, or None."""
        for argument in self.arguments:
            if argument.key == key and argument.values:
                return argument.values[0]
        return None

    def values(self, key: str) -> tuple[str, ...] | None:
        """Return all values of argument ``key``, or None if it is not there."""
        for argument in self.arguments:
            if argument.key == key:
                return argument.values
        return None

    def numbers(self) -> list[int]:
        """Return the arguments that have no value, as numbers."""
        return [int(each.key) for each in self.arguments if not each.values]


@frozen
class Directive:
    """A command with the lines under it, and what it must print.  ``line`` counts from 1."""

    line: int
    command: Command
    body: tuple[str, ...]
    expected: str
    output_line: int


def parse_command(text: str) -> Command:
    """Return the command in one line."""
    name, _, rest = text.strip().partition(" ")
    arguments = []
    for key, value in _ARGUMENT.findall(rest):
        if value.startswith("("):
            parts = tuple(part.strip() for part in value[1:-1].split(","))
            arguments.append(Argument(key, tuple(part for part in parts if part)))
        else:
            arguments.append(Argument(key, (value,) if value else ()))
    return Command(name, tuple(arguments))


def parse_script(text: str) -> Iterator[Directive]:
    """Return the directives of a script in order.  Raises :exc:`ScriptError`."""
    lines = text.split("\n")
    position = 0
    while position < len(lines):
        line = lines[position]
        if not line.strip() or line.startswith("#"):
            position += 1
            continue
        start = position
        while position < len(lines) and lines[position] != "----":
            position += 1
        if position == len(lines):
            raise ScriptError(f"line {start + 1}: a directive without ----")
        header, body = _join_continued(lines[start:position])
        expected, output, position = _output(lines, position + 1)
        yield Directive(start + 1, parse_command(header), body, expected, output)


def _join_continued(lines: list[str]) -> tuple[str, tuple[str, ...]]:
    """Return the directive, whose line may go on after a backslash, and what is under it."""
    header = lines[0].strip()
    used = 1
    while header.endswith("\\") and used < len(lines):
        header = header[:-1].rstrip() + " " + lines[used].strip()
        used += 1
    return header, tuple(line for line in lines[used:] if line.strip())


def _output(lines: list[str], position: int) -> tuple[str, int, int]:
    """Return the expected output, its first line's number and where to read on.

    It ends at an empty line; a second ``----`` opens one that may hold empty lines and ends at two.
    """
    if position < len(lines) and lines[position] == "----":
        start = position + 1
        end = start
        while end + 1 < len(lines) and lines[end : end + 2] != ["----", "----"]:
            end += 1
        return "\n".join(lines[start:end]), start + 1, end + 2
    end = position
    while end < len(lines) and lines[end]:
        end += 1
    return "\n".join(lines[position:end]), position + 1, end
