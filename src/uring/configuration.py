"""Options from a TOML file and from the environment, as words that stand before the command line's.

What is said nearer to the process counts: a flag, then ``URING_...``, then the file, then the
default.  A list (peers, limits ...) is taken whole from the nearest place that has it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

PREFIX = "URING_"
NOT_OURS = frozenset(("CONFIG", "ENDPOINTS", "OUTPUT", "TIMEOUT", "PATIENCE", "PEER_SECRET"))
"""Of the environment: where the file is, what the command line client reads, and a secret."""
_TRUE, _FALSE = frozenset(("1", "true", "yes", "on")), frozenset(("0", "false", "no", "off", ""))


class ConfigurationError(ValueError):
    """The file or the environment says something that cannot be."""


@frozen
class Known:
    """What there is to be set: names as on the command line, without the dashes."""

    parameters: Collection[str]
    flags: Collection[str]
    lists: Collection[str]

    def __contains__(self, name: str) -> bool:
        return name in self.parameters or name in self.flags or name in self.lists


def words(
    known: Known, given: Collection[str], environ: Mapping[str, str], file: Path | None
) -> list[str]:
    """Return what file and environment say, as words of a command line.

    ``given`` are the names that the command line has itself.  Raises ConfigurationError.
    """
    from_environment = _environment(known, environ)
    from_file = {} if file is None else _file(known, file)
    said: list[str] = []
    for layer, nearer in ((from_file, {*from_environment, *given}), (from_environment, {*given})):
        for name, values in layer.items():
            if name not in nearer:
                said.extend(values)
    return said


def _environment(known: Known, environ: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for variable, value in sorted(environ.items()):
        name = variable.removeprefix(PREFIX).lower().replace("_", "-")
        if variable.startswith(PREFIX) and name in known:
            if variable.removeprefix(PREFIX) in NOT_OURS:
                continue
            if name in known.lists:
                values: Any = [each.strip() for each in value.split(",") if each.strip()]
            else:
                values = value
            found[name] = list(_spelled(known, name, values, variable))
    return found


def _file(known: Known, path: Path) -> dict[str, list[str]]:
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as problem:
        raise ConfigurationError(f"{path}: {problem.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"{path}: no valid TOML: {problem}") from None
    found = {}
    for key, value in content.items():
        name = key.replace("_", "-")
        if name not in known and name.removesuffix("s") in known.lists:
            name = name.removesuffix("s")  # peers = [...] reads better
        if name not in known:
            names = ", ".join(sorted({*known.parameters, *known.flags, *known.lists}))
            raise ConfigurationError(f"{path}: unknown key {key!r}; known are {names}")
        found[name] = list(_spelled(known, name, value, f"{path}: {key}"))
    return found


def _spelled(known: Known, name: str, value: Any, where: str) -> Iterator[str]:
    if name in known.flags:
        if _is_true(value, where):
            yield f"--{name}"
    elif name in known.lists:
        for each in _elements(value, where):
            yield f"--{name}={each}"
    elif isinstance(value, bool) or not isinstance(value, str | int):
        raise ConfigurationError(f"{where}: write a text or a whole number")
    else:
        yield f"--{name}={value}"


def _is_true(value: Any, where: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    raise ConfigurationError(f"{where}: write true or false")


def _elements(value: Any, where: str) -> Sequence[str]:
    if isinstance(value, Mapping):  # [limits] of names and numbers
        if all(isinstance(each, str | int | float) for each in value.values()):
            return [f"{name}={each}" for name, each in value.items()]
    elif isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    raise ConfigurationError(f'{where}: write a list of texts, such as ["a", "b"]')
