"""Who is up to date on one channel, found by the prefixes of keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import define, field

from uring.watch.subscription import Subscription, Told


@define(eq=False)
class Audience:
    """Subscriptions by prefix: what a change costs grows with the lengths of prefixes there are,
    not with the subscriptions."""

    groups: dict[str, dict[Subscription, None]] = field(factory=dict, init=False)
    _lengths: list[int] = field(factory=list, init=False)
    """Of the prefixes, ascending."""

    def add(self, subscription: Subscription) -> None:
        """Let it be told from now on."""
        self.groups.setdefault(subscription.watch.prefix, {})[subscription] = None
        self._lengths = sorted({len(prefix) for prefix in self.groups})

    def remove(self, subscription: Subscription) -> None:
        """Tell it nothing more."""
        prefix = subscription.watch.prefix
        group = self.groups.get(prefix, {})
        group.pop(subscription, None)
        if not group and self.groups.pop(prefix, None) is not None:
            self._lengths = sorted({len(prefix) for prefix in self.groups})

    def chosen(self, batch: Iterable[Told]) -> Iterator[tuple[Subscription, list[Told]]]:
        """Yield each subscription with what of ``batch`` it is to be told."""
        by_prefix: dict[str, list[Told]] = {}
        for told in batch:
            key = getattr(told.event, "key", "")
            for length in self._lengths:
                if length > len(key):
                    break
                prefix = key[:length]
                if prefix in self.groups:
                    by_prefix.setdefault(prefix, []).append(told)
        for prefix, matching in by_prefix.items():
            for subscription in list(self.groups.get(prefix, ())):
                yield subscription, matching
