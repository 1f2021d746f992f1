"""Operations on the ring."""

from __future__ import annotations

from uring.api import ring
from uring.api.description import answers, parts
from uring.api.description.parts import Answer, Body, Operation, json_of, problem_of
from uring.api.description.refusals import GROW, READ, TOKEN, WRITE

_READ = (TOKEN, READ)
_WRITE = (TOKEN, READ, WRITE)
_GROW = (TOKEN, READ, WRITE, GROW)
_NO_SIZE = problem_of("The ring has no size yet; POST /mring sets it.")
_NO_NODE = problem_of("The ring has no such node.")
_AT_ODDS = problem_of("It contradicts itself, or the ring as it is.")
_RING = {"type": "array", "items": answers.RingNode}
_PLAN = {"add": ["n4", {"name": "n5", "weight": 2, "zone": "b"}]}


def _change(summary: str, *parameters: parts.Parameter, **more: object) -> Operation:
    codes: dict[int, Answer] = {200: json_of("The ring.", _RING), 412: _NO_SIZE}
    codes.update(more.pop("codes", {}))  # type: ignore[call-overload]
    return Operation(summary, codes, parameters, **more)  # type: ignore[arg-type]


PATHS: dict[str, dict[str, Operation]] = {
    "/mring": {
        "get": Operation(
            "Show the size",
            {
                200: json_of("The size.", answers.Size),
                404: problem_of("The ring has no size yet."),
            },
            (parts.CONSISTENCY,),
            kinds=_READ,
        ),
        "post": Operation(
            "Give the ring its size, once and for all",
            {
                200: json_of("It has that size.", answers.Size),
                409: problem_of("It has another size already.", answers.SizeProblem),
            },
            (),
            Body(ring.SizeArgs, examples=({"size": 64},)),
            _GROW,
        ),
    },
    "/mring/node": {
        "get": Operation(
            "Show the ring, or some nodes of it",
            {
                200: json_of(
                    "Its nodes in the order of adding.",
                    {"anyOf": [_RING, answers.RingRanges]},
                ),
                412: _NO_SIZE,
            },
            (parts.FORM, parts.NODES_START, parts.NODES_COUNT, parts.CONSISTENCY),
            kinds=_READ,
        ),
        "post": _change(
            "Add a node; a known one changes nothing",
            body=Body(ring.NodeArgs, examples=({"node": "n1"},)),
            kinds=_GROW,
            codes={409: _AT_ODDS},
        ),
    },
    "/mring/node/{name}": {
        "delete": _change("Remove a node", parts.NAME, kinds=_WRITE, codes={404: _NO_NODE})
    },
    "/mring/plan": {
        "post": Operation(
            "Work a change out; nothing is changed",
            {
                200: json_of("What would come of it.", answers.Plan),
                404: _NO_NODE,
                409: _AT_ODDS,
                412: _NO_SIZE,
            },
            (parts.CONSISTENCY,),
            Body(ring.PlanArgs, examples=(_PLAN,)),
            _READ,
        )
    },
    "/mring/commit": {
        "post": _change(
            "Do what was planned",
            body=Body(ring.CommitArgs),
            kinds=_WRITE,
            codes={404: _NO_NODE, 409: _AT_ODDS},
        )
    },
    "/mring/vnode/{vnode}": {
        "get": Operation(
            "Show where one vnode stands",
            {
                200: json_of("Where it stands.", answers.Vnode),
                404: problem_of("The ring has no such vnode."),
                412: _NO_SIZE,
            },
            (parts.VNODE, parts.CONSISTENCY),
            kinds=_READ,
        )
    },
    "/mring/handoff": {
        "get": Operation(
            "Show what is not handed off yet",
            {
                200: json_of("Hand-offs, limits and who takes part.", answers.Handoffs),
                412: _NO_SIZE,
            },
            (parts.SOURCE, parts.HANDOFFS_START, parts.HANDOFFS_COUNT, parts.CONSISTENCY),
            kinds=_READ,
        )
    },
    "/mring/handoff/limits": {
        "post": Operation(
            "Set how many hand-offs there may be at a time",
            {200: json_of("The limits.", answers.HandoffLimits), 412: _NO_SIZE},
            (),
            Body(ring.LimitArgs, examples=({"per_node": 4, "in_all": 64},)),
            _WRITE,
        )
    },
    "/mring/abandon": {
        "post": Operation(
            "Give up a node that has gone for good",
            {
                200: json_of("It owns nothing any more.", answers.AbandonedVnodes),
                404: _NO_NODE,
                409: problem_of("The node is there."),
                412: _NO_SIZE,
            },
            (),
            Body(ring.NameArgs, examples=({"node": "n9"},)),
            _WRITE,
        )
    },
}
