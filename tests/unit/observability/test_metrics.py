from collections.abc import Iterable

import pytest

from meteora.observability import metrics
from meteora.observability.histogram import Histogram
from meteora.observability.metrics import Exposition, Form, Sample, form_for


def text_of(*samples: Sample) -> str:
    def read() -> Iterable[Sample]:
        return samples

    return Exposition(read).text(Form.PROMETHEUS)[0].decode()


def test_a_metric_has_its_kind_its_help_and_its_labels() -> None:
    lines = text_of((metrics.PEER_LAG, ("2",), 7)).splitlines()
    assert f"# HELP {metrics.PEER_LAG.name} {metrics.PEER_LAG.help}" in lines
    assert f"# TYPE {metrics.PEER_LAG.name} gauge" in lines
    assert f'{metrics.PEER_LAG.name}{{peer="2"}} 7.0' in lines


def test_a_counter_keeps_its_name() -> None:
    assert "\nmeteora_server_slow_apply_total 3.0\n" in text_of((metrics.SLOW_APPLIES, (), 3))


def test_each_bucket_counts_all_below_it() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.5, 0.6, 5.0):
        histogram.observe(value)
    text, name = text_of((metrics.APPLY_SECONDS, (), histogram)), metrics.APPLY_SECONDS.name
    assert [line.split()[1] for line in text.splitlines() if line.startswith(name)] == [
        "1.0",
        "3.0",
        "4.0",
        "4.0",
        "6.15",
    ]


def test_two_nodes_of_one_process_export_apart() -> None:
    assert "meteora_raft_term 1.0" in text_of((metrics.TERM, (), 1))
    assert "meteora_raft_term 2.0" in text_of((metrics.TERM, (), 2))


def test_the_process_is_there_too() -> None:
    assert "process_resident_memory_bytes" in text_of()


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form.PROMETHEUS),
        ("*/*", Form.PROMETHEUS),
        ("text/plain; version=0.0.4", Form.PROMETHEUS),
        ("application/openmetrics-text; version=1.0.0; q=0.5, text/plain; q=0.3", Form.OPEN_METRICS),
        ("application/openmetrics-text; version=99", Form.OPEN_METRICS),
    ],
)
def test_there_are_two_forms_whatever_is_accepted(accept: str, form: Form) -> None:
    assert form_for(accept) is form
