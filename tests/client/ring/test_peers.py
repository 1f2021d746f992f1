"""Chunks from node to node: acknowledged, resumable, bounded; and what counters keep of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from examples.counters.store import CHUNK_ROWS, Store
from uring.client.ring.messages import (
    FRAME_BYTES_MAX,
    Data,
    Finish,
    Message,
    Start,
    decode_ack,
    encode,
)
from uring.client.ring.peers import Receiving, ReceivingFactory, send
from uring.errors import Unavailable


class PeerTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.source, self.target = Store(Path(self.mktemp())), Store(Path(self.mktemp()))
        self.addCleanup(self.source.close)
        self.addCleanup(self.target.close)
        endpoint = TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1")
        self.door = await endpoint.listen(ReceivingFactory(self.target))
        self.addCleanup(self.door.stopListening)

    async def send(self, began: int, address: str = "") -> None:
        where = address or f"127.0.0.1:{self.door.getHost().port}"
        await send(self.reactor, where, 5.0, Start("n1", 4, began), self.source)

    async def test_all_of_it(self) -> None:
        """A vnode of several chunks arrives whole, with what tells repeated increments."""
        for number in range(CHUNK_ROWS + 20):
            self.source.add(4, f"counter {number}", "client", number)
        self.source.add(5, "of another vnode", "client", 1)
        await self.send(17)
        self.assertEqual(self.target.value(4, "counter 7"), 0)
        await self.target.opened(4)
        self.assertEqual(self.target.value(4, "counter 7"), 1)
        self.assertEqual(self.target.value(5, "of another vnode"), 0)
        self.assertEqual(self.target.add(4, "again", "client", CHUNK_ROWS + 19), 1)
        self.assertEqual(self.target.value(4, "again"), 0)
        self.assertRaises(ValueError, self.target.add, 4, "again", "client", 3)
        await self.source.closed(4)
        self.assertEqual(self.source.value(4, "counter 7"), 0)
        self.assertEqual(self.source.value(5, "of another vnode"), 1)

    async def test_going_on(self) -> None:
        """A transfer that was cut off goes on where it was; a new one begins anew."""
        for number in range(CHUNK_ROWS):
            self.source.add(4, f"counter {number}", "client", number)
        first = await self.source.chunk(4, 0)
        assert first is not None
        self.assertEqual(await self.target.begin(4, "n1", 17), 0)
        await self.target.store(4, 17, 0, first)
        self.assertEqual(await self.target.begin(4, "n1", 17), 1)
        self.assertEqual(await self.target.begin(4, "n1", 18), 0)
        await self.send(18)
        await self.target.opened(4)
        self.assertEqual(self.target.value(4, "counter 7"), 1)

    async def test_what_arrived_before_counts_for_nothing(self) -> None:
        """A transfer that was complete, but not finished, is replaced by the next one."""
        self.source.add(4, "a", "client", 1)
        await self.send(17)
        self.source.add(4, "a", "client", 2)
        await self.send(21)
        await self.target.opened(4)
        self.assertEqual(self.target.value(4, "a"), 2)
        self.target.add(4, "a", "client", 3)
        await self.target.opened(4)
        self.assertEqual(self.target.value(4, "a"), 3)

    async def test_a_crash_loses_nothing(self) -> None:
        """What was acknowledged is there after the process began again, and so is its name."""
        directory = Path(self.mktemp())
        store = Store(directory)
        store.add(1, "a", "client", 1)
        again = Store(directory)
        self.assertEqual((again.value(1, "a"), again.instance), (1, store.instance))
        self.assertEqual(again.add(1, "a", "client", 1), 1)
        store.close()
        again.close()

    async def test_nobody_there(self) -> None:
        """Where nobody listens, or somebody refuses, the sender is told."""
        address = f"127.0.0.1:{self.door.getHost().port}"
        await self.door.stopListening()
        with self.assertRaises(Unavailable):
            await self.send(1, address)


class ReceivingTests(TestCase):
    def setUp(self) -> None:
        self.store = Store(Path(self.mktemp()))
        self.addCleanup(self.store.close)
        self.protocol, self.transport = Receiving(self.store), StringTransport()
        self.protocol.makeConnection(self.transport)

    def told(self, data: bytes) -> Any:
        self.transport.clear()
        self.protocol.dataReceived(len(data).to_bytes(4) + data)
        return decode_ack(self.transport.value()[4:])

    def test_out_of_order(self) -> None:
        """Chunks and ends of transfers that did not begin are refused."""
        self.assertTrue(self.told(encode(Message(HandoffData=Data(1, 0, b"x")))).error)
        self.assertTrue(self.told(encode(Message(HandoffFinish=Finish(1)))).error)
        self.assertEqual(self.told(encode(Message(HandoffStart=Start("n", 1, 2)))).next, 0)
        self.assertFalse(self.told(encode(Message(HandoffFinish=Finish(1)))).error)

    def test_no_message(self) -> None:
        """What is no message is refused; what is too long ends the connection."""
        for data in (b"", b"{}", b"[]", b'{"HandoffData":{"vnode":1,"chunk":0,"data":"*"}}'):
            self.assertTrue(self.told(data).error)
        self.protocol.dataReceived((FRAME_BYTES_MAX + 1).to_bytes(4))
        self.assertTrue(self.transport.disconnected)
