"""Reads acceptance files in the format of coyote, and runs what they say.

A file is a list of groups, each with a ``name`` and ``entries``; an entry has a ``command`` and
what its output must and must not hold, as regular expressions.  A group named "coyote" gives the
report its title.  Commands are run by the shell; coyote itself splits them into words as a shell
would, so a file that both are to run keeps to plain words and quotes.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import field, frozen

TIMEOUT_SECONDS = 300.0
"""For a command that names no time-out of its own."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_KNOWN = frozenset(
    {
        *("name", "command", "workdir", "stdin", "env", "timeout", "nolog", "noregex"),
        *("ignore_exit_code", "skip", "noskip", "stdout", "stderr"),
        *("stdout_has", "stdout_not_has", "stderr_has", "stderr_not_has"),
    }
)


class FileError(Exception):
    """An acceptance file that cannot be used; the text says where and why."""


@frozen
class Expectation:
    """One thing that an output must hold, or must not."""

    stream: str
    text: str
    wanted: bool = True
    literal: bool = False

    def failure(self, outputs: Mapping[str, str]) -> str | None:
        """Return why ``outputs`` ("stdout" and "stderr") do not satisfy this, None if they do."""
        output = outputs[self.stream]
        found = (self.text in output) if self.literal else bool(re.search(self.text, output))
        if found == self.wanted:
            return None
        return f"{self.stream} {'lacks' if self.wanted else 'has'} {self.text!r}"


@frozen
class Entry:
    """One command and what is expected of it."""

    name: str
    command: str
    workdir: str | None = None
    stdin: str = ""
    env: tuple[str, ...] = ()
    timeout: float = TIMEOUT_SECONDS
    log: bool = True
    ignore_exit_code: bool = False
    skip: bool = False
    expectations: tuple[Expectation, ...] = ()


@frozen
class Group:
    """Entries under one heading."""

    name: str
    entries: tuple[Entry, ...]


@frozen
class Suite:
    """A whole file."""

    title: str
    groups: tuple[Group, ...]


@frozen
class Outcome:
    """What became of one entry; ``problems`` is empty when it passed."""

    entry: Entry
    stdout: str = ""
    stderr: str = ""
    exit_code: int | None = None
    seconds: float = 0.0
    problems: tuple[str, ...] = field(default=())

    @property
    def verdict(self) -> str:
        """Return "ok", "skipped", or "FAILED"."""
        if self.entry.skip:
            return "skipped"
        return "FAILED" if self.problems else "ok"


