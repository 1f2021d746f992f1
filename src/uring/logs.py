"""Where log events go: one JSON object a line, or one line of text, never more than one line each.

What a client sends may end up in an event, so control characters are escaped in both forms: nobody
can forge a line, or move the cursor of who reads it.
"""

from __future__ import annotations

import json as stdlib_json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO, cast

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogBeginner,
    LogEvent,
    formatEvent,
    globalLogBeginner,
)
from twisted.python.failure import Failure

_OWN = ("time", "level", "system", "message", "traceback")
_LEGACY = frozenset(
    {"isError", "format", "why", "failure", "printed", "logLevel", "time", "system"}
)
_DEPTH_MAX = 6
"""Levels of nesting kept in a field; what is deeper is shown by its repr."""

# C0, DEL, C1, line and paragraph separators, those that reverse the order of reading, surrogates.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape(text: str) -> str:
    """Return ``text`` with each character that could disturb a line as \\xNN or \\uNNNN."""
    return _CONTROL.sub(lambda found: _escaped(ord(found[0])), text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def json_safe(value: Any, depth: int = 0) -> Any:
    """Return ``value`` as JSON knows it; what JSON does not know is shown by its text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if depth < _DEPTH_MAX and isinstance(value, Mapping):
        return {_shown(key): json_safe(item, depth + 1) for key, item in value.items()}
    if depth < _DEPTH_MAX and isinstance(value, list | tuple | set | frozenset):
        return [json_safe(item, depth + 1) for item in value]
    return _shown(value)


def _shown(value: Any) -> str:
    """Return ``value`` as text, whatever its own __str__ does: logging must never raise."""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _time(event: LogEvent) -> str:
    """Return the event's time as ISO 8601 in UTC, with microseconds."""
    stamp = event.get("log_time", 0.0)
    return datetime.fromtimestamp(stamp, UTC).isoformat(timespec="microseconds")


def _level(event: LogEvent) -> str:
    level = event.get("log_level")
    return "info" if level is None else str(level.name)


def _traceback(event: LogEvent) -> str | None:
    failure = event.get("log_failure")
    return failure.getTraceback() if isinstance(failure, Failure) else None


def _fields(event: LogEvent) -> dict[str, Any]:
    """Return what the caller of the logger gave by keyword, JSON-safe."""
    legacy = "log_legacy" in event
    fields: dict[str, Any] = {}
    for name, value in event.items():
        if name.startswith("log_") or (legacy and (name in _LEGACY or name == "message")):
            continue
        # A field must not pass for one of ours.
        fields[f"{name}_" if name in _OWN else name] = json_safe(value)
    return fields


def json_line(event: LogEvent) -> str:
    """Return ``event`` as one JSON object and a line feed, pure ASCII, as plain ``jq`` reads it."""
    entry: dict[str, Any] = {
        "time": _time(event),
        "level": _level(event),
        "system": _system(event),
        "message": formatEvent(event),
    }
    traceback = _traceback(event)
    if traceback is not None:
        entry["traceback"] = traceback
    entry.update(_fields(event))
    return stdlib_json.dumps(entry, ensure_ascii=True, allow_nan=False) + "\n"


def text_line(event: LogEvent) -> str:
    """Return ``event`` as one line for people; a traceback follows, indented."""
    message = escape(formatEvent(event))
    line = f"{_time(event)} [{escape(_system(event))}#{_level(event)}] {message}\n"
    traceback = _traceback(event)
    if traceback is not None:
        line += "".join(f"\t{escape(part)}\n" for part in traceback.splitlines())
    return line


def _system(event: LogEvent) -> str:
    return _shown(event.get("log_system") or event.get("log_namespace") or "-")


def observer(file: TextIO, json: bool) -> ILogObserver:
    """Return an observer that writes every event to ``file``, as JSON lines or as text."""
    return cast(ILogObserver, FileLogObserver(file, json_line if json else text_line))


def install(json: bool, beginner: LogBeginner = globalLogBeginner) -> None:
    """Let events be written in our form, wherever ``twist`` or ``twistd`` was told to write them.

    To be called by makeService.  Both runners begin logging only after that, with an observer of
    their own: twistd would take one from the application, which makeService does not get to see,
    and twist takes none at all.  Adding ours beside theirs would show everything twice, in two
    forms; beginning before them is answered by a warning and both observers.  So we stand in for
    the next ``beginLoggingTo`` and give theirs our form: file, rotation, and level stay theirs.
    """
    begin = beginner.beginLoggingTo
    form = json_line if json else text_line

    def begin_in_our_form(observers: Iterable[Any], *args: Any, **kwargs: Any) -> None:
        beginner.beginLoggingTo = begin  # type: ignore[method-assign]
        begin([_reformed(each, form) for each in observers], *args, **kwargs)

    beginner.beginLoggingTo = begin_in_our_form  # type: ignore[method-assign,assignment]


def _reformed(theirs: Any, form: Any) -> Any:
    """Give a file observer our form; leave others, such as syslog's, alone."""
    inner = theirs
    while isinstance(inner, FilteringLogObserver):
        inner = inner._observer
    if isinstance(inner, FileLogObserver):
        inner.formatEvent = form
    return theirs
