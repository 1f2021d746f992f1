"""All bounds that can be set, by name: ``--limit NAME=VALUE``."""

from __future__ import annotations

from typing import Any, Self

import attrs
from attrs import field, frozen

from uring.api.limits import Limits
from uring.peers.limits import PeerLimits


@frozen(kw_only=True)
class NodeLimits:
    """What one node lets wait."""

    waiting_commands: int = 100_000
    """Commands without an answer."""
    waiting_bytes: int = 64 << 20
    """Bytes of them."""


_GROUPS: dict[str, type] = {"": Limits, "peer_": PeerLimits, "node_": NodeLimits}
VALUE_MAX = 1 << 40


@frozen
class AllLimits:
    """The bounds of one node.  A name is that of its field, after ``peer_`` or ``node_``."""

    clients: Limits = field(factory=Limits)
    peers: PeerLimits = field(factory=PeerLimits)
    node: NodeLimits = field(factory=NodeLimits)

    @classmethod
    def of(cls, given: dict[str, str]) -> Self:
        """Return the defaults with what is ``given``.  Raises ValueError that says what to do."""
        known = cls().listed()
        values: dict[str, float] = {}
        for name, text in given.items():
            if name not in known:
                raise ValueError(f"--limit={name}: unknown; known are {', '.join(sorted(known))}")
            values[name] = _number(name, text, type(known[name]))
        return cls(*(_make(group, prefix, values) for prefix, group in _GROUPS.items()))

    def listed(self) -> dict[str, float]:
        """Return every bound by its name."""
        own: tuple[Any, ...] = (self.clients, self.peers, self.node)
        groups = zip(_GROUPS, own, strict=True)
        return {
            f"{prefix}{name}": value
            for prefix, group in groups
            for name, value in attrs.asdict(group).items()
        }


def _number(name: str, text: str, kind: type) -> float:
    try:
        value: float = int(text) if kind is int else float(text)
    except ValueError:
        value = 0
    if not 0 < value <= VALUE_MAX:
        whole = "a whole number" if kind is int else "a number"
        raise ValueError(f"--limit={name}={text}: write {whole} above 0, up to {VALUE_MAX}")
    return value


def _make(group: Any, prefix: str, values: dict[str, float]) -> Any:
    names = {each.name for each in attrs.fields(group)}
    own = {name: values[prefix + name] for name in names if prefix + name in values}
    return group(**own)
