"""A page that shows a run: what was done to which node, who led, what clients were answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape

from attrs import define

from tests.faults.figures import acknowledged, gaps
from tests.faults.history import Call, Fault, History

LEFT = 150
"""Pixels for the names of the rows."""
SECOND = 24
"""Pixels for a second."""
ROW = 26
STEP = 0.25
"""Seconds that one column of the throughput stands for."""

STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 16px; color: #1b1f24; background: #fff }
h1 { font-size: 20px } h2 { font-size: 16px; margin: 24px 0 6px }
pre { background: #f6f8fa; padding: 10px; white-space: pre-wrap }
.wide { overflow-x: auto; border: 1px solid #d0d7de }
svg text { font: 12px system-ui, sans-serif; fill: #1b1f24 }
svg .small { font-size: 10px } svg .light { fill: #57606a }
.up { fill: #dafbe1 } .down { fill: #ffc1ba } .frozen { fill: #b6c8e8 } .leader { fill: #1a7f37 }
.fault { fill: #fff1b8; stroke: #bf8700 } .gap { fill: #cf222e; opacity: .22 }
.ok { fill: #54aeff } .refused { fill: #bf8700 } .unknown { fill: #cf222e } .get { fill: #8c959f }
.put { fill: #54aeff } .cas { fill: #a475f9 } .delete { fill: #fb8f44 } .line { stroke: #d8dee4 }
.bad { color: #cf222e; font-weight: bold } .good { color: #1a7f37; font-weight: bold }
"""
COLOURS = {
    "up": "process runs",
    "down": "no process",
    "frozen": "SIGSTOP",
    "leader": "says it leads (term)",
    "fault": "fault",
    "gap": "no write answered for 0.25 s or more",
    "ok": "answered",
    "refused": "refused, nothing done",
    "unknown": "outcome unknown",
}


@define
class Page:
    """Turns times of the history into pixels."""

    history: History
    began: int
    ended: int

    def x(self, at: int) -> float:
        return LEFT + (min(max(at, self.began), self.ended) - self.began) / 1e9 * SECOND

    @property
    def width(self) -> float:
        return self.x(self.ended) + 20

    def box(
        self, kind: str, began: int, ended: int, y: float, height: float, title: str = ""
    ) -> str:
        """Return a bar over a stretch of time; ``title`` is shown at a touch of the mouse."""
        left, right = self.x(began), self.x(ended)
        shape = (
            f'<rect class="{kind}" x="{left:.1f}" y="{y:.1f}" width="{max(1.0, right - left):.1f}" '
            f'height="{height:.1f}"'
        )
        return f"{shape}><title>{escape(title)}</title></rect>" if title else f"{shape}/>"

    def text(self, x: float, y: float, what: str, kind: str = "") -> str:
        mark = f' class="{kind}"' if kind else ""
        return f'<text{mark} x="{x:.1f}" y="{y:.1f}">{escape(what)}</text>'

    def seconds(self, at: int) -> float:
        return (at - self.began) / 1e9


def write(history: History, lines: Iterable[str]) -> str:
    """Return the page."""
    last = max([call.returned for call in history.calls if call.known] + [history.began + 10**9])
    page = Page(history, history.began, max([last] + [fault.ended for fault in history.faults]))
    verdict = (
        "".join(f'<p class="bad">{escape(each)}</p>' for each in history.violations[:50])
        or '<p class="good">no violation</p>'
    )
    legend = "".join(
        f'<svg width="16" height="12"><rect class="{kind}" width="14" height="12"/></svg> '
        f"{escape(text)} &nbsp; "
        for kind, text in COLOURS.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>uring under faults</title>'
        f"<style>{STYLE}</style><h1>uring under faults</h1>{verdict}"
        f"<pre>{escape(chr(10).join(lines))}</pre><p>{legend}</p>"
        f'<div class="wide">{_overview(page)}</div>'
        + "".join(_key(page, key, calls) for key, calls in _suspects(history))
        + f"<h2>What happened</h2><pre>{escape(_notes(page))}</pre></html>"
    )


def _notes(page: Page) -> str:
    return "\n".join(f"{page.seconds(at):8.2f}  {text}" for at, text in page.history.notes)


def _overview(page: Page) -> str:
    """Return the drawing of the whole run: faults, nodes, throughput."""
    parts: list[str] = []
    y = 24.0
    rows = _rows(page.history.faults)
    for name, faults in rows:
        parts += [*_name(page, name, y), *_faults(page, faults, y)]
        y += ROW
    slots = sorted({span.slot for span in page.history.spans})
    for slot in slots:
        parts += [*_life(page, slot, y + 3), *_name(page, f"slot {slot}", y)]
        y += ROW
    parts += _throughput(page, y + 6)
    height = y + 100
    times = acknowledged(page.history)
    red = [
        page.box("gap", gap.began, gap.ended, 20, height - 34, f"{gap.seconds:.2f} s")
        for gap in gaps(times)
    ]
    return _svg(page, height, [*_scale(page, height), *red, *parts])


def _svg(page: Page, height: float, parts: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{page.width:.0f}" height="{height:.0f}">'
        + "".join(parts)
        + "</svg>"
    )


def _name(page: Page, name: str, y: float) -> Iterator[str]:
    """Yield the name of a row, once a minute as well: a long page is not seen at once."""
    yield page.text(6, y + 17, name)
    for second in range(60, int(page.seconds(page.ended)), 60):
        yield page.text(LEFT + second * SECOND - 48, y + 17, name.partition(",")[0], "small light")


