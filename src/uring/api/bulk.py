"""POST /kv: a list of commands in one body, answered by a list."""

from __future__ import annotations

from typing import Any

from uring.api import decode, replies
from uring.api.batch import Batch
from uring.api.gateway import Gateway
from uring.api.keys import Reply, is_stale
from uring.api.limits import Limits
from uring.api.messages import KV, Control
from uring.api.replies import Answer
from uring.api.session import Session
from uring.errors import BadRequest

COMMANDS = tuple(name for name in KV.__struct_fields__ if name not in Control.__struct_fields__)


def serve_list(gateway: Gateway, limits: Limits, uri: bytes, body: bytes, reply: Reply) -> None:
    """Run the commands in ``body``, which are those of the WebSocket without a rid.

    ``reply`` is called once, when all have been answered.  Raises BadRequest if nothing was run.
    """
    stale = is_stale(uri)
    values = decode.parse(body, limits.json_depth, limits.batch_commands)
    if not (isinstance(values, list) and 0 < len(values) <= limits.batch_commands):
        raise BadRequest(
            f"send a list of 1 to {limits.batch_commands} commands, "
            'such as [{"Put": {"key": "k", "store": "v"}}]'
        )

    def done(answers: bytes) -> None:
        reply(Answer(200, answers))

    batch = Batch(len(values), limits.batch_answer_bytes, done, with_rids=False)
    session = Session(gateway, limits, "", send=lambda reply: None, busy=lambda busy: None)
    for place, value in enumerate(values):
        try:
            name, fields = _command(value)
        except BadRequest as error:
            batch.slot(place, True)(replies.error(None, error.code, str(error)))
            continue
        if name == "Get" and stale:
            fields = {"consistency": "stale", **fields}
        session.part(batch.slot(place, name == "Get")).take("KV", {name: {"rid": 0, **fields}})


def _command(value: Any) -> tuple[str, dict[str, Any]]:
    """Return the name of a command of keys and values, and its fields.  Raises BadRequest."""
    if not isinstance(value, dict) or len(value) != 1:
        raise BadRequest('each command is an object with one field, such as {"Get": {...}}')
    ((name, fields),) = value.items()
    if name not in COMMANDS:
        raise BadRequest(f"unknown command {name[:64]!r}; known are {', '.join(COMMANDS)}")
    if not isinstance(fields, dict) or "rid" in fields:
        raise BadRequest(
            f"{name} holds an object of fields, without a rid: the answers are in order"
        )
    return name, fields
