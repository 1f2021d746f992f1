"""Draws docs/ring.svg: who owns what before and after a node joins, by strategy.

PYTHONPATH=src:. python bench/ring_picture.py > docs/ring.svg
"""

from __future__ import annotations

from math import cos, pi, sin

from uring.machines.placement import continuous
from uring.machines.ring.minimal import rearrange
from uring.machines.ring.seats import Owners, Seat, unowned

SIZE, BEFORE = 64, 4
COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#e15759")
OUTER, INNER, MARK = 100.0, 66.0, 110.0
COLUMNS = (
    ("continuous", "continuous", 1),
    ("minimal", "minimal", 1),
    ("minimal, replicas=3", "minimal", 3),
)


def rings(strategy: str, replicas: int) -> tuple[Owners, Owners]:
    """Return the owners with four nodes, and with five."""
    if strategy == "continuous":
        found = []
        for count in (BEFORE, BEFORE + 1):
            owners = unowned(0)
            for slot, (_, start, end) in enumerate(
                continuous(SIZE, [str(n) for n in range(count)])
            ):
                owners.extend([slot] * (end - start))
            found.append(owners)
        return found[0], found[1]
    owners = unowned(SIZE)
    for count in range(1, BEFORE + 2):
        before = owners[:]
        loads = {slot: before.count(slot) for slot in range(count - 1)}
        rearrange(owners, loads, [Seat(slot) for slot in range(count)], replicas)
    return before, owners


def arc(vnode: int, colour: str) -> str:
    """Return one vnode as a piece of a ring."""
    begin, end = (2 * pi * (vnode + edge) / SIZE - pi / 2 for edge in (0.06, 0.94))
    corners = [
        (OUTER * cos(begin), OUTER * sin(begin)),
        (OUTER * cos(end), OUTER * sin(end)),
        (INNER * cos(end), INNER * sin(end)),
        (INNER * cos(begin), INNER * sin(begin)),
    ]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return f'<polygon points="{points}" fill="{colour}"/>'


def mark(vnode: int) -> str:
    """Return the dot at a vnode that has moved."""
    angle = 2 * pi * (vnode + 0.5) / SIZE - pi / 2
    return f'<circle cx="{MARK * cos(angle):.1f}" cy="{MARK * sin(angle):.1f}" r="3"/>'


def picture() -> str:
    """Return the SVG."""
    width, height = 260 * len(COLUMNS), 620
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="13" text-anchor="middle">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for column, (title, strategy, replicas) in enumerate(COLUMNS):
        before, after = rings(strategy, replicas)
        moved = [v for v in range(SIZE) if before[v] != after[v]]
        x = 130 + 260 * column
        lines.append(f'<text x="{x}" y="24" font-weight="bold">{title}</text>')
        for y, owners, text in (
            (160, before, "4 nodes"),
            (440, after, f"a fifth joins: {len(moved)} vnodes move"),
        ):
            lines.append(f'<g transform="translate({x} {y})">')
            lines.extend(arc(vnode, COLOURS[slot]) for vnode, slot in enumerate(owners))
            if owners is after:
                lines.extend(map(mark, moved))
            lines.append("</g>")
            lines.append(f'<text x="{x}" y="{y + 136}">{text}</text>')
    lines.append("</svg>")
    return "\n".join(lines)


if __name__ == "__main__":
    print(picture())
