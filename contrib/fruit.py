"""What bin/fruitninja can do to a cluster, one method for each command."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from contrib.cluster import Cluster
from contrib.load import Load
from contrib.relay import Network
from contrib.servers import UringServer
from contrib.sight import ANSWER_SECONDS, PATIENCE_SECONDS, Sight
from uring.client import Change, Client
from uring.errors import UringError

CONVERGE_SECONDS = 30.0
STORM_SECONDS = 20.0

Command = Callable[..., Awaitable[None]]


class Refused(Exception):
    """A command that makes no sense; the text says why."""


class Commands:
    """The commands.  What a ``do_`` method says of itself is its help."""

    def __init__(
        self, reactor: Any, cluster: Cluster, network: Network, say: Callable[[str], None]
    ) -> None:
        self.reactor, self.cluster, self.network, self.say = reactor, cluster, network, say
        self.sight = Sight(reactor, cluster)
        self._any = self._client(*(server.address for server in cluster.servers))
        self._chosen = self._any
        self._load: Load | None = None
        self._watches: list[Deferred[None]] = []
        self._closing = False
        for server in cluster.servers:
            server.unasked = self._ended

    def _client(self, *addresses: str) -> Client:
        return Client(
            *addresses,
            reactor=self.reactor,
            timeout=ANSWER_SECONDS,
            patience=PATIENCE_SECONDS,
            repeat=True,
        )

    async def close(self) -> None:
        """End what it does by itself."""
        self._closing = True
        if self._load is not None:
            self._load.stop()
        for watch in self._watches:
            watch.cancel()
        for client in {self._any, self._chosen}:
            await client.close()
        await self.sight.close()

    async def run(self, name: str, words: Sequence[str]) -> None:
        """Run one command.  Raises Refused, UringError, TimeoutError, ValueError."""
        command = commands().get(name)
        if command is None:
            raise Refused(f"no command {name!r}; `help` lists them")
        try:
            inspect.signature(command).bind(self, *words)
        except TypeError:
            raise Refused(f"usage: {usage(command)}") from None
        await command(self, *words)

    def _ended(self, server: UringServer, code: int | None) -> None:
        if not self._closing:
            how = "by a signal" if code is None else f"with exit code {code}"
            self.say(f"node {server.node_id} ended by itself, {how}")

    def _node(self, word: str) -> UringServer:
        server = self.sight.servers.get(int(word)) if word.isdecimal() else None
        if server is None:
            raise Refused(f"no node {word!r}; there are {', '.join(map(str, self.sight.servers))}")
        return server

    async def _nodes(self, words: Sequence[str]) -> list[UringServer]:
        found: list[UringServer] = []
        for word in words:
            if word == "all":
                found.extend(self.sight.servers.values())
            elif word == "leader":
                found.append(self.sight.servers[await self.sight.leader()])
            else:
                found.append(self._node(word))
        if not found:
            raise Refused("name nodes: 1 2 ..., `leader`, or `all`")
        return list(dict.fromkeys(found))

    # -- processes ---------------------------------------------------------------------------------

    async def do_kill(self, *nodes: str) -> None:
        """kill NODE...: as a power cut would end it"""
        for server in await self._nodes(nodes):
            self.sight.paused.discard(server.node_id)
            await self.network.down(server.node_id)
            await server.die()
            self.say(f"node {server.node_id} killed")

    async def do_stop(self, *nodes: str) -> None:
        """stop NODE...: as its service manager would"""
        for server in await self._nodes(nodes):
            self._wake(server)
            await self.network.down(server.node_id)
            code = await server.stop()
            self.say(f"node {server.node_id} stopped with exit code {code}")

    async def do_start(self, *nodes: str) -> None:
        """start NODE...: again, with the data it had"""
        for server in await self._nodes(nodes):
            if server.running:
                self.say(f"node {server.node_id} is running")
                continue
            self.network.up(server.node_id)
            server.start()
            self.say(f"node {server.node_id} started")

    async def do_restart(self, *nodes: str) -> None:
        """restart NODE...: kill and start"""
        found = [str(server.node_id) for server in await self._nodes(nodes)]
        await self.do_kill(*found)
        await self.do_start(*found)

    async def do_pause(self, *nodes: str) -> None:
        """pause NODE...: it stands still, and its connections stay"""
        for server in await self._nodes(nodes):
            if not server.running:
                raise Refused(f"node {server.node_id} does not run")
            server.signal("STOP")
            self.sight.paused.add(server.node_id)
            self.say(f"node {server.node_id} paused")

    async def do_resume(self, *nodes: str) -> None:
        """resume NODE...: it goes on"""
        for server in await self._nodes(nodes):
            self._wake(server)
            self.say(f"node {server.node_id} resumed")

    def _wake(self, server: UringServer) -> None:
        server.signal("CONT")
        self.sight.paused.discard(server.node_id)

    # -- the network between them ------------------------------------------------------------------

    async def do_partition(self, *groups: str) -> None:
        """partition 1,2 3,4,5: nodes hear only their group; who is not named is in a last one"""
        parts = [
            {server.node_id for server in await self._nodes(text.split(","))} for text in groups
        ]
        if sum(map(len, parts)) != len(set().union(*parts)):
            raise Refused("a node is in two groups")
        rest = self.sight.servers.keys() - set().union(*parts)
        parts = [*parts, set(rest)] if rest else parts
        if len(parts) < 2:
            raise Refused("that would be one group: name the nodes of at least one side")
        self.network.partition(parts)
        self.say("partitioned: " + " | ".join(",".join(map(str, sorted(part))) for part in parts))

    async def do_isolate(self, *nodes: str) -> None:
        """isolate NODE...: each of them hears nobody"""
        alone = await self._nodes(nodes)
        await self.do_partition(*(str(server.node_id) for server in alone))

    async def do_heal(self) -> None:
        """heal: all hear all"""
        self.network.heal()
        self.say("healed")

    # -- members -----------------------------------------------------------------------------------

    async def do_adjoin(self, *nodes: str) -> None:
        """adjoin NODE...: make it a member (again)"""
        for server in await self._nodes(nodes):
            await self._any.add_member(server.node_id, server.advertise or server.address)
            self.say(f"node {server.node_id} is a member")

    async def do_remove(self, node: str) -> None:
        """remove NODE: it is no member any more"""
        server = self._node(node)
        await self._any.remove_member(server.node_id)
        self.say(f"node {server.node_id} is no member any more")

    async def do_transfer(self, node: str) -> None:
        """transfer NODE: it is to lead"""
        await self._any.transfer(self._node(node).node_id)
        self.say(f"node {node} leads")

    # -- looking -----------------------------------------------------------------------------------

    async def do_status(self) -> None:
        """status: how every node is, and whether they agree"""
        statuses = await self.sight.statuses()
        for node, status in statuses.items():
            address, how = self.sight.servers[node].address, self.sight.described(node, status)
            self.say(f"node {node}  {address}  {how}")
        if self._load is not None:
            self.say(str(self._load))
        self.say("converged" if self.sight.agree(statuses) else "not converged")

    async def do_identify(self, node: str) -> None:
        """identify NODE: all that it says of itself"""
        status = await self.sight.clients[self._node(node).node_id].status()
        self.say(json.dumps(status, indent=2))

    async def do_leader(self) -> None:
        """leader: who leads"""
        self.say(f"node {await self.sight.leader()} leads")

    async def do_wait(self, what: str = "converged", seconds: str = "") -> None:
        """wait [converged [SECONDS] | leader | SECONDS]: until all agree (load ends), one leads"""
        if what.replace(".", "", 1).isdecimal():
            await deferLater(self.reactor, float(what))
        elif what == "leader":
            await self.do_leader()
        elif what == "converged":
            await self._converge(float(seconds or CONVERGE_SECONDS))
        else:
            raise Refused(usage(Commands.do_wait))

    async def _converge(self, seconds: float) -> None:
        # What is written all the time lets no two nodes show the same index for long.
        load, self._load = self._load, None
        if load is not None:
            load.stop()
            self.say(str(load))
        await self.sight.converged(seconds)
        self.say("converged")

    async def do_events(self, channel: str = "uring") -> None:
        """events [uring|kv|mring]: show events of a channel from now on, every node's of uring"""
        if channel not in ("uring", "kv", "mring"):
            raise Refused(usage(Commands.do_events))
        clients = list(self.sight.clients.values()) if channel == "uring" else [self._any]
        for client in clients:
            watching = Deferred.fromCoroutine(self._show(client, channel))
            watching.addErrback(lambda failure: failure.trap(CancelledError, UringError) and None)
            self._watches.append(watching)

    async def _show(self, client: Client, channel: str) -> None:
        async for news in client.watch(channel):
            if isinstance(news, Change):
                self.say(f"{channel}: {json.dumps(news.event)}")

    # -- data --------------------------------------------------------------------------------------

    async def do_select(self, node: str) -> None:
        """select NODE|any: whom the commands below ask"""
        chosen = self._any if node == "any" else self._client(self._node(node).address)
        if self._chosen is not self._any:
            await self._chosen.close()
        self._chosen = chosen

    async def do_write(self, key: str, value: str) -> None:
        """write KEY VALUE"""
        await self._chosen.put(key, value)
        self.say("written")

    async def do_read(self, key: str) -> None:
        """read KEY"""
        found = await self._chosen.get(key)
        self.say("there is no such key" if found is None else found)

    async def do_delete(self, key: str) -> None:
        """delete KEY"""
        found = await self._chosen.delete(key)
        self.say("there was no such key" if found is None else f"deleted, it was {found}")

    async def do_mring(self, what: str = "show", name: str = "") -> None:
        """mring [show | size N | add NAME | remove NAME]"""
        if what == "size" and name.isdecimal():
            await self._chosen.set_ring_size(int(name))
        elif what == "add" and name:
            await self._chosen.add_ring_node(name)
        elif what == "remove" and name:
            await self._chosen.remove_ring_node(name)
        elif what != "show" or name:
            raise Refused(usage(Commands.do_mring))
        for node in await self._chosen.ring_nodes():
            self.say(f"{node.id}: {len(node.vnodes)} vnodes")

    async def do_load(self, what: str = "on") -> None:
        """load [on|off]: write all the time, and tell of the longest time that nothing went"""
        if what not in ("on", "off"):
            raise Refused(usage(Commands.do_load))
        if self._load is not None:
            self._load.stop()
            self.say(str(self._load))
        self._load = Load(self._any, self.reactor) if what == "on" else None

    # -- by chance ---------------------------------------------------------------------------------

    async def do_storm(self, seconds: str = str(STORM_SECONDS), seed: str = "1") -> None:
        """storm [SECONDS] [SEED]: faults by chance, of a minority at a time; then all is mended"""
        chance, end = Random(int(seed)), self.reactor.seconds() + float(seconds)
        few = max(1, (len(self.sight.servers) - 1) // 2)
        while self.reactor.seconds() < end:
            nodes = [
                str(node)
                for node in chance.sample(sorted(self.sight.servers), chance.randint(1, few))
            ]
            do, undo = chance.choice(
                [
                    (self.do_kill, self.do_start),
                    (self.do_stop, self.do_start),
                    (self.do_pause, self.do_resume),
                    (self.do_isolate, lambda *ignored: self.do_heal()),
                ]
            )
            await do(*nodes)
            await deferLater(self.reactor, chance.uniform(0.5, 2.5))
            await undo(*nodes)
            await deferLater(self.reactor, chance.uniform(0.2, 1.0))
        await self.do_wait()

    async def do_help(self) -> None:
        """help: this list; `quit` ends the session and every node"""
        for command in dict.fromkeys(commands().values()):
            self.say(f"  {usage(command)}")


SHORT = {"p": "pause", "r": "resume", "k": "kill", "s": "status", "h": "help", "?": "help"}
"""What one key and Enter do."""


def commands() -> dict[str, Command]:
    """Return the commands by name, and by their keys."""
    found: dict[str, Command] = {
        name[3:]: command for name, command in vars(Commands).items() if name.startswith("do_")
    }
    return {**found, **{key: found[name] for key, name in SHORT.items()}}


def usage(command: Command) -> str:
    """Return how a command is written."""
    text = (command.__doc__ or "").strip()
    keys = [key for key, name in SHORT.items() if f"do_{name}" == command.__name__]
    return text + (f"  (also: {', '.join(keys)})" if keys else "")
