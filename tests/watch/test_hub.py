"""Who is told what, and when: live, behind, with a snapshot, or not any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.watching import Recorder, Replica
from uring.errors import BadRequest, Overloaded, Unavailable
from uring.machines.commands import AddNode, Cas, Delete, Put, SetSize
from uring.watch import Told, Watch
from uring.watch.hub import SNAPSHOTS_MAX, STALL_SECONDS, WAIT_SECONDS


class HubTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.replica = Replica()
        self.sink = Recorder()

    def puts(self, first: int, last: int) -> None:
        for number in range(first, last + 1):
            self.replica.do(Put(f"k{number}", str(number)))

    def pass_time(self, seconds: float) -> None:
        self.replica.clock.advance(seconds)
        self.replica.hub.sweep()
        self.replica.settle()


class LiveTests(HubTestCase):
    def test_once_in_order(self) -> None:
        """Whoever is up to date is told each change in the turn in which it happens."""
        self.puts(1, 2)
        self.replica.subscribe(self.sink)
        self.assertEqual(self.sink.begun, 2)
        self.replica.do(Put("a", "1"), SetSize(8), Delete("a"), Cas("a", "x", "y"), Put("b", "1"))
        self.assertEqual(self.sink.changes, [(3, "a"), (5, "a"), (6, "b")])
        self.assertEqual(self.sink.refused, ["a"])

    def test_channels(self) -> None:
        """Each channel has its own events; those of uring happen to this node alone."""
        ring, local = Recorder(), Recorder()
        self.replica.subscribe(ring, "mring")
        self.replica.subscribe(local, "uring")
        self.replica.do(Put("a", "1"), SetSize(8), AddNode("n"))
        self.replica.hub.publish_local({"StateChange": {}})
        self.assertEqual((ring.revisions, local.local), ([2, 3], [{"StateChange": {}}]))

    def test_prefixes(self) -> None:
        """A subscriber hears of the keys that begin with its prefix, which may overlap others."""
        sinks = {prefix: Recorder() for prefix in ("", "a", "a/", "a/b", "ü")}
        for prefix, sink in sinks.items():
            self.replica.subscribe(sink, prefix=prefix)
        self.replica.do(*[Put(key, "1") for key in ("a", "a/", "a/b", "b", "üa", "aü")])
        heard = {prefix: [key for _, key in sink.changes] for prefix, sink in sinks.items()}
        self.assertEqual(
            heard,
            {
                "": ["a", "a/", "a/b", "b", "üa", "aü"],
                "a": ["a", "a/", "a/b", "aü"],
                "a/": ["a/", "a/b"],
                "a/b": ["a/b"],
                "ü": ["üa"],
            },
        )

    def test_spelled_once(self) -> None:
        """However many are told, there is one object to spell."""
        seen: list[Told] = []

        class Keeper(Recorder):
            def told(self, batch: Sequence[Told]) -> None:
                seen.extend(batch)

        for prefix in ("", "", "a"):
            self.replica.subscribe(Keeper(), prefix=prefix)
        self.replica.do(Put("a", "1"))
        self.assertEqual((len(seen), len(set(map(id, seen)))), (3, 1))

    def test_closed(self) -> None:
        """Whoever ends its subscription hears nothing more; ending it twice is harmless."""
        other = Recorder()
        subscription = self.replica.subscribe(self.sink)
        self.replica.subscribe(other)
        subscription.close()
        subscription.close()
        self.puts(1, 1)
        self.assertEqual((self.sink.changes, other.revisions), ([], [1]))
        self.assertEqual(self.replica.hub.count("kv"), 1)

    def test_one_ends_another(self) -> None:
        """Who is ended by another one during a turn is not told any more."""
        first, second = Recorder(), Recorder()
        self.replica.subscribe(first)
        ended = self.replica.subscribe(second)
        first.after_each = ended.close
        self.puts(1, 1)
        self.assertEqual((first.revisions, second.revisions), ([1], []))

    def test_failing(self) -> None:
        """A subscriber that raises is dropped, and the others hear everything."""

        def fail() -> None:
            raise ZeroDivisionError

        self.replica.subscribe(Recorder(after_each=fail))
        self.replica.subscribe(self.sink)
        self.puts(1, 2)
        self.assertEqual(self.sink.revisions, [1, 2])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.replica.hub.count("kv"), 1)

    def test_subscribed_meanwhile(self) -> None:
        """Who subscribes while others are told hears from the next change on."""
        first = Recorder()
        self.replica.subscribe(first)
        first.after_each = lambda: None if self.sink.begun >= 0 else self.again()
        self.puts(1, 1)
        self.assertEqual((self.sink.begun, self.sink.revisions), (1, []))
        self.puts(2, 2)
        self.assertEqual(self.sink.revisions, [2])

    def again(self) -> None:
        self.replica.subscribe(self.sink)


class BehindTests(HubTestCase):
    def test_from_memory(self) -> None:
        """A recent revision is served without the disk."""
        self.puts(1, 10)
        self.replica.subscribe(self.sink, start=4)
        for _ in range(3):
            self.replica.clock.advance(0)
        self.assertEqual(self.sink.revisions, [*range(4, 11)])
        self.assertEqual(self.replica.disk.pending, 0)
        self.puts(11, 11)
        self.assertEqual(self.sink.revisions[-1], 11)

    def test_from_the_disk(self) -> None:
        """An old one is read in pieces; what happens meanwhile comes after it."""
        self.puts(1, 300)
        self.replica.hub.history.forget_recent()
        self.replica.subscribe(self.sink, start=2, prefix="k")
        self.replica.clock.advance(0)
        self.puts(301, 302)
        self.replica.settle()
        self.puts(303, 303)
        self.assertEqual(self.sink.revisions, [*range(2, 304)])

    def test_many_small_segments(self) -> None:
        """Catching up goes on across segments, and from the disk to the memory."""
        self.replica = Replica(bounds={"entries_max": 800})
        self.puts(1, 700)
        tail = self.replica.hub.history._tail
        while len(tail) > 50:
            tail.popleft()
        self.replica.subscribe(self.sink, start=1)
        self.replica.settle()
        self.assertEqual(self.sink.revisions, [*range(1, 701)])

    def test_a_batch_larger_than_a_record(self) -> None:
        """A large batch is kept in parts; each revision in it can be resumed from."""
        self.replica.do(*[Put(f"k{number}", "x" * 10_000) for number in range(100)])
        for tail in (True, False):
            if not tail:
                self.replica.hub.history.forget_recent()
            for start in (1, 37, 100):
                sink = Recorder()
                self.replica.subscribe(sink, start=start)
                self.replica.settle()
                self.assertEqual(sink.revisions, [*range(start, 101)])

    def test_refusals_are_not_repeated(self) -> None:
        """What changed nothing is told to those who are up to date, and not kept."""
        self.replica.do(Put("a", "1"), Cas("a", "x", "y"), Put("a", "2"))
        self.replica.subscribe(self.sink, start=1)
        self.replica.settle()
        self.assertEqual((self.sink.revisions, self.sink.refused), ([1, 2], []))

    def test_slow(self) -> None:
        """Who does not read is told nothing until it does, and then misses nothing."""
        subscription = self.replica.subscribe(self.sink)
        self.puts(1, 1)
        self.sink.full = True
        self.puts(2, 400)
        self.replica.settle()
        self.assertEqual(self.sink.revisions, [1])
        self.sink.full = False
        subscription.resume()
        self.replica.settle()
        self.puts(401, 401)
        self.assertEqual(self.sink.revisions, [*range(1, 402)])

    def test_full_after_each_piece(self) -> None:
        """A piece at a time: nothing is sent to who has not read the one before."""
        for number in range(40):
            self.replica.do(Put(f"k{number}", "x" * 20_000))
        self.sink.after_each = lambda: setattr(self.sink, "full", True)
        subscription = self.replica.subscribe(self.sink, start=1)
        pieces = 0
        while len(self.sink.changes) < 40:
            before = len(self.sink.changes)
            self.sink.full = False
            subscription.resume()
            self.replica.settle()
            self.assertLessEqual(len(self.sink.changes) - before, 8)
            pieces += 1
            self.assertLess(pieces, 40)
        self.assertEqual(self.sink.revisions, [*range(1, 41)])

    def test_too_slow(self) -> None:
        """Who falls behind what is kept is ended, and told where to resume."""
        self.replica = Replica(bounds={"entries_max": 80})
        subscription = self.replica.subscribe(self.sink)
        self.puts(1, 5)
        self.sink.full = True
        self.puts(6, 200)
        self.sink.full = False
        subscription.resume()
        self.replica.settle()
        self.assertIsInstance(self.sink.error, Overloaded)
        self.assertEqual((self.sink.resume, self.sink.revisions), (6, [1, 2, 3, 4, 5]))

    def test_stalled(self) -> None:
        """Who reads nothing for a minute is ended, also when nothing happens any more."""
        self.replica.subscribe(self.sink)
        self.sink.full = True
        self.puts(1, 1)
        self.pass_time(STALL_SECONDS - 1)
        self.assertIsNone(self.sink.error)
        self.pass_time(2)
        self.assertEqual(self.sink.resume, 1)
        self.assertEqual(self.replica.hub.count("kv"), 0)

    def test_unreadable(self) -> None:
        """What cannot be read any more counts as not kept: a snapshot takes its place."""
        self.replica = Replica(bounds={"entries_max": 80})
        self.puts(1, 60)
        history = self.replica.hub.history
        history.forget_recent()
        files: Any = history.store.files
        first = min(files.content)
        files.content[first][20] ^= 1
        self.replica.subscribe(self.sink, start=1)
        self.replica.settle()
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertEqual((self.sink.snapshots, len(self.sink.items)), ([60], 60))
        self.puts(61, 61)
        self.assertEqual(self.sink.revisions, [61])


class WaitingTests(HubTestCase):
    def test_node_that_is_behind(self) -> None:
        """A revision that was not reached here is waited for, and what is before it is not told."""
        self.puts(1, 3)
        self.replica.subscribe(self.sink, start=6)
        self.replica.settle()
        self.assertEqual(self.sink.begun, 3)
        self.puts(4, 8)
        self.replica.settle()
        self.puts(9, 9)
        self.assertEqual(self.sink.revisions, [6, 7, 8, 9])

    def test_not_for_ever(self) -> None:
        """Who waits for too long is told where this node stands, and can go elsewhere."""
        self.puts(1, 3)
        self.replica.subscribe(self.sink, start=6)
        self.replica.settle()
        self.pass_time(WAIT_SECONDS + 1)
        self.assertIsInstance(self.sink.error, Unavailable)
        self.assertIn("at 3", str(self.sink.error))
        self.assertEqual(self.sink.resume, 6)


class SnapshotTests(HubTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.replica = Replica(bounds={"entries_max": 80})

    def test_compacted(self) -> None:
        """Older than what is kept: what there is now, at one revision, and the changes after it."""
        self.puts(1, 200)
        self.replica.do(Delete("k7"), Put("other", "1"))
        self.replica.subscribe(self.sink, start=3, prefix="k1")
        self.replica.clock.advance(0)
        self.replica.do(Put("k1", "later"))
        self.replica.settle()
        (compaction,) = self.sink.compactions
        self.assertEqual(compaction[0], 202)
        self.assertGreater(compaction[1], 3)
        found = {item.key: item.value.decode() for item in self.sink.items}
        expected = {f"k{n}": str(n) for n in range(1, 201) if str(n).startswith("1")}
        self.assertEqual(found, expected)
        self.assertEqual((self.sink.snapshots, self.sink.changes), ([202], [(203, "k1")]))

    def test_asked_for(self) -> None:
        """A watch may begin with a snapshot; that is no compaction."""
        self.puts(1, 3)
        self.replica.subscribe(self.sink, snapshot=True)
        self.replica.settle()
        self.puts(4, 4)
        self.assertEqual((self.sink.compactions, self.sink.snapshots), ([], [3]))
        self.assertEqual((len(self.sink.items), self.sink.revisions), (3, [4]))

    def test_empty(self) -> None:
        """Of nothing there is a snapshot, too."""
        for channel in ("kv", "mring"):
            sink = Recorder()
            self.replica.subscribe(sink, channel, snapshot=True)
            self.replica.settle()
            self.assertEqual((sink.snapshots, sink.items), ([0], []))

    def test_pieces(self) -> None:
        """A large one comes in pieces, none before the one before was read."""
        for number in range(50):
            self.replica.do(Put(f"k{number:02}", "x" * 20_000))
        self.sink.after_each = lambda: setattr(self.sink, "full", True)
        subscription = self.replica.subscribe(self.sink, snapshot=True)
        self.replica.settle()
        pieces = 1
        while not self.sink.snapshots:
            before = len(self.sink.items)
            self.replica.do(Put("k00", "later"))
            self.sink.full = False
            subscription.resume()
            self.replica.settle()
            self.assertLessEqual(len(self.sink.items) - before, 8)
            pieces += 1
        self.assertGreater(pieces, 5)
        self.assertEqual(len(self.sink.items), 50)
        self.assertEqual(len(self.sink.items[0].value), 20_000)
        self.sink.full = False
        subscription.resume()
        self.replica.settle()
        self.assertEqual(self.sink.revisions, [*range(51, 50 + pieces)])

    def test_ring(self) -> None:
        """A snapshot of the ring has its size and who owns what."""
        self.replica.do(SetSize(40_000), AddNode("n1"), AddNode("n2"))
        self.replica.subscribe(self.sink, "mring", snapshot=True)
        self.replica.settle()
        self.replica.do(AddNode("n3"))
        size, *nodes = self.sink.items
        self.assertEqual(size, {"size": 40_000})
        owned: dict[str, list[int]] = {}
        for node in nodes:
            owned.setdefault(node["id"], []).extend(node["vnodes"])
        self.assertEqual(owned, {"n1": [*range(20_000)], "n2": [*range(20_000, 40_000)]})
        self.assertEqual(self.sink.revisions, [4])

    def test_not_too_many(self) -> None:
        """So many snapshots are read at a time; the others get theirs later."""
        self.puts(1, 3)
        sinks = [Recorder(full=True) for _ in range(SNAPSHOTS_MAX)]
        first = [self.replica.subscribe(sink, snapshot=True) for sink in sinks]
        self.replica.settle()
        self.replica.subscribe(self.sink, snapshot=True)
        self.pass_time(1)
        self.assertEqual(self.sink.snapshots, [])
        for subscription in first:
            subscription.close()
        self.pass_time(1)
        self.assertEqual(self.sink.snapshots, [3])

    def test_closed_while_it_is_read(self) -> None:
        """A subscriber that goes while its snapshot is read leaves room for others."""
        self.puts(1, 3)
        for _ in range(2 * SNAPSHOTS_MAX):
            subscription = self.replica.subscribe(Recorder(), snapshot=True)
            self.replica.clock.advance(0)
            self.replica.clock.advance(0)
            self.assertEqual(self.replica.disk.pending, 1)
            subscription.close()
            self.replica.settle()
        self.replica.subscribe(self.sink, snapshot=True)
        self.replica.settle()
        self.assertEqual(self.sink.snapshots, [3])

    def test_state_replaced(self) -> None:
        """When the node itself gets a snapshot, its subscribers are told where to resume."""
        other = Replica(log=self.replica.log)
        self.puts(1, 3)
        self.replica.subscribe(self.sink)
        reading = Recorder(full=True)
        self.replica.subscribe(reading, snapshot=True)
        waiting = Recorder()
        self.replica.subscribe(waiting, start=8)
        self.replica.settle()
        while other.applied < 3:
            other.apply()
        other.do(*[Put(f"k{number}", "x") for number in (4, 5, 6)])
        self.replica.install(other)
        self.replica.settle()
        self.assertEqual((self.sink.resume, reading.resume), (4, None))
        self.assertIsInstance(self.sink.error, Unavailable)
        resumed = Recorder()
        self.replica.subscribe(resumed, start=4)
        self.replica.settle()
        self.assertEqual((resumed.snapshots, len(resumed.items)), ([6], 6))
        self.puts(7, 9)
        self.replica.settle()
        self.assertEqual((resumed.revisions, waiting.revisions), ([7, 8, 9], [8, 9]))


class MarkTests(HubTestCase):
    def test_when_idle(self) -> None:
        """Who hears nothing is told how far things are, as often as it wants."""
        self.replica.subscribe(self.sink, prefix="a", progress=5.0)
        quiet = Recorder()
        self.replica.subscribe(quiet)
        self.pass_time(3)
        self.replica.do(Put("a", "1"))
        self.pass_time(3)
        self.assertEqual(self.sink.marks, [])
        self.puts(2, 3)
        self.pass_time(3)
        self.pass_time(5)
        self.assertEqual((self.sink.marks, quiet.marks), ([3, 3], []))

    def test_not_without_a_leader(self) -> None:
        """A node that may be cut off does not claim to know."""
        self.replica.hub.has_leader = lambda: False
        self.replica.subscribe(self.sink, progress=1.0)
        self.pass_time(5)
        self.assertEqual(self.sink.marks, [])

    def test_not_while_behind(self) -> None:
        """A mark says that everything before was told, so there is none while it was not."""
        self.replica.subscribe(self.sink, progress=1.0)
        self.sink.full = True
        self.puts(1, 1)
        self.pass_time(5)
        self.assertEqual(self.sink.marks, [])


class EndTests(HubTestCase):
    def test_stop(self) -> None:
        """When the node stops, everybody is told where to resume."""
        self.puts(1, 3)
        self.replica.subscribe(self.sink)
        behind = Recorder(full=True)
        self.replica.subscribe(behind, start=2)
        self.replica.settle()
        self.replica.hub.stop()
        self.assertEqual((self.sink.resume, behind.resume), (4, 2))

    def test_what_cannot_be_watched(self) -> None:
        """What makes no sense is refused, and says why."""
        for watch in (
            Watch(channel="snot"),
            Watch(channel="mring", prefix="a"),
            Watch(channel="uring", start=4),
            Watch(channel="uring", snapshot=True),
            Watch(channel="kv", start=4, snapshot=True),
        ):
            with self.assertRaises(BadRequest):
                self.replica.hub.subscribe(watch, self.sink)
        self.assertEqual(self.sink.begun, -1)

    def test_local_events_not_read(self) -> None:
        """Events of the node itself are not kept, so who does not read them is ended."""
        self.replica.subscribe(self.sink, "uring")
        self.sink.full = True
        self.replica.hub.publish_local({"StateChange": {}})
        self.assertIsInstance(self.sink.error, Overloaded)
        self.assertIsNone(self.sink.resume)
