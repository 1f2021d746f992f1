"""Arbitrary bytes, and good ones with damage, at every decoder."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.__main__ import mutated
from tests.fuzz.targets import TARGETS

names = st.sampled_from(sorted(TARGETS))


class DecoderTests(SynchronousTestCase):
    """Each refuses as it says that it does, or decodes what its encoder would have made."""

    def test_good_bytes(self) -> None:
        """What the fuzzing begins with is understood."""
        for target in TARGETS.values():
            for good in target.good:
                target.run(good)

    @settings(max_examples=400)
    @given(names, st.binary(max_size=200))
    def test_any_bytes(self, name: str, data: bytes) -> None:
        """Bytes that mean nothing."""
        TARGETS[name].run(data)

    @settings(max_examples=1000)
    @given(names, st.data())
    def test_damaged_bytes(self, name: str, data: st.DataObject) -> None:
        """Good bytes with some cut out, repeated, put in or altered."""
        good = data.draw(st.sampled_from(list(TARGETS[name].good)))
        TARGETS[name].run(mutated(good, data.draw(st.randoms(use_true_random=False))))
