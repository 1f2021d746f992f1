"""The first frame of a connection."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from uring.wire.codec import DecodeError
from uring.wire.hello import (
    HELLO_BYTES_MAX,
    MAGIC,
    Hello,
    HelloRefused,
    decode_hello,
    encode_hello,
)

HELLO = Hello(1, b"c" * 16, 2, b"i" * 16, "127.0.0.1:8082", 7)


class HelloTests(SynchronousTestCase):
    """Hellos and refusals."""

    def test_round_trips(self) -> None:
        """Hellos with and without a cluster, and refusals, come back as they were."""
        for hello in (
            HELLO,
            msgspec.structs.replace(HELLO, cluster_id=b""),
            HelloRefused("id", "x"),
        ):
            self.assertEqual(decode_hello(encode_hello(hello)), hello)
            self.assertLess(len(encode_hello(hello)), HELLO_BYTES_MAX)

    def test_what_makes_no_sense(self) -> None:
        """Ids and instances have their sizes, addresses are not empty."""
        for changes in (
            {"node_id": 0},
            {"node_id": -1},
            {"node_id": 2**63},
            {"cluster_id": b"short"},
            {"instance_id": b""},
            {"instance_id": b"x" * 17},
            {"address": ""},
            {"address": "x" * 513},
            {"version": 256},
            {"applied": -1},
        ):
            wrong = msgspec.structs.replace(HELLO, **changes)
            with self.assertRaises(DecodeError):
                decode_hello(encode_hello(wrong))

    @given(st.binary(max_size=100))
    def test_any_bytes(self, data: bytes) -> None:
        """Bytes that are no hello are refused by DecodeError."""
        with self.assertRaises(DecodeError):
            decode_hello(data)

    def test_no_http_request_begins_like_a_peer(self) -> None:
        """The magic is not the beginning of any request line."""
        self.assertNotIn(b" ", MAGIC)
        self.assertTrue(MAGIC.endswith(b"\n"))
