"""The options of ``add-nodes``."""

from __future__ import annotations

from typing import Any

from uring.raft import NO_LIMIT, Settings

STUB = Settings(
    node_id=1,
    election_ticks=3,
    heartbeat_ticks=1,
    max_append_bytes=NO_LIMIT,
    max_inflight_messages=2**31 - 1,
    max_inflight_bytes=NO_LIMIT,
    max_uncommitted_bytes=NO_LIMIT,
    max_committed_bytes_per_ready=NO_LIMIT,
    check_quorum=False,
    pre_vote=False,
)
"""What ``add-nodes`` starts from: hardly any limit and no option."""


def is_true(text: str) -> bool:
    """Say whether a switch is on."""
    return text.lower() in ("true", "t", "1")


_SWITCHES = {
    "async-storage-writes": "async_storage_writes",
    "checkquorum": "check_quorum",
    "prevote": "pre_vote",
    "disable-conf-change-validation": "disable_conf_change_validation",
    "step-down-on-removal": "step_down_on_removal",
}
_NUMBERS = {
    "inflight": "max_inflight_messages",
    "max-committed-size-per-ready": "max_committed_bytes_per_ready",
}


def option(key: str, value: str) -> dict[str, Any]:
    """Return what an option of ``add-nodes`` changes.  Raises :exc:`ValueError`."""
    if key in _SWITCHES:
        return {_SWITCHES[key]: is_true(value)}
    if key in _NUMBERS:
        return {_NUMBERS[key]: int(value) or NO_LIMIT}
    if key == "read-only":
        if value not in ("safe", "lease-based"):
            raise ValueError(f'invalid read-only option "{value}"')
        return {"read_only_lease": value == "lease-based"}
    raise ValueError(f"unknown option {key}")