def seconds(text: str | float) -> float:
    """Return a duration such as 300s, 1m30s, 250ms in seconds; raises ValueError for others."""
    if isinstance(text, int | float):
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration: write 30s, 1m30s, or 250ms")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def load(path: Path | str) -> Suite:
    """Read an acceptance file; raises FileError."""
    try:
        return parse(yaml.safe_load(Path(path).read_text("utf-8")))
    except (OSError, yaml.YAMLError, FileError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: {error}") from error


def parse(document: Any) -> Suite:
    """Return the suite of a parsed file; raises FileError."""
    if not isinstance(document, list):
        raise FileError("the file is not a list of groups")
    title = "acceptance tests"
    variables: dict[str, str] = {}
    groups: list[Group] = []
    for number, raw in enumerate(document, 1):
        if not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
            raise FileError(f"group {number} has no name")
        own = _strings_of(raw.get("vars"), raw["name"])
        if raw["name"] == "coyote":
            title = str(raw.get("title", title))
            variables.update(own)
            continue
        chosen = {**variables, **own}
        skip = _skipped(raw)
        entries = [_entry(each, raw["name"], chosen, skip) for each in raw.get("entries") or []]
        groups.append(Group(raw["name"], tuple(entries)))
    return Suite(title, tuple(groups))


def _strings_of(raw: Any, where: str) -> dict[str, str]:
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise FileError(f"{where}: vars is no mapping")
    return {str(name): str(value) for name, value in raw.items()}


def _skipped(raw: Mapping[str, Any]) -> bool:
    """Coyote skips where ``skip`` is true, and where ``noskip`` is there and not true."""
    skip, noskip = str(raw.get("skip", "")), raw.get("noskip")
    return skip.lower() == "true" or (noskip is not None and str(noskip).lower() != "true")


def _entry(raw: Any, group: str, variables: Mapping[str, str], skip: bool) -> Entry:
    if not isinstance(raw, dict) or not isinstance(raw.get("command"), str):
        raise FileError(f"{group}: an entry has no command")
    unknown = sorted(str(key) for key in raw if key not in _KNOWN)
    if unknown:
        # A misspelt expectation would otherwise never be looked at.
        raise FileError(f"{group}: unknown fields {', '.join(unknown)}")

    def replaced(text: Any) -> str:
        return _replaced(str(text), variables)

    command = replaced(raw["command"]).strip()
    try:
        return Entry(
            name=replaced(raw.get("name") or command),
            command=command,
            workdir=raw.get("workdir"),
            stdin=replaced(raw.get("stdin") or ""),
            env=tuple(map(replaced, raw.get("env") or ())),
            timeout=seconds(raw.get("timeout") or TIMEOUT_SECONDS),
            log=not raw.get("nolog", False),
            ignore_exit_code=bool(raw.get("ignore_exit_code", False)),
            skip=skip or _skipped(raw),
            expectations=tuple(_expectations(raw, replaced)),
        )
    except ValueError as error:
        raise FileError(f"{group}: {error}") from error


def _replaced(text: str, variables: Mapping[str, str]) -> str:
    for name, value in variables.items():
        text = text.replace(f"%{name}%", value)
    return text.replace("%UNIQUE%", uuid.uuid4().hex)


def _expectations(raw: Mapping[str, Any], replaced: Callable[[Any], str]) -> Iterable[Expectation]:
    """Yield those of the short form (stdout_has) and of the long one (stdout: - match)."""
    literal = bool(raw.get("noregex", False))
    for stream in ("stdout", "stderr"):
        for suffix, wanted in (("has", True), ("not_has", False)):
            for text in raw.get(f"{stream}_{suffix}") or ():
                yield _expectation(stream, replaced(text), wanted, literal)
        for rule in raw.get(stream) or ():
            plain = bool(rule.get("noregex") or rule.get("contains") or rule.get("partial"))
            for key, wanted in (("match", True), ("not_match", False)):
                for text in rule.get(key) or ():
                    yield _expectation(stream, replaced(text), wanted, plain)


def _expectation(stream: str, text: str, wanted: bool, literal: bool) -> Expectation:
    if not literal:
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"{text!r} is no regular expression: {error}") from error
    return Expectation(stream, text, wanted, literal)


def run_entry(entry: Entry) -> Outcome:
    """Run one command to its end, or to its time-out, and compare."""
    if entry.skip:
        return Outcome(entry)
    environment = dict(os.environ)
    environment.update(each.partition("=")[::2] for each in entry.env)
    began = time.monotonic()
    process = subprocess.Popen(
        ["/bin/sh", "-c", entry.command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=entry.workdir,
        env=environment,
        start_new_session=True,
    )
    problems: list[str] = []
    try:
        out, err = process.communicate(entry.stdin.encode(), entry.timeout)
    except subprocess.TimeoutExpired:
        # The shell's children hold the pipes: the whole group has to go.
        os.killpg(process.pid, 9)
        out, err = process.communicate()
        problems.append(f"no end within {entry.timeout:g} s")
    texts = {"stdout": out.decode("utf-8", "replace"), "stderr": err.decode("utf-8", "replace")}
    if process.returncode != 0 and not problems and not entry.ignore_exit_code:
        problems.append(f"exit code {process.returncode}")
    problems += [found for each in entry.expectations if (found := each.failure(texts))]
    return Outcome(
        entry,
        texts["stdout"],
        texts["stderr"],
        process.returncode,
        time.monotonic() - began,
        tuple(problems),
    )
