"""Whom a node dials, and over what it sends."""

from __future__ import annotations

from itertools import pairwise
from typing import NoReturn

from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from tests.peers.base import MeshBench, hello
from uring.peers import mesh as mesh_module
from uring.raft.messages import Heartbeat
from uring.wire.hello import HelloRefused

ANSWER = Heartbeat(to=2, from_=1, term=3)


class MeshTests(SynchronousTestCase):
    """Members, seeds and strangers."""

    def setUp(self) -> None:
        self.bench = MeshBench()
        self.mesh = self.bench.mesh

    def addresses(self) -> list[str]:
        return [address for address, _, _, _ in self.bench.attempts]

    def test_members_and_seeds_are_dialled(self) -> None:
        """Every other member and every seed is dialled, each address once."""
        self.mesh.add_seed("10.0.0.2:1")
        self.mesh.set_members({1: "10.0.0.1:1", 2: "10.0.0.2:1", 3: "10.0.0.3:1"})
        self.assertEqual(self.addresses(), ["10.0.0.2:1", "10.0.0.3:1"])

    def test_dialling_goes_on_for_ever(self) -> None:
        """Failed attempts are repeated after growing, bounded pauses."""
        self.mesh.add_seed("10.0.0.2:1")
        for _ in range(30):
            self.bench.fail()
            count = len(self.bench.attempts)
            while len(self.bench.attempts) == count:
                self.bench.clock.advance(0.01)
        times = [when for _, when, _, _ in self.bench.attempts]
        pauses = [later - sooner for sooner, later in pairwise(times)]
        self.assertEqual(len(pauses), 30)
        self.assertLess(pauses[0], 0.2)
        self.assertEqual(sorted(pauses[:5]), pauses[:5])
        self.assertLessEqual(max(pauses), mesh_module.RETRY_SECONDS_MAX)

    def test_lost_connection_is_dialled_again_soon(self) -> None:
        """A connection that worked and is lost is dialled again without a long pause."""
        self.mesh.add_seed("10.0.0.2:1")
        wire = self.bench.succeed().greet(hello(2))
        wire.transport.loseConnection()
        self.assertEqual(self.bench.news[-1], ("down", 2))
        self.bench.clock.advance(mesh_module.RETRY_SECONDS_MIN)
        self.assertEqual(len(self.bench.attempts), 2)

    def test_removed_member_is_not_dialled(self) -> None:
        """Who is no member any more is neither dialled nor kept connected."""
        self.mesh.set_members({2: "10.0.0.2:1"})
        wire = self.bench.succeed().greet(hello(2))
        self.mesh.set_members({})
        self.assertTrue(wire.closed)
        self.bench.clock.pump([1] * 10)
        self.assertEqual(len(self.bench.attempts), 1)

    def test_accepted_connection_serves_until_dialling_works(self) -> None:
        """A node that cannot be dialled is answered over the connection that it made."""
        self.mesh.set_members({2: "10.0.0.2:1"})
        accepted = self.bench.accept().greet(hello(2))
        self.mesh.send(2, [ANSWER])
        self.assertEqual(len(accepted.frames()), 2)
        dialled = self.bench.succeed().greet(hello(2))
        self.mesh.send(2, [ANSWER])
        self.assertEqual((len(accepted.frames()), len(dialled.frames())), (2, 3))
        dialled.transport.loseConnection()
        self.mesh.send(2, [ANSWER])
        self.assertEqual(len(accepted.frames()), 3)
        self.assertEqual([each for each in self.bench.news if each[0] != "hello"], [("up", 2)])

    def test_newer_accepted_connection_replaces_the_older(self) -> None:
        """A node that connects again has lost its old connection, even if we do not know yet."""
        old = self.bench.accept().greet(hello(2))
        new = self.bench.accept().greet(hello(2))
        self.assertTrue(old.closed)
        self.assertFalse(new.closed)
        self.assertEqual(self.mesh.connected(), {2})
        self.assertNotIn(("down", 2), self.bench.news)

    def test_node_that_dials_itself(self) -> None:
        """An address at which the node meets itself is not dialled again."""
        self.bench.refusal = HelloRefused("self", "this is the node itself")
        self.mesh.add_seed("10.0.0.1:1")
        wire = self.bench.succeed()
        self.bench.accept().greet(hello(1))
        wire.greet(self.bench.refusal)
        self.assertTrue(wire.closed)
        self.bench.clock.pump([1] * 10)
        self.assertEqual(len(self.bench.attempts), 1)

    def test_stranger_that_claims_to_be_us(self) -> None:
        """That the other side is this node itself is not taken from the other side alone."""
        self.mesh.add_seed("10.0.0.2:1")
        self.bench.succeed().greet(HelloRefused("self", "believe me"))
        self.bench.clock.pump([1] * 3)
        self.assertEqual(len(self.bench.attempts), 2)

    def test_address_that_makes_no_sense(self) -> None:
        """A member's address that cannot be dialled at all harms nobody."""

        def raising(address: str) -> NoReturn:
            raise ValueError(f"{address!r} is no address")

        self.mesh.connect = raising
        self.mesh.set_members({2: "nonsense"})
        self.bench.clock.pump([1] * 3)
        self.assertEqual(self.mesh.connected(), set())

    def test_renewal(self) -> None:
        """A renewed connection is closed and dialled again, with a new hello."""
        self.mesh.add_seed("10.0.0.2:1")
        wire = self.bench.succeed().greet(hello(2, cluster_id=b""))
        self.mesh.renew(2)
        self.assertTrue(wire.closed)
        self.bench.clock.advance(1)
        self.bench.succeed().greet(hello(2))
        self.assertEqual(self.mesh.connected(), {2})

    def test_strangers_are_bounded(self) -> None:
        """So many connections may be without a hello at a time, and no more."""
        wires = [self.bench.accept() for _ in range(self.mesh.limits.strangers)]
        self.assertIsNone(self.mesh.factory.buildProtocol(None))
        wires[0].greet(hello(2))
        self.assertIsNotNone(self.mesh.factory.buildProtocol(None))

    def test_strangers_of_one_address(self) -> None:
        """One address cannot take the places of all others."""
        count = self.mesh.limits.strangers_per_address
        wires = [self.bench.accept() for _ in range(count)]
        host = wires[0].link.where
        self.assertIsNone(self.mesh.factory.buildProtocol(IPv4Address("TCP", host, 1)))
        other = IPv4Address("TCP", "10.9.9.9", 1)
        self.assertIsNotNone(self.mesh.factory.buildProtocol(other))

    def test_sending_to_nobody(self) -> None:
        """Without a connection nothing is sent, and that is said."""
        self.assertFalse(self.mesh.send(2, [ANSWER]))

    def test_stop(self) -> None:
        """Stopping closes every connection, dials no more and says when it is done."""
        self.mesh.set_members({2: "10.0.0.2:1", 3: "10.0.0.3:1"})
        wires = [self.bench.succeed(0).greet(hello(2)), self.bench.accept().greet(hello(4))]
        self.successResultOf(self.mesh.stop())
        self.assertTrue(all(wire.closed for wire in wires))
        self.bench.clock.pump([1] * 10)
        self.assertEqual(len(self.bench.attempts), 2)
        self.assertEqual(self.bench.clock.getDelayedCalls(), [])
