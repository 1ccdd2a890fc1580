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
    """Writes a PNG: a panel for each part, with a scale of its own. Nothing if there is nothing to show."""
    bars = [each for each in results.series if each.measure == THROUGHPUT]
    parts = list(dict.fromkeys(each.part for each in bars))
    panels = [[each for each in bars if each.part == part] for part in parts]
    heights = [BASE_INCHES + BAR_INCHES * (len(panel) + len(_loads(panel))) for panel in panels]
    heights += [TIMELINE_INCHES] if results.timelines else []
    if not heights:
        return
    figure, axes = plt.subplots(
        len(heights), figsize=(WIDTH_INCHES, sum(heights)), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for panel, of_part in zip(axes[:, 0], panels, strict=False):
        _draw_bars(panel, of_part)
    if results.timelines:
        _draw_timelines(axes[-1, 0], results.timelines)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _loads(bars: Sequence[Series]) -> list[str]:
    return list(dict.fromkeys(each.workload for each in bars))


def _draw_bars(panel: Any, bars: Sequence[Series]) -> None:
    place, ticks = 0, []
    for load in _loads(bars):
        group = [each for each in bars if each.workload == load]
        ticks.append(place + (len(group) - 1) / 2)
        for each in group:
            panel.barh(place, median(each.values), height=0.9, color=COLOURS[each.system])
            panel.plot(each.values, [place] * len(each.values), ".", color="black", markersize=3)
            panel.text(max(each.values), place, f"  {median(each.values):,.0f}", va="center", fontsize=7)
            place += 1
        place += 1
    panel.set_yticks(ticks, _loads(bars), fontsize=7)
    panel.set_ylim(place - 1, -1)
    panel.set_title(bars[0].part, fontsize=9, loc="left")
    panel.set_xlabel("requests/s: bars are medians, dots the rounds", fontsize=7)
    panel.margins(x=0.12)
    systems = list(dict.fromkeys(each.system for each in bars))
    panel.legend([plt.Rectangle((0, 0), 1, 1, color=COLOURS[each]) for each in systems], systems, fontsize=7)


def _draw_timelines(panel: Any, timelines: Sequence[Timeline]) -> None:
    for each in timelines:
        panel.plot(each.requests_in_second, color=COLOURS[each.system], label=each.system, linewidth=1)
    panel.set_ylim(bottom=0)
    panel.set_xlabel(f"seconds of {timelines[0].workload}")
    panel.set_ylabel("requests/s")
    panel.legend(fontsize=7)
