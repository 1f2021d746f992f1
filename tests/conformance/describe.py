"""Values of the core as etcd prints them."""

from __future__ import annotations

from collections.abc import Iterable

from uring.raft.local import AnyMessage, StorageAppendResponse, StorageApplyResponse
from uring.raft.membership import decode_conf_change
from uring.raft.messages import (
    Append,
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    PreVote,
    PreVoteResponse,
    Propose,
    ReadIndex,
    ReadIndexResponse,
    TimeoutNow,
    TransferLeader,
    Vote,
    VoteResponse,
)
from uring.raft.ready import Ready, StorageAppend, StorageApply
from uring.raft.types import (
    ConfChangeKind,
    ConfState,
    Entry,
    EntryKind,
    HardState,
    Snapshot,
    SoftState,
)

NAMES: dict[type, str] = {
    Append: "MsgApp",
    AppendResponse: "MsgAppResp",
    Heartbeat: "MsgHeartbeat",
    HeartbeatResponse: "MsgHeartbeatResp",
    InstallSnapshot: "MsgSnap",
    PreVote: "MsgPreVote",
    PreVoteResponse: "MsgPreVoteResp",
    Propose: "MsgProp",
    ReadIndex: "MsgReadIndex",
    ReadIndexResponse: "MsgReadIndexResp",
    TimeoutNow: "MsgTimeoutNow",
    TransferLeader: "MsgTransferLeader",
    Vote: "MsgVote",
    VoteResponse: "MsgVoteResp",
    StorageAppendResponse: "MsgStorageAppendResp",
    StorageApplyResponse: "MsgStorageApplyResp",
}

_KINDS = {
    EntryKind.NORMAL: "EntryNormal",
    EntryKind.CONF_CHANGE: "EntryConfChange",
    EntryKind.CONF_CHANGE_V2: "EntryConfChangeV2",
}

CHANGE_LETTERS = {
    "v": ConfChangeKind.ADD_NODE,
    "l": ConfChangeKind.ADD_LEARNER,
    "r": ConfChangeKind.REMOVE_NODE,
    "u": ConfChangeKind.UPDATE_NODE,
}
_LETTERS = {kind: letter for letter, kind in CHANGE_LETTERS.items()}


def quoted(data: bytes) -> str:
    """Return ``data`` as Go's %q prints it."""
    out = []
    for char in data.decode("utf-8", "surrogateescape"):
        code = ord(char)
        if char in '"\\':
            out.append("\\" + char)
        elif char in "\a\b\f\n\r\t\v":
            out.append("\\" + "abfnrtv"["\a\b\f\n\r\t\v".index(char)])
        elif 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")
        elif code < 0x20 or code == 0x7F:
            out.append(f"\\x{code:02x}")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'


def entry(value: Entry) -> str:
    """Return one entry."""
    if value.kind is EntryKind.NORMAL:
        text = quoted(value.data)
    else:
        changes = decode_conf_change(value.data).changes
        text = " ".join(f"{_LETTERS[each.kind]}{each.node_id}" for each in changes)
    return f"{value.term}/{value.index} {_KINDS[value.kind]}{' ' + text if text else ''}"


def entries(values: Iterable[Entry]) -> str:
    """Return entries, one a line."""
    return "".join(entry(value) + "\n" for value in values)


def _list(numbers: Iterable[int]) -> str:
    return "[" + " ".join(map(str, numbers)) + "]"


def conf_state(value: ConfState) -> str:
    """Return a configuration as it stands in a snapshot."""
    return (
        f"Voters:{_list(value.voters)} VotersOutgoing:{_list(value.voters_outgoing)} "
        f"Learners:{_list(value.learners)} LearnersNext:{_list(value.learners_next)} "
        f"AutoLeave:{str(value.auto_leave).lower()}"
    )


def snapshot(value: Snapshot) -> str:
    """Return a snapshot without its data."""
    meta = value.meta
    return f"Index:{meta.index} Term:{meta.term} ConfState:{conf_state(meta.conf_state)}"


def hard_state(value: HardState) -> str:
    """Return what is on disk."""
    vote = f" Vote:{value.vote}" if value.vote else ""
    return f"Term:{value.term}{vote} Commit:{value.commit}"


