"""Draws the pictures of ARCHITECTURE.md: ``python docs/pictures/draw.py`` writes them beside it."""

from __future__ import annotations

import sys
from html import escape
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).parent
LINE, GAP = 16, 8
FILL = {
    "door": "#dbe8fb",
    "node": "#fdebc8",
    "core": "#d9f0df",
    "disk": "#ece3f5",
    "plain": "#f2f4f7",
}
HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
    'font-family="sans-serif" font-size="13" text-anchor="middle">\n'
    "<title>{title}</title>\n"
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="#3b4252"/></marker></defs>\n'
    '<rect width="{width}" height="{height}" fill="white"/>'
)


class Drawing:
    """Boxes, arrows and words, written as SVG."""

    def __init__(self, title: str, width: int, height: int) -> None:
        self._parts = [HEAD.format(title=escape(title), width=width, height=height)]

    def box(self, x: int, y: int, width: int, height: int, kind: str, *lines: str) -> None:
        """A box with words; the first line is bold."""
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{FILL[kind]}" '
            'stroke="#9aa3b2"/>'
        )
        top = y + height / 2 - LINE * (len(lines) - 1) / 2 + 4
        for place, line in enumerate(lines):
            bold = ' font-weight="bold"' if place == 0 else ' fill="#3b4252"'
            middle, base = x + width / 2, top + LINE * place
            self._parts.append(f'<text x="{middle:g}" y="{base:g}"{bold}>{escape(line)}</text>')

    def arrow(self, *points: tuple[int, int], words: str = "", both: bool = False) -> None:
        """A line with a tip; ``words`` stand at the middle of its longest piece."""
        path = " ".join(f"{x},{y}" for x, y in points)
        start = ' marker-start="url(#tip)"' if both else ""
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="#3b4252" stroke-width="1.4" '
            f'marker-end="url(#tip)"{start}/>'
        )
        if words:
            pieces = pairwise(points)
            (x, y), (to_x, to_y) = max(
                pieces, key=lambda piece: sum(abs(a - b) for a, b in zip(*piece, strict=True))
            )
            if y == to_y:
                self.text((x + to_x) // 2, y - GAP + 2, words)
            else:
                self.text((x + to_x) // 2 + GAP, (y + to_y) // 2 + 4, words, "start")

    def text(self, x: int, y: int, words: str, anchor: str = "middle") -> None:
        """Small words, on white so that lines do not cross them."""
        self._parts.append(
            f'<text x="{x}" y="{y}" font-size="12" fill="#3b4252" text-anchor="{anchor}" '
            f'stroke="white" stroke-width="4" paint-order="stroke">{escape(words)}</text>'
        )

    def lane(self, x: int, top: int, bottom: int) -> None:
        """The life of a participant."""
        self._parts.append(
            f'<line x1="{x}" y1="{top}" x2="{x}" y2="{bottom}" stroke="#c3c9d4" '
            'stroke-dasharray="4 4"/>'
        )

    def __str__(self) -> str:
        return "\n".join([*self._parts, "</svg>", ""])


def rooms() -> Drawing:
    """Which room hands what to which."""
    it = Drawing("The rooms of the code", 760, 470)
    it.text(380, 24, "clients: curl, websocat, browsers, Python")
    it.arrow((380, 30), (380, 52))
    it.box(60, 54, 640, 62, "door", "api", "REST, WebSocket, events; a guard for each token")
    it.arrow((250, 116), (250, 158), words="commands, queries, watches")
    it.arrow((560, 158), (560, 116), words="answers, changes")
    it.box(
        60,
        160,
        640,
        74,
        "node",
        "node",
        "the turn: owns all that is below, and alone touches it",
        "proposals, reads, members, transfers, leases, reports beside it",
    )
    for x, kind, words in (
        (60, "core", ("raft", "elections, log,", "membership:", "plain calls")),
        (192, "core", ("machines", "keys, leases,", "tokens, ring:", "deterministic")),
        (324, "door", ("watch", "who is told", "which change")),
        (456, "disk", ("store", "log and state", "in LevelDB,", "history")),
        (588, "plain", ("peers", "TCP and TLS", "between nodes")),
    ):
        it.box(x, 290, 112, 92, kind, *words)
        it.arrow((x + 56, 234), (x + 56, 288), both=True)
    it.box(324, 420, 376, 36, "plain", "wire: messages to bytes and back")
    it.arrow((512, 382), (512, 418))
    it.arrow((644, 382), (644, 418))
    it.text(190, 440, "raft and machines know nothing")
    it.text(190, 456, "of time, files, and sockets")
    return it


def put() -> Drawing:
    """The way of one put that a follower was asked for."""
    it = Drawing("The way of a put", 800, 560)
    lanes = {"client": 70, "follower": 250, "leader": 480, "its disk": 610, "other follower": 720}
    for name, x in lanes.items():
        it.box(
            x - 58 if name != "its disk" else x - 40,
            14,
            116 if name != "its disk" else 80,
            34,
            "disk" if name == "its disk" else "door" if name == "client" else "node",
            name,
        )
        it.lane(x, 48, 546)
    client, follower, leader, disk, other = lanes.values()
    it.arrow((client, 84), (follower, 84), words="PUT /kv/beep")
    it.box(follower - 66, 96, 132, 40, "core", "proposals", "who waits for it")
    it.arrow((follower, 166), (leader, 166), words="one batch of this turn")
    it.box(leader - 60, 178, 120, 40, "core", "raft", "an entry of the log")
    it.arrow((leader, 246), (disk, 246), words="write, sync")
    it.arrow((leader, 274), (follower, 274), words="append: sent before the sync ends")
    it.arrow((leader, 292), (other, 292), words="append")
    it.text(follower, 318, "synced here, too")
    it.arrow((follower, 338), (leader, 338), words="acknowledged")
    it.arrow((disk, 356), (leader, 356), words="synced")
    it.box(leader - 80, 370, 160, 40, "core", "a majority has it", "committed, applied")
    it.arrow((leader, 440), (follower, 440), words="commit index")
    it.box(follower - 66, 452, 132, 40, "core", "machines", "applied here, too")
    it.arrow((follower, 520), (client, 520), words="201, revision 17")
    it.text(other - 4, 430, "a slow one")
    it.text(other - 4, 446, "delays nobody")
    return it


def membership() -> Drawing:
    """How a node becomes a member, by snapshot where the log does not reach back."""
    it = Drawing("A new member", 800, 520)
    lanes = {"operator": 80, "leader": 330, "new node": 620}
    for name, x in lanes.items():
        it.box(x - 60, 14, 120, 34, "door" if name == "operator" else "node", name)
        it.lane(x, 48, 508)
    operator, leader, new = lanes.values()
    it.arrow((new, 80), (leader, 80), words="hello: who I am, where, with which data")
    it.arrow((operator, 112), (leader, 112), words="POST /node/4")
    it.box(leader - 92, 124, 184, 40, "core", "learner", "gets the log, has no vote")
    it.arrow((leader, 196), (new, 196), words="append: entries, if the log reaches back far enough")
    it.arrow((leader, 232), (new, 232), words="otherwise chunks of a snapshot")
    it.arrow((new, 256), (leader, 256), words="each acknowledged; goes on where it broke off")
    it.box(
        new - 110,
        268,
        220,
        58,
        "disk",
        "snapshot",
        "count, length, digest checked;",
        "replaces the state, then the log",
    )
    it.arrow((new, 354), (leader, 354), words="matches what is committed")
    it.box(leader - 92, 366, 184, 40, "core", "voter", "by one more entry of the log")
    it.arrow((leader, 436), (operator, 436), words="200: committed")
    it.text(leader, 470, "one change at a time; each counts when it is applied")
    it.text(
        leader, 488, "a lost disk: refused under its old id, until it is removed and added again"
    )
    return it


PICTURES = {"rooms.svg": rooms, "put.svg": put, "membership.svg": membership}


def main() -> None:
    """Write the pictures; with ``--check`` only tell whether they are as they would be written."""
    for name, draw in PICTURES.items():
        file, text = HERE / name, str(draw())
        if "--check" not in sys.argv:
            file.write_text(text, "utf-8")
        elif file.read_text("utf-8") != text:
            sys.exit(f"{file} is not what this script draws: run it without --check")


if __name__ == "__main__":
    main()