def _scale(page: Page, height: float) -> Iterator[str]:
    """Yield a line for each second, and its number every fifth."""
    for second in range(int(page.seconds(page.ended)) + 1):
        x = LEFT + second * SECOND
        if second % 5 == 0:
            yield f'<line class="line" x1="{x}" x2="{x}" y1="18" y2="{height:.0f}"/>'
            yield page.text(x + 2, 14, f"{second} s", "small light")


def _rows(faults: Iterable[Fault]) -> list[tuple[str, list[Fault]]]:
    """Return the rows of faults: those of one lane never overlap."""
    lanes: dict[int, list[Fault]] = {}
    for fault in faults:
        lanes.setdefault(fault.lane, []).append(fault)
    names = {0: "nodes, disks", 1: "network, clocks"}
    return [(names.get(lane, str(lane)), found) for lane, found in sorted(lanes.items())]


def _faults(page: Page, faults: list[Fault], y: float) -> Iterator[str]:
    for position, fault in enumerate(faults):
        title = f"{fault.kind}: {fault.detail}; {page.seconds(fault.began):.2f} s"
        yield page.box("fault", fault.began, fault.ended, y + 3, ROW - 8, title)
        after = faults[position + 1].began if position + 1 < len(faults) else page.ended
        inside, room = (page.x(at) - page.x(fault.began) for at in (fault.ended, after))
        labels = [(fault.kind, room), (fault.kind, inside)]
        if fault.leader:
            labels.append((f"{fault.kind} leader", inside))
        fitting = [text for text, width in labels if len(text) * 6.6 + 6 < width]
        if fitting:
            yield page.text(page.x(fault.began) + 3, y + 16, fitting[-1])


def _life(page: Page, slot: int, y: float) -> Iterator[str]:
    """Yield the bars of one node: whether its process lives, and below that whether it leads."""
    for span in page.history.spans:
        if span.slot != slot or span.ended < page.began:
            continue
        title = f"slot {slot} {span.state} {span.label}".strip()
        if span.state == "leader":
            yield page.box("leader", span.began, span.ended, y + 12, 8, title)
            yield page.text(page.x(span.began) + 2, y + 10, span.label, "small")
        else:
            yield page.box(span.state, span.began, span.ended, y, 20, title)


def _throughput(page: Page, y: float) -> Iterator[str]:
    """Yield columns of what was answered, refused and left unknown in each step of time."""
    columns: Counter[tuple[int, str]] = Counter()
    for call in page.history.calls:
        at = call.returned if call.known else call.called
        columns[int(page.seconds(at) / STEP), _outcome(call)] += 1
    total: Counter[int] = Counter()
    for (column, _), count in columns.items():
        total[column] += count
    most = max(total.values(), default=1)
    yield page.text(6, y + 40, "calls")
    yield page.text(6, y + 56, f"up to {most / STEP:.0f}/s", "small light")
    for column in sorted(total):
        x, bottom = LEFT + column * STEP * SECOND, y + 76
        for kind in ("ok", "refused", "unknown"):
            count = columns[column, kind]
            height = 70 * count / most
            if count and kind != "ok":
                height = max(height, 2.0)
            if count:
                bottom -= height
                yield (
                    f'<rect class="{kind}" x="{x:.1f}" y="{bottom:.1f}" '
                    f'width="{STEP * SECOND - 0.5:.1f}" height="{height:.1f}">'
                    f"<title>{count} {COLOURS[kind]}</title></rect>"
                )


def _outcome(call: Call) -> str:
    if call.known:
        return "ok"
    return "refused" if call.refused else "unknown"


# -- one key -------------------------------------------------------------------------------------


def _suspects(history: History) -> list[tuple[str, list[Call]]]:
    """Return the calls on keys that a violation names."""
    named = {text.partition(":")[0] for text in history.violations}
    calls: dict[str, list[Call]] = {}
    for call in history.calls:
        if call.key in named:
            calls.setdefault(call.key, []).append(call)
    return list(calls.items())[:8]


def _key(page: Page, key: str, calls: list[Call]) -> str:
    """Return the drawing of one key's calls, a row for each client, and the calls as text."""
    last = max(call.returned if call.known else call.called for call in calls)
    near = Page(page.history, min(call.called for call in calls), last + 10**9)
    clients = sorted({call.client for call in calls})
    parts: list[str] = list(_scale(near, 30 + ROW * len(clients)))
    for row, client in enumerate(clients):
        y = 24.0 + ROW * row
        parts.append(near.text(6, y + 15, f"client {client}"))
        for call in (each for each in calls if each.client == client):
            end = call.returned if call.known else near.ended
            kind = "unknown" if _outcome(call) == "unknown" else call.kind
            if not call.refused:
                parts.append(near.box(kind, call.called, end, y, ROW - 8, _told(near, call)))
    listed = "\n".join(_told(near, call) for call in sorted(calls, key=lambda each: each.called))
    return (
        f'<h2>{escape(key)}</h2><div class="wide">{_svg(near, 30 + ROW * len(clients), parts)}'
        f"</div><details><summary>{len(calls)} calls</summary><pre>{escape(listed)}</pre></details>"
    )


def _told(page: Page, call: Call) -> str:
    """Return one call in words, with times relative to the first of its key."""
    began = page.seconds(call.called)
    what = f"{call.kind} {call.argument or ''}".strip()
    if call.kind == "cas":
        what = f"cas {call.check} to {call.argument}"
    end = f"{page.seconds(call.returned):.4f}: {call.answer}" if call.known else call.problem
    where = f"client {call.client}, slot {call.node}, {call.door}"
    return f"{began:10.4f}  {where}: {what}  ->  {end}"
