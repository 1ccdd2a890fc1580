"""The results as tables in Markdown, which read as text too: targets first, then every series beside its peers.

Pure. A cell is the median of the rounds, with the lowest and the highest in brackets; a ratio is of the medians, with
those of the rounds in brackets. Nothing is left out, whoever is ahead.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from bench.figures import Summary, ratio, summary
from bench.results import Measure, Results, Series
from bench.targets import TARGETS

OURS, PEER = "meteora", "etcd"


def markdown(results: Results) -> str:
    """The whole report."""
    parts = list(dict.fromkeys(each.part for each in results.series))
    sections = [_targets_section(results), *(_section(results, part) for part in parts), _circumstances(results)]
    return "\n\n".join(section for section in sections if section) + "\n"


def _targets_section(results: Results) -> str:
    reached = [(target, target.reached(results)) for target in TARGETS]
    rows = [
        (target.name, target.limit_text, f"{value:.2f}", "met" if target.is_met(value) else "**missed**")
        for target, value in reached
        if value is not None
    ]
    return f"### Targets\n\n{table(('', 'target', 'reached', ''), rows)}" if rows else ""


def _section(results: Results, part: str) -> str:
    ours = [each for each in results.series if each.part == part]
    systems = list(dict.fromkeys(each.system for each in ours))
    rows = [_row(load, what, by_system, systems) for (load, what), by_system in _side_by_side(ours).items()]
    titles = ("", "", *systems, f"{OURS} / {PEER}", "ahead")
    return f"### {part[0].upper()}{part[1:]}\n\n{table(titles, rows)}"


def _side_by_side(series: Iterable[Series]) -> Mapping[tuple[str, Measure], Mapping[str, Sequence[float]]]:
    found: dict[tuple[str, Measure], dict[str, Sequence[float]]] = {}
    for each in series:
        found.setdefault((each.workload, each.measure), {})[each.system] = each.values
    return found


def _row(load: str, what: Measure, by_system: Mapping[str, Sequence[float]], systems: Sequence[str]) -> tuple[str, ...]:
    cells = [_cell(summary(by_system[system])) if system in by_system else "" for system in systems]
    return (load, f"{what.name}, {what.unit}".removesuffix(", "), *cells, *_compared(what, by_system))


def _compared(what: Measure, by_system: Mapping[str, Sequence[float]]) -> tuple[str, str]:
    ours, theirs = by_system.get(OURS, ()), by_system.get(PEER, ())
    if not ours or not theirs or 0 in theirs:
        return "", ""
    compared = ratio(ours, theirs)
    if compared.median == 1:
        return _cell(compared), "neither"
    return _cell(compared), OURS if (compared.median > 1) == what.higher_is_better else PEER


def _cell(values: Summary) -> str:
    if values.lowest == values.highest:
        return number(values.median)
    return f"{number(values.median)} ({number(values.lowest)} to {number(values.highest)})"


def number(value: float) -> str:
    """With about three digits that mean something."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _circumstances(results: Results) -> str:
    lines = [f"### Where and with what\n\n{table(('', ''), results.machine.items())}"]
    lines += [table(("settings", ""), results.settings.items()), table(("version of", ""), results.versions.items())]
    return "\n\n".join(lines)


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown whose columns are as wide as their widest cell, so that it can be read as it is."""
    cells = [list(titles), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    lines = list(_lines(cells, widths))
    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _lines(rows: Iterable[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    for row in rows:
        yield f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
