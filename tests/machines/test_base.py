"""The state in memory, which stands in for the one on disk."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from uring.machines.base import MemoryState

KEYS = st.binary(max_size=2)


class MemoryTests(SynchronousTestCase):
    def test_prefix(self) -> None:
        """Only keys with the prefix are yielded, in the order of their bytes."""
        state = MemoryState()
        for key in (b"b", b"a\xff", b"a", b"a\x00", b"", b"\xff"):
            state.put(key, key)
        self.assertEqual([key for key, _ in state.iterate(b"a")], [b"a", b"a\x00", b"a\xff"])
        self.assertEqual(len(list(state.iterate(b""))), 6)

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=2))),
        st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=2))),
        KEYS,
    )
    def test_against_dict(
        self,
        first: list[tuple[bytes, bytes | None]],
        second: list[tuple[bytes, bytes | None]],
        prefix: bytes,
    ) -> None:
        """A transaction shows what it wrote over the state, and the state only after commit."""
        state, model = MemoryState(), dict[bytes, bytes]()
        transaction = state.begin()
        for target, writes in ((state, first), (transaction, second)):
            before = dict(model)
            for key, value in writes:
                if value is None:
                    target.delete(key)
                    model.pop(key, None)
                else:
                    target.put(key, value)
                    model[key] = value
        expected = sorted((key, model[key]) for key in model if key.startswith(prefix))
        self.assertEqual(list(transaction.iterate(prefix)), expected)
        self.assertEqual({key: transaction.get(key) for key in model}, model)
        self.assertEqual(dict(state.iterate(b"")), before)
        transaction.commit()
        self.assertEqual(list(state.iterate(prefix)), expected)
        self.assertIsNone(state.get(b"absent"))
