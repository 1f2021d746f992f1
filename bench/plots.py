"""PNG plots of what was measured.  They need matplotlib, which the extra "bench" brings."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.figures import LADDER
from bench.results import StageResult

COLOURS = {"uring": "#0b6e4f", "etcd": "#c84c09", "pysyncobj": "#6c6f7f"}


def missing_matplotlib() -> str | None:
    """Return what to do where it is not installed, or None."""
    try:
        import matplotlib  # noqa: F401 -- only whether it is there
    except ImportError:
        return "no plots without matplotlib: bench/run installs it (or pip install 'uring[bench]')"
    return None


def curve(
    result: StageResult, system: str, figure: str
) -> tuple[list[int], list[float], list[float], list[float]]:
    """Return the cases that are numbers, and the median, least and greatest of a figure in each."""
    cases, middles, lows, highs = [], [], [], []
    for case in sorted((case for case in result.cases() if case.isdigit()), key=int):
        values = result.figures(system, case, figure)
        if values:
            cases.append(int(case))
            middles.append(statistics.median(values))
            lows.append(min(values))
            highs.append(max(values))
    return cases, middles, lows, highs


def _draw_curves(
    axes: Any, result: StageResult, figure: str, style: str = "-", word: str = ""
) -> None:
    for system in result.systems():
        cases, middles, lows, highs = curve(result, system, figure)
        if cases:
            colour = COLOURS.get(system)
            axes.plot(cases, middles, style, marker="o", color=colour, label=f"{system}{word}")
            axes.fill_between(cases, lows, highs, color=colour, alpha=0.15, linewidth=0)


def _clients(result: StageResult, axes: Any) -> None:
    _draw_curves(axes, result, "rate")
    axes.set(xscale="log", yscale="log", xlabel="clients, one put under way each", ylabel="puts/s")


def _client_cost(result: StageResult, axes: Any) -> None:
    _draw_curves(axes, result, "cpu")
    axes.set(xscale="log", yscale="log", xlabel="clients", ylabel="CPU s per 10 000 puts")


def _client_latency(result: StageResult, axes: Any) -> None:
    _draw_curves(axes, result, "p50_ms", "-", " p50")
    _draw_curves(axes, result, "p99_ms", ":", " p99")
    axes.set(xscale="log", yscale="log", xlabel="clients", ylabel="ms")


def _ladder(case: str) -> Callable[[StageResult, Any], None]:
    def draw(result: StageResult, axes: Any) -> None:
        places = [100 / max(0.005, 100 - percent) for percent in LADDER]
        for system in result.systems():
            ladders = result.figures(system, case, "ladder_ms")
            if ladders:
                middles = [statistics.median(step) for step in zip(*ladders, strict=True)]
                axes.plot(places, middles, marker=".", color=COLOURS.get(system), label=system)
        ticks = [50.0, 90.0, 99.0, 99.9, 99.99]
        axes.set(xscale="log", yscale="log", xlabel="percentile", ylabel="ms", title=case)
        axes.set_xticks([100 / (100 - tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()

    return draw


def _keys_cost(result: StageResult, axes: Any) -> None:
    _draw_curves(axes, result, "cpu")
    axes.set(xscale="log", ylim=(0, None), xlabel="keys", ylabel="CPU s per 10 000 puts")


def _keys_rate(result: StageResult, axes: Any) -> None:
    _draw_curves(axes, result, "rate")
    axes.set(xscale="log", ylim=(0, None), xlabel="keys", ylabel="puts/s")


def _timeline(result: StageResult, axes: Any) -> None:
    marks: tuple[float, float] | None = None
    for system in result.systems():
        for figures in result.figures(system, "puts over time", "counts")[:1]:
            found = result.rounds[0][system]["puts over time"]
            width = found["bin_seconds"]
            times = [place * width for place in range(len(figures))]
            rates = [count / width for count in figures]
            axes.step(times, rates, where="post", color=COLOURS.get(system), label=system)
            marks = found["kill_at"], found["back_at"]
    if marks:
        axes.axvline(marks[0], color="black", linestyle="--")
        axes.axvline(marks[1], color="black", linestyle=":")
        axes.text(marks[0], axes.get_ylim()[1], " leader killed", va="top")
        axes.text(marks[1], axes.get_ylim()[1], " started again", va="top")
    axes.set(ylim=(0, None), xlabel="s", ylabel="puts/s, 32 callers of all nodes")


_PICTURES: dict[str, tuple[str, tuple[Callable[[StageResult, Any], None], ...]]] = {
    "throughput.png": ("clients", (_clients, _client_cost)),
    "latency.png": ("rates", (_ladder("puts, 64 x 16"), _ladder("puts, 64 x 1"))),
    "latency-clients.png": ("clients", (_client_latency,)),
    "keys.png": ("keys", (_keys_cost, _keys_rate)),
    "failover.png": ("timeline", (_timeline,)),
}
"""The stage that each picture shows, and what is drawn side by side."""


def draw(results: Mapping[str, StageResult], directory: Path) -> list[str]:
    """Draw every plot whose stage was measured; return the names of the files."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    made = []
    for name, (stage, parts) in _PICTURES.items():
        if stage not in results:
            continue
        figure, axes = pyplot.subplots(
            1, len(parts), figsize=(6 * len(parts), 4), dpi=90, squeeze=False, layout="constrained"
        )
        for part, each in zip(parts, axes[0], strict=True):
            part(results[stage], each)
            each.grid(True, which="major", alpha=0.3)
            if each.get_legend_handles_labels()[0]:
                each.legend()
        # Without a date or a version in it, the same figures make the same file.
        figure.savefig(directory / name, metadata={"Software": None})
        pyplot.close(figure)
        made.append(name)
    return made
