"""When all tokens of role admin are lost: a new one, by who can write in a node's data directory.

Whoever can do that could alter anything the node says (docs/SECURITY.md), so this gives away
nothing that was not theirs.  ``python -m uring.recover --admin-token`` makes a token, shows it, and
leaves a file with its digest; the node reads the file when it starts, has the token added through
the log, so that all members have it alike, and removes the file.  Nothing is open to everybody
meanwhile, and all other tokens stay: they can then be looked at and removed.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from attrs import define, field
from msgspec import Struct
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from uring.access import digest
from uring.errors import UringError
from uring.machines.commands import RecoverToken, Token
from uring.machines.tokens import is_id

FILE = "admin-token"
"""In the data directory."""
RETRY_SECONDS = 1.0
FILE_BYTES_MAX = 4096
ID_BYTES, SECRET_BYTES = 8, 32


class RescueError(ValueError):
    """The file cannot be used; the text is one line that says what to do."""


class _Content(Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    sha256: str


def leave(data_dir: Path) -> str:
    """Leave a file for a node that will start with ``data_dir``; return the token.

    Raises RescueError, OSError.
    """
    if not (data_dir / "log").is_dir():
        raise RescueError(f"{data_dir}: this is no node's data directory; say --data-dir DIR")
    name, secret = secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)
    path, partial = data_dir / FILE, data_dir / f"{FILE}.new"
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        owner = data_dir.stat()
        if os.geteuid() == 0:  # the node runs as somebody else, and must be able to read it
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        json.dump({"id": name, "sha256": digest(secret).hex()}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    return f"{name}.{secret}"


def read(data_dir: Path) -> RecoverToken | None:
    """Return what a file in ``data_dir`` asks for, None if there is none.  Raises RescueError."""
    path = data_dir / FILE
    what = "remove it, or make it anew: python -m uring.recover --admin-token"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise RescueError(f"{path}: {problem.strerror}; {what}") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()):
            raise RescueError(f"{path}: belongs to somebody else; {what}")
        if found.st_mode & 0o022:
            raise RescueError(f"{path}: others can write to it; {what}")
        data = file.read(FILE_BYTES_MAX)
    try:
        content = msgspec.json.decode(data, type=_Content)
        known = bytes.fromhex(content.sha256)
    except (msgspec.MsgspecError, ValueError):
        raise RescueError(f"{path}: cannot be read; {what}") from None
    if not is_id(content.id) or len(known) != 32:
        raise RescueError(f"{path}: holds no digest of a token; {what}")
    return RecoverToken(content.id, known)


@define
class Rescue:
    """Has a token added, and removes the file once it is."""

    _submit: Callable[[Any, Callable[[Any], None]], None]
    """As that of the gateway."""
    _clock: IReactorTime
    _path: Path
    _command: RecoverToken
    log: Logger = field(factory=lambda: Logger(namespace="uring.security"))
    _said: str = field(default="", init=False)

    def start(self) -> None:
        """Ask until there is an answer: the same token is added only once."""
        self._submit(self._command, self._answered)

    def _answered(self, result: Any) -> None:
        if isinstance(result, UringError):
            if str(result) != self._said:
                self._said = str(result)
                self.log.warn("{file} waits: {reason}", file=str(self._path), reason=self._said)
            self._clock.callLater(RETRY_SECONDS, self.start)
            return
        if isinstance(result, Token):
            text = "token {id} of role admin was added, as {file} asked for"
            self.log.warn(text, id=result.id, file=str(self._path))
        else:
            self.log.error("{file} was refused: {reason}", file=str(self._path), reason=result)
        try:
            self._path.unlink(missing_ok=True)
        except OSError as problem:
            text = "{file} cannot be removed, do so: {reason}"
            self.log.error(text, file=str(self._path), reason=problem.strerror)
