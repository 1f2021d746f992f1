"""Cancelling that is seen as such, whatever a library makes of it."""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


def cancellable(inner: Deferred[T]) -> Deferred[T]:
    """Return what fires as ``inner`` does, and fails with CancelledError once it is cancelled.

    Twisted says a cancelled name resolution as DNSLookupError, a cancelled connection as
    ConnectingCancelledError, and a cancelled request as ResponseFailed.  Taken for failures of the
    network they would be tried again, by somebody whom nobody waits for.
    """
    is_cancelled = False

    def cancel(outer: Deferred[T]) -> None:
        nonlocal is_cancelled
        is_cancelled = True
        inner.cancel()

    outer: Deferred[T] = Deferred(cancel)

    def fired(result: Any) -> None:
        if not is_cancelled:
            outer.callback(result)

    inner.addBoth(fired)
    return outer
