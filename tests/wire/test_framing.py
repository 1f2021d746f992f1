"""Length-prefixed frames."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from uring.wire.framing import FrameDecoder, FrameError, encode_frame


class FramingTests(SynchronousTestCase):
    """Cutting a stream into frames."""

    @given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.data())
    def test_any_pieces(self, payloads: list[bytes], data: st.DataObject) -> None:
        """However a stream is cut, the same frames come out, and nothing is left."""
        stream = b"".join(encode_frame(payload, 50) for payload in payloads)
        decoder = FrameDecoder(50)
        found: list[bytes] = []
        while stream:
            size = data.draw(st.integers(1, len(stream)))
            found.extend(decoder.feed(stream[:size]))
            stream = stream[size:]
        self.assertEqual(found, payloads)
        self.assertTrue(decoder.is_empty)

    def test_too_large_is_refused_at_its_length(self) -> None:
        """Four bytes that announce too much are enough; empty frames are refused, too."""
        for length in (0, 51, 2**31, 2**32 - 1):
            with self.assertRaises(FrameError):
                list(FrameDecoder(50).feed(length.to_bytes(4)))

    def test_second_frame_too_large(self) -> None:
        """What follows a good frame is judged by its own length."""
        with self.assertRaises(FrameError):
            list(FrameDecoder(50).feed(encode_frame(b"good", 50) + (51).to_bytes(4)))

    def test_limit_that_a_frame_lifts(self) -> None:
        """What follows a frame in the same piece is judged by the limit that this frame led to."""
        decoder, found = FrameDecoder(4), []
        for frame in decoder.feed(encode_frame(b"good", 50) + encode_frame(b"longer", 50)):
            found.append(frame)
            decoder.limit = 50
        self.assertEqual(found, [b"good", b"longer"])
        self.assertTrue(decoder.is_empty)

    def test_sender_keeps_the_limit(self) -> None:
        """The limit holds for what is sent as for what is received."""
        for payload in (b"", b"x" * 51):
            with self.assertRaises(FrameError):
                encode_frame(payload, 50)

    def test_large_frame_in_small_pieces(self) -> None:
        """A frame of a megabyte in pieces of a kilobyte is put together once."""
        payload = bytes(range(256)) * 4096
        stream = encode_frame(payload, len(payload))
        decoder = FrameDecoder(len(payload))
        found: list[bytes] = []
        for start in range(0, len(stream), 1024):
            self.assertEqual(found, [])
            found.extend(decoder.feed(stream[start : start + 1024]))
        self.assertEqual(found, [payload])
