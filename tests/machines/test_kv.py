"""Keys and values, by plain calls and against a dict."""

from __future__ import annotations

import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from uring.machines import kv
from uring.machines.base import MemoryState
from uring.machines.commands import Cas, Delete, Invalid, Old, Put, Result, Swapped
from uring.machines.events import (
    Event,
    KeyDeleted,
    KeyPut,
    KeySwapped,
    SwapRefused,
    decode,
    encode,
    numbered,
)
from uring.machines.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX
from uring.machines.turn import Turn


class KvTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.state = MemoryState()
        self.turn = Turn(revision=0)

    def apply(self, command: kv.KvCommand) -> Result:
        return kv.apply(self.state, command, self.turn)

    def events(self) -> list[dict[str, object]]:
        return [event.spelled() for event in self.turn.events]


class PutTests(KvTestCase):
    def test_new_key(self) -> None:
        """A put of a new key answers that there was nothing, and stores the value."""
        self.assertEqual(self.apply(Put("snot", "badger")), Old(None))
        self.assertEqual(kv.read(self.state, "snot"), "badger")
        self.assertEqual(self.turn.events, [KeyPut("snot", "badger", None)])
        event = {"Put": {"scope": 0, "key": "snot", "new": "badger", "old": None}}
        self.assertEqual(self.events(), [event])

    def test_old_value(self) -> None:
        """A put over a value answers that value and shows it in the event."""
        self.apply(Put("a", "1"))
        self.assertEqual(self.apply(Put("a", "2")), Old("1"))
        self.assertEqual(
            self.events()[-1], {"Put": {"scope": 0, "key": "a", "new": "2", "old": "1"}}
        )

    def test_revisions_in_the_record(self) -> None:
        """A record keeps the revision of its creation and takes that of the last change."""
        self.apply(Put("a", "1"))
        self.apply(Put("b", "1"))
        self.apply(Put("a", "é"))
        record = self.state.get(b"ka")
        self.assertEqual(record, (1).to_bytes(8, "big") + (3).to_bytes(8, "big") + b"\xc3\xa9")

    def test_created_again(self) -> None:
        """A key that was deleted and put again counts as created anew."""
        for command in (Put("a", "1"), Delete("a"), Put("a", "2")):
            self.apply(command)
        record = self.state.get(b"ka")
        self.assertEqual(record, (3).to_bytes(8, "big") * 2 + b"2")

    def test_empty_value(self) -> None:
        """An empty value is a value."""
        self.apply(Put("a", ""))
        self.assertEqual(kv.read(self.state, "a"), "")
        self.assertEqual(self.apply(Put("a", "b")), Old(""))

    def test_events(self) -> None:
        """Every change has its event, and survives being kept."""
        for command in (Put("a", "1"), Cas("a", "1", "2"), Cas("a", "1", "3"), Delete("a")):
            self.apply(command)
        events: list[Event] = [
            KeyPut("a", "1", None),
            KeySwapped("a", "2", "1"),
            SwapRefused("a", "3", "2", "1"),
            KeyDeleted("a", "2"),
        ]
        self.assertEqual((self.turn.revision, self.turn.events), (3, events))
        self.assertEqual(decode(encode(events)), events)
        self.assertRaises(ValueError, decode, encode(events)[:-1])


class DeleteTests(KvTestCase):
    def test_present(self) -> None:
        """A delete answers the value that is gone."""
        self.apply(Put("a", "1"))
        self.assertEqual(self.apply(Delete("a")), Old("1"))
        self.assertIsNone(kv.read(self.state, "a"))
        self.assertEqual(self.events()[-1], {"Delete": {"scope": 0, "key": "a", "old": "1"}})
        self.assertEqual(self.turn.revision, 2)

    def test_missing(self) -> None:
        """A delete of what does not exist changes nothing and makes no event."""
        self.assertEqual(self.apply(Delete("a")), Old(None))
        self.assertEqual((self.turn.revision, self.turn.events), (0, []))


class CasTests(KvTestCase):
    def test_swap(self) -> None:
        """A compare-and-swap that finds what it expects stores."""
        self.apply(Put("a", "1"))
        self.assertEqual(self.apply(Cas("a", "1", "2")), Swapped(True))
        self.assertEqual(kv.read(self.state, "a"), "2")
        event = {"Cas": {"scope": 0, "key": "a", "new": "2", "old": "1"}}
        self.assertEqual((self.turn.revision, self.events()[-1]), (2, event))

    def test_conflict(self) -> None:
        """One that finds another value answers it, changes nothing and tells subscribers."""
        self.apply(Put("a", "1"))
        self.assertEqual(self.apply(Cas("a", "0", "2")), Swapped(False, "1"))
        self.assertEqual(kv.read(self.state, "a"), "1")
        event = {"CasConflict": {"scope": 0, "key": "a", "new": "2", "old": "1", "check": "0"}}
        self.assertEqual((self.turn.revision, self.events()[-1]), (1, event))

    def test_must_not_exist(self) -> None:
        """Without a check it creates a key, once."""
        self.assertEqual(self.apply(Cas("a", None, "1")), Swapped(True))
        self.assertEqual(self.apply(Cas("a", None, "2")), Swapped(False, "1"))

    def test_missing_key(self) -> None:
        """With a check a missing key is a conflict."""
        self.assertEqual(self.apply(Cas("a", "1", "2")), Swapped(False, None))
        self.assertIsNone(kv.read(self.state, "a"))

    def test_lenient_missing_key(self) -> None:
        """On the old path a missing key is created whatever the check says."""
        self.assertEqual(self.apply(Cas("a", "1", "2", lenient=True)), Swapped(True))
        self.assertEqual(kv.read(self.state, "a"), "2")

    def test_lenient_same_value(self) -> None:
        """On the old path a value that is there already counts as stored and changes nothing."""
        self.apply(Put("a", "2"))
        self.assertEqual(self.apply(Cas("a", "1", "2", lenient=True)), Swapped(True))
        self.assertEqual((self.turn.revision, len(self.turn.events)), (1, 1))

    def test_lenient_conflict(self) -> None:
        """On the old path a third value is a conflict all the same."""
        self.apply(Put("a", "3"))
        self.assertEqual(self.apply(Cas("a", "1", "2", lenient=True)), Swapped(False, "3"))
        self.assertEqual(self.apply(Cas("a", None, "2", lenient=True)), Swapped(False, "3"))


