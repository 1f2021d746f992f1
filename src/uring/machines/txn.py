"""Transactions: compare, then or else; reads, writes and removals of several keys in one go."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from uring.machines import keys, leases
from uring.machines.base import Readable, Transaction
from uring.machines.commands import Compare, DeleteOp, Invalid, Op, PutOp, Result, Txn, TxnDone
from uring.machines.limits import TXN_OPERATIONS_MAX, VALUE_BYTES_MAX
from uring.machines.ring.commands import Refused
from uring.machines.turn import Turn
from uring.machines.values import Found, found, value_of

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
TARGETS = ("revision", "created", "lease", "value")


def apply(transaction: Transaction, command: Txn, turn: Turn) -> Result:
    """Apply ``command``; what changed is noted in ``turn``."""
    wrong = problem(command)
    if wrong:
        return Invalid(wrong)
    succeeded = all(_holds(transaction, compare) for compare in command.compares)
    branch = command.then if succeeded else command.otherwise
    wrong = _lease_problem(transaction, branch)
    if wrong:
        return Refused("conflict", wrong)
    results = tuple(_run(transaction, op, turn) for op in branch)
    return TxnDone(succeeded, turn.revision, results)


def problem(command: Txn) -> str:
    """Return what is wrong with ``command`` whatever the state, or nothing."""
    for part in (command.compares, command.then, command.otherwise):
        if len(part) > TXN_OPERATIONS_MAX:
            return f"a transaction has at most {TXN_OPERATIONS_MAX} operations of a kind"
    for compare in command.compares:
        wrong = keys.problem(compare.key) or _compare_problem(compare)
        if wrong:
            return wrong
    for op in (*command.then, *command.otherwise):
        wrong = keys.problem(op.key)
        if type(op) is PutOp and len(op.value) > VALUE_BYTES_MAX:
            wrong = wrong or f"a value must have at most {VALUE_BYTES_MAX} bytes"
        if wrong:
            return wrong
    return ""


def _compare_problem(compare: Compare) -> str:
    if compare.target not in TARGETS:
        return f"compare one of {', '.join(TARGETS)}"
    if compare.operator not in OPERATORS:
        return f"compare by one of {' '.join(OPERATORS)}"
    if isinstance(compare.operand, bytes) != (compare.target == "value"):
        return "a value is compared with a text, everything else with a whole number"
    return ""


def _lease_problem(state: Readable, branch: list[Op]) -> str:
    wanted: dict[int, int] = {}
    for op in branch:
        if type(op) is PutOp and op.lease:
            wanted[op.lease] = wanted.get(op.lease, 0) + 1
    for lease, more in wanted.items():
        wrong = leases.refusal(state, lease, more)
        if wrong:
            return wrong
    return ""


def _holds(state: Readable, compare: Compare) -> bool:
    record = state.get(b"k" + compare.key.encode())
    is_so = OPERATORS[compare.operator]
    if compare.target == "value":
        if record is None:
            return compare.operator == "!="
        return is_so(value_of(record), compare.operand)
    if record is None:
        return is_so(0, compare.operand)
    seen = found(compare.key, record)
    return is_so(getattr(seen, compare.target), compare.operand)


def _run(transaction: Transaction, op: Op, turn: Turn) -> Found | None:
    name = b"k" + op.key.encode()
    record = transaction.get(name)
    if type(op) is PutOp:
        keys.store(transaction, name, op.value, record, turn, op.lease)
        keys.note_put(turn, op.key, op.value, record)
    elif type(op) is DeleteOp and record is not None:
        keys.remove(transaction, name, record, turn)
        keys.note_delete(turn, op.key, record)
    return found(op.key, record)
