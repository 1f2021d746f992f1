"""Sending at once what a socket takes at once."""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection


def write_now(transport: Any, data: bytes) -> None:
    """Write ``data``; where nothing else waits to be sent, without waiting for the reactor.

    Twisted gathers what is written, asks the poller to say when the socket takes it, sends it in
    the next iteration and tells the poller to stop: two calls into the kernel and an iteration for
    each small reply.  A socket nearly always takes it at once.  What it does not take, and all of
    it where the transport is no plain TCP connection, goes Twisted's way.
    """
    if (
        # What wraps a connection, such as TLS, passes attributes on: their presence says nothing.
        isinstance(transport, Connection)
        and not transport.TLS  # it would be sent in the clear
        and transport.dataBuffer == b""
        and not transport._tempDataBuffer
        and transport.connected
        and not transport.disconnecting
    ):
        sent = transport.writeSomeData(data)
        if isinstance(sent, int):
            if sent == len(data):
                return
            data = data[sent:]
    # An error shows again when Twisted sends, and ends the connection as it does any other time.
    transport.write(data)