class BoundsTests(KvTestCase):
    def refused(self, command: kv.KvCommand) -> None:
        before = list(self.state.iterate(b""))
        self.assertIsInstance(self.apply(command), Invalid)
        self.assertEqual(list(self.state.iterate(b"")), before)
        self.assertEqual((self.turn.revision, self.turn.events), (0, []))

    def test_keys(self) -> None:
        """A key has 1 to 4096 bytes, counted in UTF-8."""
        for key in ("", "x" * (KEY_BYTES_MAX + 1), "é" * (KEY_BYTES_MAX // 2) + "x"):
            self.refused(Put(key, "v"))
            self.refused(Delete(key))
            self.refused(Cas(key, None, "v"))
        self.assertEqual(self.apply(Put("é" * (KEY_BYTES_MAX // 2), "v")), Old(None))

    def test_values(self) -> None:
        """A value has up to 1 MiB, counted in UTF-8."""
        self.refused(Put("a", "x" * (VALUE_BYTES_MAX + 1)))
        self.refused(Cas("a", None, "é" * (VALUE_BYTES_MAX // 2) + "x"))
        self.assertEqual(self.apply(Put("a", "x" * VALUE_BYTES_MAX)), Old(None))

    def test_lone_surrogates(self) -> None:
        """Text that is no Unicode is refused wherever it stands, and reads as missing."""
        self.refused(Put("\ud800", "v"))
        self.refused(Put("a", "\udfff"))
        self.refused(Delete("\ud800"))
        self.refused(Cas("a", "\ud800", "v"))
        self.assertIsNone(kv.read(self.state, "\ud800"))

    def test_unusual_keys(self) -> None:
        """NUL, slashes and look-alikes are keys of their own."""
        keys = ["\0", "a/b", "..", "é", "e\u0301", "\u202e", "\U0001f600"]
        for position, key in enumerate(keys):
            self.apply(Put(key, str(position)))
        self.assertEqual([kv.read(self.state, key) for key in keys], list("0123456"))


KEYS = st.sampled_from(["a", "b", "é", "\0", "a/b"])
VALUES = st.sampled_from(["", "1", "2", "3"])


class AgainstDict(RuleBasedStateMachine):
    """The machine and a plain dict, given the same commands."""

    def __init__(self) -> None:
        super().__init__()
        self.state = MemoryState()
        self.model: dict[str, str] = {}
        self.turn = Turn(revision=0)
        self.listener: dict[str, str] = {}

    def apply(self, command: kv.KvCommand) -> Result:
        return kv.apply(self.state, command, self.turn)

    @rule(key=KEYS, value=VALUES)
    def put(self, key: str, value: str) -> None:
        assert self.apply(Put(key, value)) == Old(self.model.get(key))
        self.model[key] = value

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        assert self.apply(Delete(key)) == Old(self.model.pop(key, None))

    @rule(key=KEYS, check=st.none() | VALUES, value=VALUES, lenient=st.booleans())
    def cas(self, key: str, check: str | None, value: str, lenient: bool) -> None:
        found = self.model.get(key)
        stored = found == check or (lenient and found in (None, value))
        expected = Swapped(True) if stored else Swapped(False, found)
        assert self.apply(Cas(key, check, value, lenient)) == expected
        if stored:
            self.model[key] = value

    @invariant()
    def same_contents(self) -> None:
        records = self.state.iterate(b"k")
        assert {key[1:].decode(): record[16:].decode() for key, record in records} == self.model

    @invariant()
    def events_tell_all(self) -> None:
        """Whoever only listens knows the same contents, and sees each revision once."""
        before = self.turn.revision - sum(
            type(each) is not SwapRefused for each in self.turn.events
        )
        changes = list(numbered(before, self.turn.events))
        for _, each in changes:
            ((kind, event),) = json.loads(json.dumps(each.spelled())).items()
            if kind in ("Put", "Cas"):
                self.listener[event["key"]] = event["new"]
            elif kind == "Delete":
                del self.listener[event["key"]]
        end = self.turn.revision
        assert end == (changes[-1][0] if changes else before)
        assert self.listener == self.model
        self.turn = Turn(revision=end)


class ModelTests(SynchronousTestCase):
    def test_against_dict(self) -> None:
        """Any sequence of commands leaves what a dict would hold, and events that say so."""
        run_state_machine_as_test(
            AgainstDict, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
        )
