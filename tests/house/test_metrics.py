"""Every metric is documented; and no dashboard or alert asks for one that no node exports."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

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
