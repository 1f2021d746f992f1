"""Batches of commands as bytes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from uring.machines.commands import AddNode, Cas, Command, Delete, Put, RemoveNode, SetSize
from uring.machines.proposal import (
    Proposal,
    ProposalError,
    decode,
    encode,
    encode_commands,
    join,
)

COMMANDS: list[Command] = [
    Put("a", "1"),
    Delete("é"),
    Cas("a", None, "2"),
    Cas("a", "1", "2", lenient=True),
    SetSize(64),
    AddNode("n1"),
    RemoveNode("n1"),
]


class ProposalTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        """What was encoded is decoded again, every command included."""
        proposal = Proposal(3, 5, 7, 6, COMMANDS)
        self.assertEqual(decode(encode(proposal)), proposal)

    def test_joined(self) -> None:
        """Commands that were encoded apart or together make the same bytes."""
        for count in (1, 7, 15, 16, 100, 1 << 16):
            commands = (COMMANDS * (count // len(COMMANDS) + 1))[:count]
            apart = [encode_commands((command,)) for command in commands]
            half = [
                encode_commands(commands[: count // 2]),
                encode_commands(commands[count // 2 :]),
            ]
            for parts in (apart, half, [encode_commands(commands)]):
                joined = join(3, 5, 7, 6, count, parts)
                self.assertEqual(joined, encode(Proposal(3, 5, 7, 6, commands)))

    def test_bytes_on_disk(self) -> None:
        """The form is that of the first release: tags and the order of fields stay."""
        self.assertEqual(
            encode(Proposal(1, 2, 3, 4, [Put("k", "v"), Cas("k", None, "w"), SetSize(8)])),
            b"\x95\x01\x02\x03\x04\x93"
            b"\x93\xa1P\xa1k\xa1v"
            b"\x95\xa1C\xa1k\xc0\xa1w\xc2"
            b"\x94\xa1S\x08\xaacontinuous\x01",
        )

    def test_bytes_of_the_first_release(self) -> None:
        """What was written before a field was added means what it meant."""
        data = b"\x95\x01\x02\x03\x04\x93\x93\xa1S\x08\xaacontinuous\x92\xa1A\xa2n1\x92\xa1R\xa2n1"
        self.assertEqual(
            decode(data).commands, [SetSize(8, "continuous"), AddNode("n1"), RemoveNode("n1")]
        )

    def test_undecodable(self) -> None:
        """Whatever is no proposal raises ProposalError and nothing else."""
        good = encode(Proposal(1, 1, 1, 1, [Put("k", "v")]))
        deep = b"\x91" * 100_000 + b"\xc0"
        for data in (
            b"",
            b"\xc0",
            b"\xc1",
            good[:-1],
            good + b"\x00",
            b"\x96" + good[1:] + b"\x00",
            good.replace(b"\xa1P", b"\xa1Q"),
            good.replace(b"\xa1k", b"\xa1\xff"),
            good.replace(b"\xa1k", b"\x01"),
            b"\x95\x01\x01\x01\x01\xdd\xff\xff\xff\xff",
            b"\xdd\xff\xff\xff\xff",
            deep,
            b"\x96\x01\x01\x01\x01\x90" + deep,
            b"\x95\x01\x01\x01\x01" + deep,
        ):
            self.assertRaises(ProposalError, decode, data)

    def test_unknown_fields(self) -> None:
        """A field more than is known is refused, not skipped, at any depth of the stack."""
        more = b"\x95\x01\x01\x01\x01\x91\x94\xa1P\xa1k\xa1v" + b"\x91" * 50 + b"\xc0"
        self.assertRaises(ProposalError, decode, more)

    def test_not_encodable(self) -> None:
        """Text that is no Unicode, and integers beyond 64 bits, are refused."""
        for command in (Put("\ud800", "v"), Put("k", "\udfff"), SetSize(2**64)):
            self.assertRaises(ProposalError, encode_commands, (command,))
            self.assertRaises(ProposalError, encode_commands, (Put("k", "v"), command))
            self.assertRaises(ProposalError, encode, Proposal(1, 1, 1, 1, [command]))
