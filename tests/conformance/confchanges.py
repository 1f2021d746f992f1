"""The configuration-change scripts: simple changes, entering and leaving joint configurations."""

from __future__ import annotations

from tests.conformance.datadriven import Directive
from tests.conformance.describe import CHANGE_LETTERS
from uring.raft.changer import Changer, ConfChangeError, Configuration
from uring.raft.settings import NO_LIMIT
from uring.raft.types import ConfChangeSingle


def parse_changes(text: str) -> tuple[ConfChangeSingle, ...]:
    """Return the changes in ``v1 l2 r3 u4``.  Raises :exc:`ValueError` for anything else."""
    changes = []
    for word in text.split():
        if word[0] not in CHANGE_LETTERS:
            raise ValueError(f"unknown input: {word}")
        changes.append(ConfChangeSingle(CHANGE_LETTERS[word[0]], int(word[1:])))
    return tuple(changes)


class ConfChanges:
    """Runs one script; each directive counts as one more entry in the log."""

    def __init__(self) -> None:
        self._changer = Changer(Configuration(), {}, 0, 10, NO_LIMIT)

    def run(self, directive: Directive) -> str:
        """Return what ``directive`` prints."""
        try:
            return self._run(directive)
        except ConfChangeError as error:
            return str(error)
        finally:
            self._changer.last_index += 1

    def _run(self, directive: Directive) -> str:
        changer, command = self._changer, directive.command
        changes = parse_changes(" ".join(directive.body))
        if command.name == "simple":
            changed = changer.simple(changes)
        elif command.name == "enter-joint":
            changed = changer.enter_joint(command.value("autoleave") == "true", changes)
        elif command.name == "leave-joint":
            if changes:
                return "this command takes no input"
            changed = changer.leave_joint()
        else:
            return "unknown command"
        changer.config, changer.progress = changed
        lines = [str(changer.config)]
        lines += [f"{node}: {changer.progress[node]}" for node in sorted(changer.progress)]
        return "\n".join(lines)
