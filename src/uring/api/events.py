"""Server-sent events: GET /watch, which ends when either side has had enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.http import Request
from zope.interface import implementer

from uring.api import replies
from uring.api.gateway import Gateway
from uring.api.keys import option, text_option
from uring.api.subscriptions import check_progress, check_start, items_of, text_of
from uring.errors import BadRequest, UringError
from uring.watch import Subscription, Told, Watch

_PARAMETERS = {b"channel", b"prefix", b"from", b"snapshot", b"progress"}
_PROGRESS = 10.0


def serve_events(request: Request, gateway: Gateway) -> Deferred[bytes] | bytes:
    """Answer ``request`` with a stream; what is returned fires when it has ended.

    Raises UringError for a request that cannot be served.
    """
    watch = _watch(request)
    if request.method == b"HEAD":
        request.setHeader(b"Content-Type", b"text/event-stream")
        return b""
    stream = EventStream(request, watch)
    stream.subscription = gateway.watch(watch, stream)
    # As long as something is written, nothing is read: a client that goes is noticed all the same.
    request.registerProducer(stream, True)
    return stream.done


def _watch(request: Request) -> Watch:
    unknown = set(request.args) - _PARAMETERS
    if unknown:
        known = ", ".join(sorted(name.decode() for name in _PARAMETERS))
        raise BadRequest(f"unknown parameter; known are {known}")
    channel = text_option(request.uri, "channel")
    if not channel:
        raise BadRequest("name the channel: GET /watch?channel=kv (or mring, uring)")
    given = text_option(request.uri, "from")
    start = None if given is None else _revision(given, "from")
    seen = request.getHeader(b"last-event-id")
    if seen is not None:
        last = _revision(seen.decode("latin-1"), "Last-Event-ID")
        # What has no ids has none that anybody could have seen: a browser sends that of another.
        start = last + 1 if channel != "uring" else start
    snapshot = option(request.uri, "snapshot", ("false", "true")) == "true"
    progress = text_option(request.uri, "progress")
    try:
        seconds = _PROGRESS if progress is None else float(progress)
    except ValueError:
        raise BadRequest("progress is a number of seconds") from None
    return Watch(
        channel=channel,
        prefix=text_option(request.uri, "prefix") or "",
        start=start,
        # Who comes back after its snapshot goes on from there.
        snapshot=snapshot and seen is None,
        progress=check_progress(seconds),
    )


def _revision(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise BadRequest(f"{name} is a revision: a whole number, 0 or more")
    return check_start(int(text))


@implementer(IPushProducer)
@define(eq=False)
class EventStream:
    """Writes what one subscription is told."""

    request: Any
    watch: Watch
    subscription: Subscription | None = None
    full: bool = False
    done: Deferred[bytes] = field(init=False)
    _over: bool = False

    def __attrs_post_init__(self) -> None:
        self.done = Deferred(lambda _: self._close())

    # -- what the hub tells -----------------------------------------------------------------------

    def subscribed(self, revision: int) -> None:
        """See :class:`uring.watch.Sink`."""
        self.request.setHeader(b"Content-Type", b"text/event-stream")
        # Whoever starts now has seen everything before: its id lets a broken connection resume.
        is_live = self.watch.start is None and not self.watch.snapshot
        is_kept = is_live and self.watch.channel != "uring"
        self._write("subscribed", {"revision": revision}, revision if is_kept else None)

    def told(self, batch: Sequence[Told]) -> None:
        """See :class:`uring.watch.Sink`."""
        if self._over:
            return
        parts = []
        for told in batch:
            if told.is_change:
                parts.append(b"id: %d\ndata: %b\n\n" % (told.revision, text_of(told)))
            else:
                parts.append(b"data: %b\n\n" % text_of(told))
        self.request.write(b"".join(parts))

    def compacted(self, revision: int, oldest: int) -> None:
        """See :class:`uring.watch.Sink`."""
        self._write("compacted", {"revision": revision, "oldest": oldest})

    def snapshot(self, revision: int, items: Sequence[Any], last: bool) -> None:
        """See :class:`uring.watch.Sink`."""
        piece = {"revision": revision, "items": items_of(items), "last": last}
        self._write("snapshot", piece, revision if last else None)

    def progress(self, revision: int) -> None:
        """See :class:`uring.watch.Sink`."""
        kept = self.watch.channel != "uring"
        self._write("progress", {"revision": revision}, revision if kept else None)

    def ended(self, error: UringError, resume: int | None) -> None:
        """See :class:`uring.watch.Sink`."""
        about: dict[str, Any] = {"code": error.code, "reason": str(error)}
        if resume is not None:
            about["from"] = resume
        self._write("ended", about)
        self._close()
        if not self.done.called:
            self.done.callback(b"")

    def _write(self, event: str, data: dict[str, Any], number: int | None = None) -> None:
        if self._over:
            return
        shown = replies.dumps({"channel": self.watch.channel, **data})
        line = b"" if number is None else b"id: %d\n" % number
        self.request.write(b"event: %b\n%bdata: %b\n\n" % (event.encode(), line, shown))

    # -- what the transport says ------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The client does not read as fast as it is told."""
        self.full = True

    def resumeProducing(self) -> None:
        """It has read what there was."""
        self.full = False
        if self.subscription is not None:
            self.subscription.resume()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._close()

    def _close(self) -> None:
        if self._over:
            return
        self._over = True
        if self.subscription is not None:
            self.subscription.close()
            self.request.unregisterProducer()
