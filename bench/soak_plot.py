"""A soak as a picture: memory, handles and disk of each node over time, throughput, and when a node was killed."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from bench.soak import Record

COLOURS: Final = ("#0b7285", "#e8590c", "#9775fa")
PANELS: Final = (("memory_mib", "memory, MiB"), ("handles", "open files and sockets"), ("disk_mib", "disk, MiB"))


def save(record: "Record", path: Path) -> None:
    """Writes a PNG: a panel for each measure, and one for the requests."""
    figure, axes = plt.subplots(len(PANELS) + 1, figsize=(9, 9), sharex=True, layout="constrained")
    for panel, (measure, label) in zip(axes, PANELS, strict=False):
        for number, colour in enumerate(COLOURS, start=1):
            mine = [each for each in record.samples if each.node == number]
            panel.plot(
                [each.second / 60 for each in mine],
                [getattr(each, measure) for each in mine],
                color=colour,
                linewidth=1,
                label=f"node {number}" + (", never killed" if number == 1 else ""),
            )
        panel.set_ylim(bottom=0)
        panel.set_ylabel(label, fontsize=8)
    whole = range(int(record.seconds))
    axes[-1].plot(
        [second / 60 for second in whole],
        [record.requests_by_second[second] for second in whole],
        color="#495057",
        linewidth=0.6,
    )
    axes[-1].set_ylim(bottom=0)
    axes[-1].set_ylabel("requests/s", fontsize=8)
    for second, node in record.kills:
        axes[-1].axvline(second / 60, color=COLOURS[node - 1], linewidth=0.6, alpha=0.6)
    axes[-1].set_xlabel("minutes; a line is a kill of the node of its colour", fontsize=8)
    axes[0].legend(fontsize=7, loc="lower right")
    figure.savefig(path, dpi=110)
    plt.close(figure)
