"""Every metric is documented; and no dashboard or alert asks for one that no node exports."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from meteora.observability.metrics import METRICS, Kind
from tests.house.source import ROOT

DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "meteora.json").read_text())
RULES = (DEPLOY / "prometheus" / "alerts.yml").read_text()

OF_THE_PROCESS = {
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
}
"""Those of prometheus-client's that are used."""

OF_THE_SCRAPE = {"instance", "job", "le"}
"""Labels that Prometheus gives, and that of buckets."""

NAME = re.compile(r"\b(?:meteora|process)_[a-z0-9_]+\b")
HISTOGRAM_PARTS = ("", "_bucket", "_count", "_sum")


def exported() -> set[str]:
    """All names that can be asked for."""
    names = set(OF_THE_PROCESS)
    for metric in METRICS:
        parts = HISTOGRAM_PARTS if metric.kind is Kind.HISTOGRAM else ("",)
        names |= {metric.name + part for part in parts}
    return names


def queries(node: Any) -> list[str]:
    """All queries in a dashboard."""
    if isinstance(node, dict):
        own = [node[key] for key in ("expr", "query") if isinstance(node.get(key), str)]
        return own + [query for value in node.values() for query in queries(value)]
    return [query for value in node for query in queries(value)] if isinstance(node, list) else []


def names_in(text: str) -> set[str]:
    return set(NAME.findall(text))


def test_the_page_of_metrics_is_current() -> None:
    tool = ROOT / "tools" / "generate_metrics_page.py"
    result = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_says_what_kind_and_unit_it_has(metric: Any) -> None:
    assert re.fullmatch(r"meteora_[a-z0-9_]+", metric.name)
    assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER)
    assert metric.kind is not Kind.HISTOGRAM or metric.name.endswith("_seconds")
    assert metric.help.endswith(".")


def test_names_are_unique() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_the_dashboard_asks_only_for_what_is_exported() -> None:
    asked = names_in("\n".join(queries(DASHBOARD)))
    assert len(asked) > 20
    assert asked - exported() == set()


def test_every_metric_is_on_the_dashboard() -> None:
    shown = names_in("\n".join(queries(DASHBOARD)))
    assert [metric.name for metric in METRICS if not any(metric.name + part in shown for part in HISTOGRAM_PARTS)] == []


def test_alerts_ask_only_for_what_is_exported() -> None:
    expressions = re.findall(r"^ +expr: (.*)$", RULES, re.MULTILINE)
    asked = names_in("\n".join(expressions))
    assert len(expressions) == RULES.count("- alert:")
    assert len(asked) > 8
    assert asked - exported() == set()


def labels_in(query: str, told: str) -> set[str]:
    """Those that a query asks for, and that what is told of it shows."""
    grouped = [each for group in re.findall(r"\b(?:by|without) \(([^)]*)\)", query) for each in group.split(", ")]
    selected = re.findall(r"[{,] *(\w+) *(?:=|!=|=~|!~) *\"", query)
    shown = re.findall(r"{{ *(?:\$labels\.)?(\w+) *}}", told)
    return {*grouped, *selected, *shown}


def labels_of(query: str) -> set[str]:
    """Those that the metrics in a query have."""
    names = names_in(query)
    ours = [metric for metric in METRICS if any(metric.name + part in names for part in HISTOGRAM_PARTS)]
    return OF_THE_SCRAPE.union(*(metric.labels for metric in ours))


def targets() -> list[tuple[str, str]]:
    """All queries of panels, with their legends."""
    panels = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    return [(target["expr"], target["legendFormat"]) for target in panels]


def alerts() -> list[tuple[str, str]]:
    """All queries of alerts, with what they tell."""
    rules = [rule for group in yaml.safe_load(RULES)["groups"] for rule in group["rules"]]
    return [(rule["expr"], rule["annotations"]["summary"]) for rule in rules]


@pytest.mark.parametrize(("query", "told"), [*targets(), *alerts()])
def test_labels_are_those_of_the_metrics_that_are_asked_for(query: str, told: str) -> None:
    assert labels_in(query, told) <= labels_of(query)


def test_no_two_panels_lie_on_one_another() -> None:
    places = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert max(x for x, _ in places) == 23
