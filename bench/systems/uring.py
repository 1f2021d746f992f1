"""Nodes of this project, with the interpreter that runs the measurement."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

import uring
from bench.speakers.http import rest_request
from bench.systems.base import System, ask, fetch

_TWISTD = "from twisted.scripts.twistd import run; run()"


class Uring(System):
    """uring with its defaults, and ``options``."""

    name = "uring"
    protocol = "websocket"

    def __init__(self, directory: Path, options: Sequence[str] = ()) -> None:
        super().__init__(directory)
        self.options = options

    def command(self, node: int) -> list[str]:
        """See System."""
        words = [sys.executable, "-c", _TWISTD, "-n", "--pidfile=", "uring"]
        words += ["-e", self.address(node), "-i", str(node + 1), "-d", f"data-{node}"]
        for other in range(self.nodes):
            if other != node:
                words += ["-p", self.address(other)]
        return [*words, *(["-b"] if node == 0 else []), *self.options]

    def status(self, node: int) -> dict[str, Any]:
        """Return what /status says.  Raises OSError."""
        said: dict[str, Any] = ask(self.ports[node], "GET", "/status")
        return said

    def leader_of(self, node: int) -> int | None:
        """See System."""
        leader = self.status(node)["leader"]
        return int(leader) - 1 if leader else None

    def form(self) -> None:
        """See System."""
        for node in range(1, self.nodes):
            self.wait_for(f"node {node + 1} as a member", partial(self._add, node))

    def _add(self, node: int) -> bool:
        ask(self.ports[0], "POST", f"/node/{node + 1}")
        return True

    def version(self) -> str:
        """See System."""
        return uring.__version__

    def put_request(self, key: str, value: str) -> bytes:
        """See System."""
        return rest_request(key, value)

    def get_request(self, key: str) -> bytes:
        """See System."""
        return rest_request(key, None)

    def log_index(self, node: int) -> int:
        """See System."""
        return int(self.status(node)["last_index"])

    def log_batches(self, node: int) -> int | None:
        """See System."""
        return int(self.metric(node, "uring_log_write_seconds_count"))

    def term(self, node: int) -> int:
        """See System."""
        return int(self.status(node)["term"])

    def add_learner(self) -> int:
        """See System."""
        node = self.nodes
        leader = self.leader()
        self.launch(node)
        body = {"address": self.address(node)}

        def asked() -> bool:
            try:
                ask(self.ports[leader], "POST", f"/node/{node + 1}", body, timeout=10)
            except (OSError, HTTPException) as problem:
                # It takes longer than a request may: the answer is that nobody knows yet.
                if "504" not in str(problem):
                    raise
            return True

        self.wait_for("an answer about a new node", asked)
        return node

    def caught_up(self, node: int) -> bool:
        """See System: it became a voter."""
        members = self.status(self.leader())["members"]
        return any(each["id"] == node + 1 and each["voter"] for each in members)

    def metric(self, node: int, name: str, **labels: str) -> float:
        """Return one figure of /metrics.  Raises OSError, KeyError."""
        text = fetch(self.ports[node], "GET", "/metrics").decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        raise KeyError(name)

    def longest_delay_ms(self, node: int) -> float:
        """Return the longest that the node's reactor was late since it started.  Raises OSError."""
        return float(self.status(node)["reactor_delay_max_ms"])

    def late_turns(self, node: int) -> int:
        """Return how often the node's reactor was late by more than 50 ms.  Raises OSError."""
        every = self.metric(node, "uring_reactor_delay_seconds_count")
        return int(every - self.metric(node, "uring_reactor_delay_seconds_bucket", le="0.05"))
