"""Watches: every change once, in order, from any revision that is still kept.

A change is appended to the history before it is committed, and told to those who are up to date in
the same turn.  Whoever is behind (resumed, slow, or stalled) is told from the history, a piece at a
time and as fast as it reads, until it is up to date.  So a slow one costs a number, not a queue.
"""

from uring.watch.hub import Hub
from uring.watch.subscription import CHANNELS, Sink, Subscription, Told, Watch, check_channel

__all__ = ["CHANNELS", "Hub", "Sink", "Subscription", "Told", "Watch", "check_channel"]
