"""Changes on their way to those who listen."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from uring.feed import CHANNELS, Change, Feed


def change(channel: str, revision: int) -> Change:
    return Change(channel, revision, {"Put": {"key": str(revision)}})


class FeedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.feed = Feed()
        self.heard: list[list[Change]] = []

    def test_one_call_a_turn(self) -> None:
        """A listener is called once with all changes of its channel, in order."""
        self.feed.subscribe("kv", self.heard.append)
        turn = [change("kv", 1), change("mring", 2), change("kv", 3)]
        self.feed.publish(turn)
        self.assertEqual(self.heard, [[turn[0], turn[2]]])

    def test_other_channels(self) -> None:
        """A listener is not called for channels that it did not ask for."""
        self.feed.subscribe("mring", self.heard.append)
        self.feed.publish([change("kv", 1), change("uring", 0)])
        self.assertEqual(self.heard, [])

    def test_every_channel(self) -> None:
        """There are three channels, and no other can be listened to."""
        self.assertEqual(CHANNELS, ("kv", "mring", "uring"))
        for channel in CHANNELS:
            self.feed.subscribe(channel, self.heard.append)
            self.feed.publish([change(channel, 1)])
        self.assertEqual(len(self.heard), 3)
        self.assertRaises(KeyError, self.feed.subscribe, "snot", self.heard.append)

    def test_unsubscribe(self) -> None:
        """Whoever ends a subscription hears nothing more; ending it twice is harmless."""
        stop = self.feed.subscribe("kv", self.heard.append)
        self.feed.subscribe("kv", self.heard.append)
        stop()
        stop()
        self.feed.publish([change("kv", 1)])
        self.assertEqual(len(self.heard), 1)

    def test_has_listeners(self) -> None:
        """It is known for each channel whether anybody listens."""
        self.assertFalse(self.feed.has_listeners("kv"))
        stop = self.feed.subscribe("kv", self.heard.append)
        self.assertTrue(self.feed.has_listeners("kv"))
        self.assertFalse(self.feed.has_listeners("mring"))
        stop()
        self.assertFalse(self.feed.has_listeners("kv"))

    def test_failing_listener(self) -> None:
        """A listener that raises is logged and dropped, and the others hear everything."""

        def fail(changes: list[Change]) -> None:
            raise ZeroDivisionError

        self.feed.subscribe("kv", fail)
        self.feed.subscribe("kv", self.heard.append)
        self.feed.publish([change("kv", 1)])
        self.feed.publish([change("kv", 2)])
        self.assertEqual(len(self.heard), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_ended_by_another(self) -> None:
        """A listener that another one ends during a turn is not called any more."""
        stops: list[Callable[[], None]] = []
        self.feed.subscribe("kv", lambda changes: stops[0]())
        stops.append(self.feed.subscribe("kv", self.heard.append))
        self.feed.publish([change("kv", 1)])
        self.assertEqual(self.heard, [])

    def test_ends_itself(self) -> None:
        """A listener may end itself while it is called."""

        def once(changes: list[Change]) -> None:
            self.heard.append(changes)
            stop()

        stop = self.feed.subscribe("kv", once)
        self.feed.publish([change("kv", 1)])
        self.feed.publish([change("kv", 2)])
        self.assertEqual(len(self.heard), 1)

    def test_added_during_a_turn(self) -> None:
        """A listener that is added during a turn hears from the next one on."""

        def add(changes: list[Change]) -> None:
            if changes[0].revision == 1:
                self.feed.subscribe("kv", self.heard.append)

        self.feed.subscribe("kv", add)
        self.feed.publish([change("kv", 1)])
        self.assertEqual(self.heard, [])
        self.feed.publish([change("kv", 2)])
        self.assertEqual(self.heard, [[change("kv", 2)]])
