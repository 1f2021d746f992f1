"""Pure arithmetic of configurations: what a change makes of one, and what is not allowed.

A configuration is one majority, or two while it is joint (paper, section 6), and learners that
are sent everything and decide nothing.  Nothing here touches a running core.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import Factory, define

from uring.raft import quorum
from uring.raft.progress import Inflights, Progress
from uring.raft.types import ConfChangeKind, ConfChangeSingle, ConfState


class ConfChangeError(ValueError):
    """A membership change that the present configuration does not allow."""


def _ids(ids: Iterable[int]) -> str:
    return "(" + " ".join(map(str, sorted(ids))) + ")"


@define
class Configuration:
    """Who decides and who listens.

    ``outgoing`` is empty unless joint; ``learners_next`` are voters of the outgoing half that
    become learners when it ends.
    """

    incoming: set[int] = Factory(set)
    outgoing: set[int] = Factory(set)
    learners: set[int] = Factory(set)
    learners_next: set[int] = Factory(set)
    auto_leave: bool = False

    @property
    def is_joint(self) -> bool:
        """True between entering and leaving a joint configuration."""
        return bool(self.outgoing)

    @property
    def voters(self) -> set[int]:
        """Everybody who votes in either half."""
        return self.incoming | self.outgoing

    def copy(self) -> Configuration:
        """Return an independent copy."""
        return Configuration(
            set(self.incoming),
            set(self.outgoing),
            set(self.learners),
            set(self.learners_next),
            self.auto_leave,
        )

    def conf_state(self) -> ConfState:
        """Return it as a value, to be kept in a snapshot."""
        return ConfState(
            voters=tuple(sorted(self.incoming)),
            learners=tuple(sorted(self.learners)),
            voters_outgoing=tuple(sorted(self.outgoing)),
            learners_next=tuple(sorted(self.learners_next)),
            auto_leave=self.auto_leave,
        )

    def vote_result(self, votes: Mapping[int, bool]) -> quorum.VoteResult:
        """Say how the configuration decides."""
        if not self.outgoing:
            return quorum.vote_result(self.incoming, votes)
        return quorum.joint_vote_result(self.incoming, self.outgoing, votes)

    def committed_index(self, acked: Mapping[int, int]) -> int:
        """Return the greatest index that every majority has acknowledged."""
        if not self.outgoing:
            return quorum.committed_index(self.incoming, acked)
        return quorum.joint_committed_index(self.incoming, self.outgoing, acked)

    def __str__(self) -> str:
        text = "voters=" + _ids(self.incoming)
        if self.outgoing:
            text += "&&" + _ids(self.outgoing)
        if self.learners:
            text += " learners=" + _ids(self.learners)
        if self.learners_next:
            text += " learners_next=" + _ids(self.learners_next)
        return text + (" autoleave" if self.auto_leave else "")


ProgressMap = dict[int, Progress]
Changed = tuple[Configuration, ProgressMap]


@define
class Changer:
    """Makes a new configuration from the present one; the present one is left untouched.

    All methods raise :exc:`ConfChangeError` and then nothing has happened.  ``last_index`` is
    where probing of a newcomer starts; the two limits are those of its window.
    """

    config: Configuration
    progress: ProgressMap
    last_index: int
    max_inflight_messages: int
    max_inflight_bytes: int

    def enter_joint(self, auto_leave: bool, changes: Iterable[ConfChangeSingle]) -> Changed:
        """Keep the present voters as the outgoing half and apply ``changes`` to the incoming."""
        config, progress = self._copy()
        if config.is_joint:
            raise ConfChangeError("config is already joint")
        if not config.incoming:
            raise ConfChangeError("can't make a zero-voter config joint")
        config.outgoing = set(config.incoming)
        self._apply(config, progress, changes)
        config.auto_leave = auto_leave
        return _checked(config, progress)

    def leave_joint(self) -> Changed:
        """Drop the outgoing half; voters that were to become learners do so now."""
        config, progress = self._copy()
        if not config.is_joint:
            raise ConfChangeError("can't leave a non-joint config")
        for node in config.learners_next:
            config.learners.add(node)
            progress[node].is_learner = True
        config.learners_next = set()
        for node in config.outgoing - config.incoming - config.learners:
            del progress[node]
        config.outgoing = set()
        config.auto_leave = False
        return _checked(config, progress)

    def simple(self, changes: Iterable[ConfChangeSingle]) -> Changed:
        """Apply ``changes`` that add or remove one voter at most (thesis 4.1)."""
        config, progress = self._copy()
        if config.is_joint:
            raise ConfChangeError("can't apply simple config change in joint config")
        self._apply(config, progress, changes)
        if len(config.incoming ^ self.config.incoming) > 1:
            raise ConfChangeError("more than one voter changed without entering joint config")
        return _checked(config, progress)

    def _copy(self) -> Changed:
        progress = {node: each.copy() for node, each in self.progress.items()}
        return _checked(self.config.copy(), progress)

    def _apply(
        self, config: Configuration, progress: ProgressMap, changes: Iterable[ConfChangeSingle]
    ) -> None:
        for change in changes:
            if change.node_id == 0:
                # An application that decides against a step of a change puts 0 for the node.
                continue
            if change.kind is ConfChangeKind.ADD_NODE:
                self._make_voter(config, progress, change.node_id)
            elif change.kind is ConfChangeKind.ADD_LEARNER:
                self._make_learner(config, progress, change.node_id)
            elif change.kind is ConfChangeKind.REMOVE_NODE:
                _remove(config, progress, change.node_id)
        if not config.incoming:
            raise ConfChangeError("removed all voters")

    def _make_voter(self, config: Configuration, progress: ProgressMap, node: int) -> None:
        config.incoming.add(node)
        if node not in progress:
            progress[node] = self._newcomer(node, is_learner=False)
            return
        progress[node].is_learner = False
        config.learners.discard(node)
        config.learners_next.discard(node)

    def _make_learner(self, config: Configuration, progress: ProgressMap, node: int) -> None:
        present = progress.get(node)
        if present is None:
            config.learners.add(node)
            progress[node] = self._newcomer(node, is_learner=True)
            return
        if present.is_learner:
            return
        _remove(config, progress, node)
        progress[node] = present
        # A voter of the outgoing half cannot be a learner at the same time: it becomes one later.
        if node in config.outgoing:
            config.learners_next.add(node)
        else:
            present.is_learner = True
            config.learners.add(node)

    def _newcomer(self, node: int, is_learner: bool) -> Progress:
        return Progress(
            id=node,
            next=max(self.last_index, 1),
            inflights=Inflights(self.max_inflight_messages, self.max_inflight_bytes),
            is_learner=is_learner,
            # Else a check of the quorum could depose the leader before the newcomer can answer.
            recent_active=True,
        )


def _remove(config: Configuration, progress: ProgressMap, node: int) -> None:
    if node not in progress:
        return
    config.incoming.discard(node)
    config.learners.discard(node)
    config.learners_next.discard(node)
    if node not in config.outgoing:
        del progress[node]


def _checked(config: Configuration, progress: ProgressMap) -> Changed:
    """Return both if they agree with each other."""
    for node in config.voters | config.learners | config.learners_next:
        _require(node in progress, f"no progress for {node}")
    for node in config.learners_next:
        _require(node in config.outgoing, f"{node} is in LearnersNext, but not Voters[1]")
        _require(
            not progress[node].is_learner,
            f"{node} is in LearnersNext, but is already marked as learner",
        )
    for node in config.learners:
        _require(node not in config.outgoing, f"{node} is in Learners and Voters[1]")
        _require(node not in config.incoming, f"{node} is in Learners and Voters[0]")
        _require(progress[node].is_learner, f"{node} is in Learners, but is not marked as learner")
    if not config.is_joint:
        _require(not config.learners_next, "cfg.LearnersNext must be nil when not joint")
        _require(not config.auto_leave, "AutoLeave must be false when not joint")
    return config, progress


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise ConfChangeError(text)


def restored(changer: Changer, conf_state: ConfState) -> Changed:
    """Return the configuration that ``conf_state`` describes; ``changer`` must be an empty one.

    Raises :exc:`ConfChangeError` if it describes nothing that a series of changes can lead to.
    """
    add, learn = ConfChangeKind.ADD_NODE, ConfChangeKind.ADD_LEARNER
    steps = [ConfChangeSingle(add, node) for node in conf_state.voters]
    steps += [ConfChangeSingle(learn, node) for node in conf_state.learners]
    steps += [ConfChangeSingle(learn, node) for node in conf_state.learners_next]
    one_by_one = steps
    if conf_state.voters_outgoing:
        # First what is outgoing now; the joint change then replaces all of it at once.
        one_by_one = [ConfChangeSingle(add, node) for node in conf_state.voters_outgoing]
    for step in one_by_one:
        changer.config, changer.progress = changer.simple([step])
    if conf_state.voters_outgoing:
        remove = ConfChangeKind.REMOVE_NODE
        leave = [ConfChangeSingle(remove, node) for node in conf_state.voters_outgoing]
        changer.config, changer.progress = changer.enter_joint(
            conf_state.auto_leave, [*leave, *steps]
        )
    if changer.config.conf_state() != _sorted(conf_state):
        raise ConfChangeError(f"{conf_state} cannot be restored: {changer.config} instead")
    return changer.config, changer.progress


def _sorted(conf_state: ConfState) -> ConfState:
    return ConfState(
        voters=tuple(sorted(conf_state.voters)),
        learners=tuple(sorted(conf_state.learners)),
        voters_outgoing=tuple(sorted(conf_state.voters_outgoing)),
        learners_next=tuple(sorted(conf_state.learners_next)),
        auto_leave=conf_state.auto_leave,
    )
