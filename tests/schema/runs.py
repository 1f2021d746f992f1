"""What schemathesis is told, and how its command is run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.utils import getProcessOutputAndValue

WITH_CONDITIONS = """\
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 412, 422, 429]
"""
"""What depends on what is there may be refused even if it is well-formed."""


ALL = "examples,coverage,fuzzing,stateful"
EACH = "examples,coverage,fuzzing"
"""Without what goes from one operation to another."""
PATIENT = ("--limit", "token_failures=1000000")
"""How a node is started that is to answer 401 to whoever tries many tokens, and not 429."""


@frozen
class Run:
    """One run of schemathesis."""

    port: int
    seed: int
    examples: int
    token: str = ""
    only: str = ""
    """A pattern of paths; empty for all."""
    skip: tuple[str, ...] = ()
    """Operations by their names."""
    phases: str = ALL
    document: Path | None = None
    """Another document than the one that the node serves."""
    config: str = ""
    request_seconds: float = 0.0
    """How long a stream is listened to; schemathesis's own ten seconds if it is 0."""

    def words(self) -> list[str]:
        """Return the command line."""
        base = f"http://127.0.0.1:{self.port}"
        where = [f"{base}/openapi.json"]
        if self.document is not None:
            where = [str(self.document), "--url", base]
        words = ["run", *where, "--no-color", "--checks", "all", "--phases", self.phases]
        words += ["--seed", str(self.seed), "--max-examples", str(self.examples), "--no-shrink"]
        words += ["--warnings", "off"]
        if self.request_seconds:
            words += ["--request-timeout", str(self.request_seconds)]
        if self.token:
            words += ["--header", f"Authorization: Bearer {self.token}"]
        if self.only:
            words += ["--include-path-regex", self.only]
        for name in self.skip:
            words += ["--exclude-operation-id", name]
        return words

    async def findings(self, directory: Path) -> str:
        """Run it in ``directory``; return what it says if it found anything, else nothing."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "schemathesis.toml").write_text(self.config)
        out, err, code = await getProcessOutputAndValue(
            sys.executable,
            ["-m", "schemathesis.cli", *self.words()],
            env={**os.environ, "PYTHONPATH": ""},
            path=str(directory),
        )
        text = (out + err).decode("utf-8", "replace")
        return "" if code == 0 and "No issues found" in text else text


def with_conditions(document: bytes, but: str) -> bytes:
    """Return a document whose conditional headers are parameters like all others.

    All ``but`` one, since If-Match and If-None-Match are refused together.
    """
    found: dict[str, Any] = json.loads(document)
    # By a pattern of quoted texts schemathesis makes some that are not quoted.
    found["components"]["parameters"]["IfMatch"]["schema"] = {"enum": ["*", '"1"', '"2"', '"99"']}
    for methods in found["paths"].values():
        for operation in methods.values():
            more = operation.pop("x-conditions", [])
            more = [each for each in more if not each["$ref"].endswith(f"/{but}")]
            if more:
                operation.setdefault("parameters", []).extend(more)
    return json.dumps(found).encode()


def with_tokens(document: bytes) -> bytes:
    """Return a document as it is once there are tokens: what needs one cannot do without."""
    found: dict[str, Any] = json.loads(document)
    found["security"] = [{"token": []}]
    return json.dumps(found).encode()
