"""The command for a quorum that is lost for good."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from uring.machines.commands import Get, Put
from uring.machines.proposal import Proposal, encode
from uring.machines.table import Machines
from uring.members import Member
from uring.raft.types import ConfState, EntryKind, HardState
from uring.recover import apply_log, main
from uring.store.directory import open_directory
from uring.wire.codec import seal


class RecoverTests(SynchronousTestCase):
    """A survivor of three, with one entry that is not known to be committed."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        directory = open_directory(self.path, 1)
        directory.set_cluster_id(b"c" * 16)
        entries = [
            seal(3, index, EntryKind.NORMAL, encode(Proposal(1, 1, index, 1, [put])))
            for index, put in enumerate([Put("a", "1"), Put("b", "2")], 1)
        ]
        batch = directory.log.prepare(HardState(term=3, vote=2, commit=1), entries)
        batch.write()
        batch.done()
        transaction = directory.state.begin()
        Machines().apply(transaction, 1, entries[0].data)
        transaction.set_conf_state(ConfState(voters=(1, 2, 3)))
        transaction.set_member_addresses(
            {node: Member(f"127.0.0.1:808{node}").line() for node in (1, 2, 3)}
        )
        transaction.commit(1, 3)
        directory.close()

    def test_without_yes_nothing_is_touched(self) -> None:
        """Without --yes the warning is all that happens."""
        self.assertEqual(main(["--id", "1", "--data-dir", str(self.path)]), 2)
        directory = open_directory(self.path, 1)
        self.addCleanup(directory.close)
        self.assertEqual(directory.state.conf_state.voters, (1, 2, 3))
        self.assertEqual(list(self.path.parent.glob("*.backup-*")), [])

    def test_survivor_is_alone_and_keeps_all_it_has(self) -> None:
        """The survivor votes alone, in a new term and cluster, with every entry of its log."""
        self.assertEqual(main(["--id", "1", "--data-dir", str(self.path), "--yes"]), 0)
        directory = open_directory(self.path, 1)
        self.addCleanup(directory.close)
        self.assertEqual(directory.state.conf_state, ConfState(voters=(1,)))
        self.assertEqual(set(directory.state.member_addresses), {1})
        self.assertEqual(directory.log.hard_state, HardState(term=4, vote=0, commit=2))
        self.assertNotEqual(directory.identity.cluster_id, b"c" * 16)
        self.assertEqual(Machines().query(directory.state, Get("a")), "1")
        self.assertEqual(Machines().query(directory.state, Get("b")), "2")

    def test_long_log_is_written_piece_by_piece(self) -> None:
        """What a log of any length leaves in memory is bounded as it is in a node that runs."""
        directory = open_directory(self.path, 1)
        self.addCleanup(directory.close)
        directory.state.gather_bytes = 1
        self.assertEqual(apply_log(directory), 2)
        self.assertTrue(directory.state._pending.young.is_empty)

    def test_directory_as_it_was_is_kept(self) -> None:
        """A copy of the directory from before can be opened and is unchanged."""
        main(["--id", "1", "--data-dir", str(self.path), "--yes"])
        (copy,) = self.path.parent.glob(f"{self.path.name}.backup-*")
        directory = open_directory(copy, 1)
        self.addCleanup(directory.close)
        self.assertEqual(directory.state.conf_state.voters, (1, 2, 3))
        self.assertEqual(directory.identity.cluster_id, b"c" * 16)

    def test_running_node_is_left_alone(self) -> None:
        """A directory that a process has open is refused, before anything is copied."""
        directory = open_directory(self.path, 1)
        self.addCleanup(directory.close)
        self.assertEqual(main(["--id", "1", "--data-dir", str(self.path), "--yes"]), 1)
        self.assertEqual(list(self.path.parent.glob("*.backup-*")), [])

    def test_wrong_id_and_missing_directory_are_refused(self) -> None:
        """Another node's directory, none at all, and no id each end with a non-zero code."""
        self.assertEqual(main(["--id", "2", "--data-dir", str(self.path), "--yes"]), 1)
        self.assertEqual(main(["--id", "1", "--data-dir", str(self.path / "no"), "--yes"]), 1)
        self.assertEqual(main(["--yes"]), 2)
