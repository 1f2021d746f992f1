"""What one WebSocket has subscribed to, and the messages that its subscriptions send."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from attrs import define, field

from uring.api import replies
from uring.api.gateway import Gateway
from uring.api.limits import Limits
from uring.api.messages import SubscribeArgs, UnsubscribeArgs
from uring.errors import BadRequest, NotFound, UringError
from uring.machines.values import Found
from uring.watch import Subscription, Told, Watch, check_channel

Send: TypeAlias = Callable[[bytes], None]

PROGRESS_SECONDS_MAX = 3600.0


def text_of(told: Told) -> bytes:
    """Return the JSON of one event; it is spelled once, whoever is told."""
    if not told.text:
        told.text = replies.dumps(
            {"channel": told.channel, "revision": told.revision, "msg": told.event.spelled()}
        )
    return told.text


def items_of(items: Sequence[Any]) -> list[Any]:
    """Return a piece of a snapshot, JSON-ready."""
    return [replies.found(item) if isinstance(item, Found) else item for item in items]


def check_start(start: int) -> int:
    """Return ``start`` if it may be a revision.  Raises BadRequest."""
    if not 0 <= start < 1 << 63:
        raise BadRequest("from is a revision: a whole number, 0 or more")
    return start


def check_progress(seconds: float) -> float:
    """Return ``seconds`` if it may be the time between marks.  Raises BadRequest."""
    if seconds and not 1 <= seconds <= PROGRESS_SECONDS_MAX:
        raise BadRequest(f"progress is 0 for never, or 1 to {PROGRESS_SECONDS_MAX:.0f} seconds")
    return float(seconds)


@define(eq=False)
class SocketSink:
    """Sends the messages of one subscription; without a rid those that the original knows."""

    owner: Subscriptions
    about: dict[str, Any]
    """What every message says: the channel, the rid and the prefix if they were given."""

    @property
    def full(self) -> bool:
        """See :class:`uring.watch.Sink`."""
        return self.owner.full()

    def subscribed(self, revision: int) -> None:
        """See :class:`uring.watch.Sink`."""
        self._say("Subscribed", revision=revision)

    def told(self, batch: Sequence[Told]) -> None:
        """See :class:`uring.watch.Sink`."""
        send = self.owner.send
        for told in batch:
            send(b'{"Msg":%b}' % text_of(told))

    def compacted(self, revision: int, oldest: int) -> None:
        """See :class:`uring.watch.Sink`."""
        self._say("Compacted", revision=revision, oldest=oldest)

    def snapshot(self, revision: int, items: Sequence[Any], last: bool) -> None:
        """See :class:`uring.watch.Sink`."""
        self._say("Snapshot", revision=revision, items=items_of(items), last=last)

    def progress(self, revision: int) -> None:
        """See :class:`uring.watch.Sink`."""
        self._say("Progress", revision=revision)

    def ended(self, error: UringError, resume: int | None) -> None:
        """See :class:`uring.watch.Sink`."""
        self.owner.forget(self)
        if "rid" not in self.about:
            self.owner.hang_up(str(error))
            return
        more = {} if resume is None else {"from": resume}
        self._say("Ended", code=error.code, reason=str(error), **more)

    def _say(self, name: str, **more: Any) -> None:
        if "rid" in self.about:
            self.owner.send(replies.dumps({name: {**self.about, **more}}))


@define(eq=False)
class Subscriptions:
    """One for each channel, and for kv one for each prefix."""

    gateway: Gateway
    limits: Limits
    send: Send
    full: Callable[[], bool]
    """Whether the client does not read what it is sent."""
    hang_up: Callable[[str], None]
    """Closes the connection, and says why."""
    _open: dict[tuple[str, str], Subscription] = field(factory=dict, init=False)

    def subscribe(self, args: SubscribeArgs) -> None:
        """Begin; one for the same channel and prefix is begun anew.  Raises UringError."""
        if args.rid is None and (args.start is not None or args.snapshot):
            raise BadRequest("give the subscription a rid: what it is sent will carry it")
        name = (args.channel, args.prefix or "")
        existing = self._open.get(name)
        if existing is None and len(self._open) >= self.limits.subscriptions:
            raise BadRequest(f"a connection has at most {self.limits.subscriptions} subscriptions")
        start = None if args.start is None else check_start(args.start)
        progress = check_progress(args.progress)
        if existing is not None and start is None and not args.snapshot:
            start = existing.missing
        watch = Watch(
            channel=args.channel,
            prefix=args.prefix or "",
            start=start,
            snapshot=args.snapshot,
            progress=0.0 if args.rid is None else progress,
        )
        sink = SocketSink(self, _about(args.rid, args.channel, args.prefix))
        subscription = self.gateway.watch(watch, sink)
        if existing is not None:
            existing.close()
        self._open[name] = subscription

    def unsubscribe(self, args: UnsubscribeArgs) -> None:
        """End one, or all of a channel when no prefix is given.  Raises BadRequest, NotFound."""
        check_channel(args.channel)
        chosen = [
            name
            for name in self._open
            if name[0] == args.channel and args.prefix in (None, name[1])
        ]
        if not chosen:
            raise NotFound(f"not subscribed to {args.channel[:64]!r}")
        for name in chosen:
            self._open.pop(name).close()
        if args.rid is not None:
            about = _about(args.rid, args.channel, args.prefix)
            self.send(replies.dumps({"Unsubscribed": about}))

    def forget(self, sink: SocketSink) -> None:
        """Take note that one has ended."""
        self._open = {name: each for name, each in self._open.items() if each.sink is not sink}

    def resume(self) -> None:
        """The client reads again."""
        for subscription in list(self._open.values()):
            subscription.resume()

    def close(self) -> None:
        """End all: the client is gone."""
        for subscription in self._open.values():
            subscription.close()
        self._open.clear()


def _about(rid: int | None, channel: str, prefix: str | None) -> dict[str, Any]:
    about: dict[str, Any] = {} if rid is None else {"rid": rid}
    about["channel"] = channel
    if prefix:
        about["prefix"] = prefix
    return about
