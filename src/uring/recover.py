"""``python -m uring.recover``: make one survivor the only member, when the quorum is lost for good.

With ``--admin-token`` it only makes a token, when those of admins are lost: see uring.rescue.

Last resort.  What the lost majority had acknowledged and this node never received is gone; nothing
can bring it back.  So the directory is copied first, and what comes out is a new cluster, which the
old members cannot join by mistake with the data that they may still have.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from attrs import evolve
from twisted.python import usage

from uring import rescue
from uring.machines.table import Machines
from uring.members import Member, load_member
from uring.options import NODE_ID_MAX
from uring.raft.types import ConfState, EntryKind
from uring.store.directory import DataDirectory, open_directory
from uring.store.failures import DirectoryError
from uring.upgrades import raise_level, require_level

BATCH_BYTES = 4 * 1024 * 1024

WARNING = """\
This makes node {node} the only member of a new cluster, with what its own log holds.
  - Writes that were acknowledged by the others and never reached this node are lost.
  - No old member may run again with its old data; wipe each, start it with --peer, and add it.
  - Run it on one node only: the one whose /status showed the highest last_index and term.
Start again with --yes if that is what you want."""


class RecoverOptions(usage.Options):
    """The command line of ``python -m uring.recover``."""

    synopsis = "Usage: python -m uring.recover --id N [--data-dir DIR] --yes|--admin-token"
    optParameters = [
        ["id", "i", None, "Id of the surviving node", int],
        ["data-dir", "d", None, "Its data directory [default: ./raft-leveldb-<id>]"],
        ["advertise", None, None, "HOST:PORT where it will be reached, if that changes"],
    ]
    optFlags = [
        ["yes", "y", "Do it; without this, only say what would be done"],
        ["admin-token", None, "All tokens of role admin are lost: only make a new one"],
    ]

    def postOptions(self) -> None:
        """Check the id."""
        if self["yes"] and self["admin-token"]:
            raise usage.UsageError("--yes is for a lost quorum, --admin-token for lost tokens")
        if self["id"] is None or not 1 <= self["id"] <= NODE_ID_MAX:
            raise usage.UsageError("say which node survived: --id N")
        if self["data-dir"] is None:
            self["data-dir"] = f"./raft-leveldb-{self['id']}"


def back_up(path: Path) -> Path:
    """Copy the directory beside itself and return the copy's path.  Raises OSError."""
    copy = path.with_name(f"{path.name}.backup-{time.strftime('%Y%m%dT%H%M%S')}")
    shutil.copytree(path, copy)
    return copy


def apply_log(directory: DataDirectory) -> int:
    """Apply every entry of the log and return the last index.

    An entry that is not known to be committed may be: the leader that counted it could have been
    lost before it said so.  Keeping it loses nothing that was acknowledged.  Changes of membership
    are not applied, as the membership is replaced anyway; the feature level is (uring.upgrades), as
    what follows may need it.
    """
    machines, log, state = Machines(), directory.log, directory.state
    while state.applied_index < log.last_index():
        entries = log.entries(state.applied_index + 1, log.last_index() + 1, BATCH_BYTES)
        transaction = state.begin()
        for entry in entries:
            if entry.kind is not EntryKind.NORMAL:
                raise_level(transaction, state.level, entry)
            elif entry.data:
                machines.apply(transaction, entry.index, entry.data)
        transaction.commit(entries[-1].index, entries[-1].term)
        if state.wants_write:
            state.write_all()
    return state.applied_index


def recover(directory: DataDirectory, advertise: str | None) -> None:
    """Rewrite the membership of an open directory.  Raises StoreFailed, ValueError."""
    node_id, state, log = directory.identity.node_id, directory.state, directory.log
    line = state.member_addresses.get(node_id)
    address = advertise or (load_member(line).address if line else "")
    if not address:
        raise ValueError("the address of this node is not known; say --advertise HOST:PORT")
    last = apply_log(directory)
    transaction = state.begin()
    transaction.set_conf_state(ConfState(voters=(node_id,)))
    member = Member(address, directory.identity.instance_id)
    transaction.set_member_addresses({node_id: member.line()})
    transaction.commit(last, state.applied_term)
    state.sync().write()
    # A new term: whoever voted or led in the old ones has no say here.
    hard_state = evolve(log.hard_state, term=log.hard_state.term + 1, vote=0, commit=last)
    batch = log.prepare(hard_state, [])
    batch.write()
    batch.done()
    directory.set_cluster_id(os.urandom(16), replace=True)


def _leave_token(path: Path) -> int:
    try:
        token = rescue.leave(path)
    except (OSError, ValueError) as problem:
        print(f"uring: {problem}", file=sys.stderr)
        return 1
    print(token)
    print(
        "This token of role admin is valid once the node has been restarted and has found its "
        "leader.\nThen look at the others (uring token list), and remove those that were lost.",
        file=sys.stderr,
    )
    return 0


def main(arguments: list[str]) -> int:
    """Return the exit code: 0 done, 1 not possible, 2 asked wrongly."""
    options = RecoverOptions()
    try:
        options.parseOptions(arguments)
    except usage.UsageError as problem:
        print(f"{options.synopsis}\n{problem}", file=sys.stderr)
        return 2
    path = Path(options["data-dir"])
    if options["admin-token"]:
        return _leave_token(path)
    if not options["yes"]:
        print(WARNING.format(node=options["id"]))
        return 2
    if not path.is_dir():
        print(f"{path}: there is no such directory; say --data-dir DIR", file=sys.stderr)
        return 1
    try:
        # Opened before it is copied, so that a running node is noticed; closed again, so that the
        # copy is whole.
        directory = open_directory(path, options["id"])
        try:
            require_level(directory)
        finally:
            directory.close()
        copy = back_up(path)
        directory = open_directory(path, options["id"])
        try:
            recover(directory, options["advertise"])
        finally:
            directory.close()
    except (DirectoryError, OSError, ValueError) as problem:
        print(f"uring: {problem}", file=sys.stderr)
        return 1
    print(
        f"Node {options['id']} is now the only member of a new cluster.  The directory as it was "
        f"is kept in {copy}.\nStart the node as usual; then wipe, start and add the others."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