def soft_state(value: SoftState) -> str:
    """Return the leader and the role."""
    return f"Lead:{value.leader} State:State{value.role.value}"


def _from(message: AnyMessage) -> str:
    if isinstance(message, StorageAppendResponse):
        return "AppendThread"
    if isinstance(message, StorageApplyResponse):
        return "ApplyThread"
    return f"{message.from_:x}"


def _log_position(message: AnyMessage) -> tuple[int, int]:
    """Return the term and the index that a message speaks of."""
    match message:
        case Append():
            return message.prev_term, message.prev_index
        case AppendResponse():
            return message.hint_term, message.index
        case Vote() | PreVote():
            return message.last_term, message.last_index
        case ReadIndexResponse():
            return 0, message.index
        case StorageAppendResponse():
            return message.log_term, message.index
    return 0, 0


def _carried(message: AnyMessage) -> tuple[Entry, ...]:
    match message:
        case Append() | Propose() | StorageApplyResponse():
            return message.entries
        case ReadIndex() | ReadIndexResponse():
            return (Entry(0, 0, data=message.context),)
    return ()


def _tail(
    carried: tuple[Entry, ...], snap: Snapshot | None, responses: Iterable[AnyMessage], indent: str
) -> str:
    text = ""
    if len(carried) == 1:
        text += f" Entries:[{entry(carried[0])}]"
    elif carried:
        text += " Entries:[" + "".join(f"\n{indent}  {entry(each)}" for each in carried)
        text += f"\n{indent}]"
    if snap is not None and not snap.is_empty:
        text += f"\n{indent}  Snapshot: {snapshot(snap)}"
    listed = "".join("\n" + message(each, indent + "  ") for each in responses)
    return text + (f" Responses:[{listed}\n{indent}]" if listed else "")


def message(value: AnyMessage, indent: str = "") -> str:
    """Return one message."""
    log_term, index = _log_position(value)
    text = f"{indent}{_from(value)}->{value.to:x} {NAMES[type(value)]} "
    text += f"Term:{value.term} Log:{log_term}/{index}"
    if getattr(value, "reject", False):
        text += f" Rejected (Hint: {getattr(value, 'hint_index', 0)})"
    commit = getattr(value, "commit", 0)
    if commit:
        text += f" Commit:{commit}"
    return text + _tail(_carried(value), getattr(value, "snapshot", None), (), indent)


def storage_append(node: int, work: StorageAppend, with_responses: bool = True) -> str:
    """Return the order to write something."""
    state = work.hard_state or HardState()
    text = f"{node:x}->AppendThread MsgStorageAppend Term:{state.term} Log:0/0"
    if state.commit:
        text += f" Commit:{state.commit}"
    if state.vote:
        text += f" Vote:{state.vote}"
    responses = work.responses if with_responses else ()
    return text + _tail(work.entries, work.snapshot, responses, "")


def storage_apply(node: int, work: StorageApply, with_responses: bool = True) -> str:
    """Return the order to apply something."""
    responses = work.responses if with_responses else ()
    text = f"{node:x}->ApplyThread MsgStorageApply Term:0 Log:0/0"
    return text + _tail(work.entries, None, responses, "")


def ready(node: int, value: Ready) -> str:
    """Return everything that a core wants done."""
    text = ""
    if value.soft_state is not None:
        text += soft_state(value.soft_state) + "\n"
    if value.hard_state is not None:
        text += f"HardState {hard_state(value.hard_state)}\n"
    if value.read_states:
        states = (f"{{{each.index} {_list(each.context)}}}" for each in value.read_states)
        text += f"ReadStates [{' '.join(states)}]\n"
    if value.entries:
        text += "Entries:\n" + entries(value.entries)
    if value.snapshot is not None:
        text += f"Snapshot {snapshot(value.snapshot)}\n"
    if value.committed_entries:
        text += "CommittedEntries:\n" + entries(value.committed_entries)
    lines = [message(each) for each in value.messages]
    lines += [storage_append(node, value.append)] if value.append is not None else []
    lines += [storage_apply(node, value.apply)] if value.apply is not None else []
    if lines:
        text += "Messages:\n" + "".join(line + "\n" for line in lines)
    if not text:
        return "<empty Ready>"
    return f"Ready MustSync={str(value.must_sync).lower()}:\n{text}"
