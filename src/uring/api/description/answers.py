"""Bodies of answers, for the documents: :mod:`uring.api.replies` spells them.

They are not used at run time; the tests hold every answer of the real doors against them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from uring.api.txn import Base64

_WHOLE = {"type": "integer", "minimum": 0}
Count: TypeAlias = Annotated[int, Meta(ge=0)]
Pair: TypeAlias = Annotated[
    list[Count], Meta(min_length=2, max_length=2, description="the first and the last of a range")
]
Revision: TypeAlias = Annotated[int, Meta(ge=0, description="the number of a change")]


Value: TypeAlias = str | Base64
Roles: TypeAlias = Literal["Leader", "Follower", "Candidate", "PreCandidate", "Learner"]


class Problem(Struct):
    """Why a request was refused (RFC 9457); ``detail`` is written for people."""

    type: Literal["about:blank"]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str


class SwapProblem(Problem):
    """Another value stands where ``check`` was expected."""

    key: str | UnsetType = UNSET
    value: Value | UnsetType | None = UNSET


class ConditionProblem(Problem):
    """A condition of the headers does not hold; ``revision`` is that of the key, 0 for none."""

    key: str | UnsetType = UNSET
    revision: Revision | UnsetType = UNSET


class SizeProblem(Problem):
    """The ring has another size already."""

    size: int | UnsetType = UNSET


# -- keys and values ------------------------------------------------------------------------------


class Stored(Struct):
    """A key after a POST; ``old`` is what it held before."""

    key: str
    value: Value
    old: Value | UnsetType | None = UNSET


class Entry(Struct):
    """A key and what it holds, or held."""

    key: str
    value: Value


class Found(Struct):
    """A key with all that is known of it."""

    key: str
    value: Value
    created: Revision
    revision: Revision
    lease: Annotated[int, Meta(ge=1)] | UnsetType = UNSET


class Written(Struct):
    """A key after a PUT."""

    key: str
    revision: Revision


class Page(Struct):
    """Keys, in the order of their bytes; ``cursor`` if there are more."""

    revision: Revision
    items: list[Found]
    cursor: str | UnsetType = UNSET


class TxnResult(Struct):
    """Which branch was taken, and what each of its operations found."""

    succeeded: bool
    revision: Revision
    results: list[Found | None]


class ErrorDetail(Struct):
    """What is wrong with one command."""

    code: Annotated[int, Meta(ge=400, le=599)]
    title: str
    detail: str


class Outcome(Struct):
    """What came of one command of a list."""

    code: Annotated[int, Meta(ge=200, le=599)]
    data: Any
    error: ErrorDetail | UnsetType = UNSET


class Lease(Struct):
    """A lease, and its time in seconds."""

    id: Annotated[int, Meta(ge=1)]
    ttl: float


class LeaseKeys(Lease):
    """A lease, and the keys that hang on it."""

    keys: list[str]


# -- the ring -------------------------------------------------------------------------------------


class Size(Struct):
    """How many vnodes the ring has."""

    size: Annotated[int, Meta(ge=1)]


class RingNode(Struct):
    """A node of the ring, and the vnodes that are placed on it."""

    id: str
    vnodes: list[Count]


class RingPart(Struct):
    """The same in ranges of vnodes, both ends included."""

    id: str
    weight: int
    zone: str | None
    load: int
    ranges: list[Pair]


class RingRanges(Struct):
    """Some nodes of the ring; ``count`` is that of all."""

    revision: Revision
    size: int
    strategy: str
    replicas: int
    count: Count
    nodes: list[RingPart]


class Loads(Struct):
    """Vnodes of each node, before and after."""

    before: dict[str, Count]
    after: dict[str, Count]


class Violations(Struct):
    """Vnodes with a node twice among their replicas, before and after."""

    before: Count
    after: Count


Vnodes: TypeAlias = Annotated[
    list[Any],
    # The union of int and list makes msgspec 0.22 crash in a later garbage collection.
    Meta(
        extra_json_schema={
            "items": {
                "anyOf": [_WHOLE, {"type": "array", "minItems": 2, "maxItems": 2, "items": _WHOLE}]
            }
        }
    ),
]


class Destinations(Struct):
    """Which vnodes, or ranges of them, go where."""

    destinations: dict[str, Vnodes]


class PlannedNode(Struct):
    """A node that a plan adds."""

    name: str
    weight: int
    zone: str


class PlanToCommit(Struct):
    """A plan as POST /mring/commit takes it."""

    revision: Revision
    digest: str
    add: list[PlannedNode]
    remove: list[str]
    weights: dict[str, int]
    zones: dict[str, str]


class Plan(Struct):
    """What would come of a change, and the ``plan`` that can be committed."""

    revision: Revision
    moves: Count
    minimum: Count
    loads: Loads
    violations: Violations
    relocations: dict[str, Destinations]
    plan: PlanToCommit


class Handoff(Struct):
    """Where a vnode stands."""

    vnode: Count
    state: str
    owner: str | None
    target: str | None
    address: str | UnsetType | None = UNSET
    began: Count | UnsetType = UNSET


class Vnode(Handoff, kw_only=True):
    """A vnode, and the nodes with its replicas."""

    replicas: list[str]


class HandoffLimits(Struct):
    """Hand-offs at a time."""

    per_node: int
    in_all: int


class Participant(Struct):
    """A node that takes part in hand-offs."""

    node: str
    address: str
    alive: bool


class Handoffs(Struct):
    """What is not handed off yet."""

    revision: Revision
    limits: HandoffLimits
    nodes: list[Participant]
    waiting: Count
    handoffs: list[Handoff]


class AbandonedVnodes(Struct):
    """How many vnodes got another owner."""

    vnodes: Count


class RingLease(Struct):
    """The lease of a node that takes part."""

    lease: int
    ttl: float
    revision: Revision


# -- the cluster ----------------------------------------------------------------------------------


class About(Struct):
    """What answers here, for programs."""

    name: Literal["uring"]
    version: str
    see: list[str]


class MemberState(Struct):
    """A member as /status shows it."""

    id: int
    address: str
    voter: bool
    feature_level: int | UnsetType | None = UNSET


class PeerProblem(Struct):
    """Why another node is not connected."""

    address: str | None
    node: int | None
    code: str
    by: str | None
    reason: str
    age: float


class PeriodicBackup(Struct):
    """The backups that a node takes by itself."""

    interval_seconds: float
    last: str | None
    last_taken: float | None
    last_bytes: int | None
    problem: str | None


class Silence(Struct):
    """A member, and whether it is heard of."""

    id: int
    silent: bool
    faults: list[str]


class Timeline(Struct):
    """What happened to the cluster lately, as one node saw it; times are seconds ago."""

    node: int
    since: float
    silent_after: float
    leader: int | None
    members: list[Silence]
    events: list[dict[str, Any]]


class DiskProbe(Struct):
    """What some synced writes to the disk took, in milliseconds."""

    writes_ms: list[float]


class Status(Struct):
    """How one node is."""

    id: int
    role: Roles
    term: Count
    leader: int | None
    leader_address: str | None
    last_index: Count
    first_index: Count
    commit_index: Count
    applied_index: Count
    revision: Revision
    oldest_revision: Revision
    members: list[MemberState]
    feature_level: int
    feature_level_supported: int
    feature_level_waits_for: list[int]
    protocol_versions: list[int]
    cluster: str | None
    instance: str
    connected: list[int]
    connected_clusters: list[str]
    peer_problems: list[PeerProblem]
    faults: list[str]
    fault_codes: list[str]
    backup: PeriodicBackup | None
    reactor_delay_max_ms: float
    version: str


class Report(Struct):
    """A node with what it told of itself lately; ``age`` says how many seconds ago."""

    id: int
    address: str
    instance: str
    member: bool
    voter: bool
    connected: bool
    match_index: Count | UnsetType = UNSET
    age: float | UnsetType = UNSET
    round_trip_ms: float | UnsetType = UNSET
    role: Roles | UnsetType = UNSET
    term: Count | UnsetType = UNSET
    leader: Count | UnsetType = UNSET
    last_index: Count | UnsetType = UNSET
    commit_index: Count | UnsetType = UNSET
    applied_index: Count | UnsetType = UNSET
    version: str | UnsetType = UNSET
    log_write_ms: float | UnsetType = UNSET
    reactor_delay_ms: float | UnsetType = UNSET
    waiting: Count | UnsetType = UNSET
    log_writes: Count | UnsetType = UNSET
    log_write_mean_ms: float | UnsetType = UNSET
    commands: Count | UnsetType = UNSET
    commits: Count | UnsetType = UNSET
    commit_seconds: float | UnsetType = UNSET
    faults: list[str] | UnsetType = UNSET
    fault_codes: list[str] | UnsetType = UNSET
    feature_level_supported: int | UnsetType = UNSET
    uptime: float | UnsetType = UNSET
    disk_free: int | UnsetType = UNSET
    disk_total: int | UnsetType = UNSET
    disk_reserve: int | UnsetType = UNSET
    wall_time: float | UnsetType = UNSET


class Member(Struct):
    """A member and where it listens."""

    id: int
    address: str


class MemberName(Struct):
    """The id of a member."""

    id: int


class Learner(MemberName):
    """The id of a member that does not vote yet."""

    detail: str


class NewLeader(Struct):
    """The id of the leader."""

    leader: int


class Token(Struct):
    """A token without its secret; ``created`` is the revision at that time."""

    id: str
    name: str
    role: Literal["read", "write", "admin"]
    prefixes: list[str]
    created: Revision


class NewToken(Token):
    """A token as it is shown once."""

    token: str


class TokenName(Struct):
    """The id of a token."""

    id: str
