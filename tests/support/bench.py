"""One core alone: messages go in by hand, and what it sends is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

from uring.raft import MemoryStorage, RawNode, ReadState, Settings
from uring.raft.local import AnyMessage, StepRefused
from uring.raft.membership import decode_conf_change
from uring.raft.messages import Message, Vote, VoteResponse
from uring.raft.types import ConfState, Entry, EntryKind, HardState, Role

M = TypeVar("M")


class BenchStorage(MemoryStorage):
    """Storage that begins with a membership and no snapshot."""

    def __init__(self, conf_state: ConfState) -> None:
        super().__init__()
        self.conf_state = conf_state

    def initial_state(self) -> tuple[HardState, ConfState]:
        return super().initial_state()[0], self.conf_state


class Bench:
    """A core with a log of the given ``terms`` (at indexes 1, 2, ...), committed up to ``commit``.

    Its writes are done at once; ``applied`` gathers the entries it applies.
    """

    def __init__(
        self,
        node: int = 1,
        voters: tuple[int, ...] = (1, 2, 3),
        *,
        learners: tuple[int, ...] = (),
        conf_state: ConfState | None = None,
        terms: Sequence[int] = (),
        term: int | None = None,
        vote: int = 0,
        commit: int = 0,
        **settings: Any,
    ) -> None:
        self.storage = BenchStorage(conf_state or ConfState(voters=voters, learners=learners))
        self.storage.append([Entry(each, place) for place, each in enumerate(terms, 1)])
        if term is None:
            term = terms[-1] if terms else 0
        if term or vote or commit:
            self.storage.set_hard_state(HardState(term, vote, commit))
        merged: dict[str, Any] = {"check_quorum": False, "pre_vote": False, **settings}
        self.settings = Settings(node_id=node, **merged)
        #: What the core said about itself: levels and sentences.
        self.told: list[tuple[str, str]] = []
        self.raw = RawNode(
            self.settings,
            self.storage,
            Random(node),
            log=lambda level, text: self.told.append((level, text)),
        )
        self.applied: list[Entry] = []
        self.read_states: list[ReadState] = []

    @property
    def role(self) -> Role:
        return self.raw.role

    def step(self, message: AnyMessage) -> StepRefused | None:
        return self.raw.step(message)

    def take(self) -> list[Message]:
        """Do everything the core wants done and return what it sent."""
        sent: list[Message] = []
        while self.raw.has_ready():
            ready = self.raw.ready()
            if ready.snapshot is not None:
                self.storage.apply_snapshot(ready.snapshot)
            self.storage.append(ready.entries)
            if ready.hard_state is not None:
                self.storage.set_hard_state(ready.hard_state)
            self.read_states.extend(ready.read_states)
            for entry in ready.committed_entries:
                self.applied.append(entry)
                if entry.kind is not EntryKind.NORMAL:
                    self.raw.apply_conf_change(decode_conf_change(entry.data))
            sent += ready.messages
            self.raw.advance()
        return sent

    def taken(self, kind: type[M]) -> list[M]:
        """Do everything and return the messages of one kind."""
        return [message for message in self.take() if isinstance(message, kind)]

    def tick(self, ticks: int = 1) -> None:
        for _ in range(ticks):
            self.raw.tick()

    def lead(self, voters: Sequence[int] = (2, 3)) -> Bench:
        """Let it win an election with the votes of ``voters``; what it sent is thrown away."""
        self.raw.campaign()
        self.take()
        for voter in voters:
            self.step(VoteResponse(to=self.raw.id, from_=voter, term=self.raw.term))
        self.take()
        if not self.raw.is_leader:
            raise AssertionError("not elected")
        return self

    def was_told(self, level: str, words: str) -> bool:
        """True if the core said something with ``words`` in it at ``level``."""
        return any(words in text for said, text in self.told if said == level)

    def log(self) -> list[tuple[int, int]]:
        """Return the (term, index) of every entry on its disk."""
        storage = self.storage
        entries = storage.entries(storage.first_index(), storage.last_index() + 1, 2**64 - 1)
        return [(entry.term, entry.index) for entry in entries]


def vote_request(term: int, *, from_: int = 2, last: tuple[int, int] = (0, 0)) -> Vote:
    """Return a request for node 1's vote by a candidate whose log ends in (term, index)."""
    return Vote(to=1, from_=from_, term=term, last_term=last[0], last_index=last[1])
