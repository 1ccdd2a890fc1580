"""The results as a picture: throughput side by side, each round a dot; and the timeline of the steady load."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from bench.results import THROUGHPUT, Results, Series, Timeline

COLOURS: Final = {"meteora": "#0b7285", "etcd": "#adb5bd", "redis": "#e8590c", "pysyncobj": "#9775fa"}
BAR_INCHES: Final = 0.28
BASE_INCHES: Final = 1.2
TIMELINE_INCHES: Final = 2.6
WIDTH_INCHES: Final = 9.0


def save(results: Results, path: Path) -> None:
    """Writes a PNG."""
    bars = [each for each in results.series if each.measure == THROUGHPUT]
    loads = list(dict.fromkeys((each.part, each.workload) for each in bars))
    heights = [BASE_INCHES + BAR_INCHES * (len(bars) + len(loads))] if bars else []
    heights += [TIMELINE_INCHES] if results.timelines else []
    if not heights:
        return
    figure, axes = plt.subplots(
        len(heights), figsize=(WIDTH_INCHES, sum(heights)), height_ratios=heights, squeeze=False, layout="constrained"
    )
    panels = [row[0] for row in axes]
    if bars:
        _draw_bars(panels[0], bars, loads)
    if results.timelines:
        _draw_timelines(panels[-1], results.timelines)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_bars(panel: Any, bars: Sequence[Series], loads: Sequence[tuple[str, str]]) -> None:
    place, ticks = 0.0, []
    for load in loads:
        group = [each for each in bars if (each.part, each.workload) == load]
        ticks.append(place + (len(group) - 1) / 2)
        for each in group:
            panel.barh(place, median(each.values), height=0.9, color=COLOURS[each.system])
            panel.plot(each.values, [place] * len(each.values), ".", color="black", markersize=3)
            panel.text(median(each.values), place, f"  {median(each.values):,.0f}", va="center", fontsize=7)
            place += 1
        place += 1
    panel.set_yticks(ticks, [f"{part}: {load}" for part, load in loads], fontsize=7)
    panel.invert_yaxis()
    panel.set_xlabel("requests/s: bars are medians, dots the rounds")
    panel.margins(x=0.1)
    systems = list(dict.fromkeys(each.system for each in bars))
    panel.legend([plt.Rectangle((0, 0), 1, 1, color=COLOURS[each]) for each in systems], systems, fontsize=7)


def _draw_timelines(panel: Any, timelines: Sequence[Timeline]) -> None:
    for each in timelines:
        panel.plot(each.requests_in_second, color=COLOURS[each.system], label=each.system, linewidth=1)
    panel.set_ylim(bottom=0)
    panel.set_xlabel(f"seconds of {timelines[0].workload}")
    panel.set_ylabel("requests/s")
    panel.legend(fontsize=7)
