"""The fast way through whole text frames agrees with RFC 6455 on everything it takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support.http import frames, masked
from uring.api.frames import native_unmask, parse_text_frames, text_frames, unmask

LIMIT = 70_000
texts = st.one_of(
    st.text(max_size=300), st.integers(120, 130).map("x".__mul__), st.just("é" * 33_000)
).map(str.encode)


class FrameTests(SynchronousTestCase):
    """Parsing and building."""

    @given(st.lists(texts, max_size=5))
    def test_whole_frames(self, payloads: list[bytes]) -> None:
        """Frames that arrive together come out in order, and nothing is left."""
        data = b"".join(masked(payload) for payload in payloads)
        self.assertEqual(parse_text_frames(data, LIMIT), (len(data), payloads))

    @given(st.lists(texts, min_size=1, max_size=3), st.data())
    def test_cut_off_frames(self, payloads: list[bytes], data: st.DataObject) -> None:
        """A frame that is not whole yet is left, from its first byte on."""
        whole = b"".join(masked(payload) for payload in payloads[:-1])
        last = masked(payloads[-1])
        cut = data.draw(st.integers(0, len(last) - 1))
        expected = (len(whole), payloads[:-1])
        self.assertEqual(parse_text_frames(whole + last[:cut], LIMIT), expected)

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        """Whatever comes, nothing is raised and no more is taken than there is."""
        position, found = parse_text_frames(data, LIMIT)
        self.assertLessEqual(position, len(data))
        self.assertLessEqual(sum(map(len, found)), len(data))

    def test_what_is_left_to_the_full_parser(self) -> None:
        """Other opcodes, fragments, reserved bits, no mask, bad UTF-8 and excess are not taken."""
        long_form = bytes((0x81, 0xFE, 0, 5, 0, 0, 0, 0)) + b"short"
        for data in (
            masked(b"x", 0x82),
            masked(b"x", 0x01),
            masked(b"x", 0x80),
            masked(b"x", 0xC1),
            masked(b"x", 0x89),
            masked(b"", 0x88),
            text_frames([b"unmasked"]),
            masked(b"\xff\xfe"),
            masked("é".encode()[:1]),
            masked(b"x" * (LIMIT + 1)),
            long_form,
            bytes((0x81, 0xFF)) + (2**63).to_bytes(8) + bytes(4),
        ):
            self.assertEqual(parse_text_frames(data, LIMIT), (0, []))
            whole = masked(b"before")
            self.assertEqual(parse_text_frames(whole + data, LIMIT), (len(whole), [b"before"]))

    @given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
    def test_unmask(self, payload: bytes, key: bytes) -> None:
        """Unmasking is the exclusive or with the key, byte by byte (section 5.3)."""
        expected = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
        self.assertEqual(unmask(payload, key), expected)

    def test_unmask_natively(self) -> None:
        """The native way comes to the same, whatever the length."""
        native = native_unmask()
        if native is None:
            raise SkipTest("websockets is not there, or without its native part")
        key, payload = bytes((1, 128, 255, 7)), bytes(range(251)) * 5000
        for size in (*range(70), 65_537, 1 << 20):
            self.assertEqual(native(payload[:size], key), unmask(payload[:size], key))

    def test_replies(self) -> None:
        """A reply's frame has the shortest form of its length."""
        for size in (0, 125, 126, 65535, 65536):
            self.assertEqual(frames(text_frames([b"x" * size])), [(0x81, b"x" * size)])
            head = len(text_frames([b"x" * size])) - size
            self.assertEqual(head, 2 if size < 126 else 4 if size < 65536 else 10)
