"""Lets ``twist`` and ``twistd`` find uring; importing it must stay cheap and never fail."""

from twisted.application.service import ServiceMaker

# Twisted caches this variable's name beside the file: never rename it.
uring = ServiceMaker(
    "uring",
    "uring.entry",
    "A node of a key/value store and ring replicated by Raft",
    "uring",
)
