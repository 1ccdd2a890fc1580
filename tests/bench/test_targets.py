import pytest

from bench import report, throughput
from bench.plan import PEAK, workload
from bench.results import MEMORY, THROUGHPUT, Results
from bench.targets import TARGETS, Target

PUT = workload("put", 3, 64, PEAK)


def named(name: str) -> Target:
    return next(target for target in TARGETS if target.name == name)


def results(ours: float, theirs: float) -> Results:
    found = Results({}, {}, {})
    found.add(throughput.PART, {"meteora": [{(PUT, THROUGHPUT): ours}], "etcd": [{(PUT, THROUGHPUT): theirs}]})
    return found


def test_a_target_is_reached_as_a_ratio_of_medians() -> None:
    assert named(PUT).reached(results(26.0, 20.0)) == pytest.approx(1.3)


def test_a_target_that_was_not_measured_is_not_reached() -> None:
    assert named(PUT).reached(Results({}, {}, {})) is None


@pytest.mark.parametrize(("ours", "verdict"), [(30.0, "met"), (20.0, "**missed**")])
def test_a_report_says_which_targets_were_met_and_which_missed(ours: float, verdict: str) -> None:
    (line,) = [line for line in report.markdown(results(ours, 20.0)).splitlines() if "at least 1.3 x" in line]
    assert line.rstrip("| ").endswith(verdict)


def test_of_what_should_be_little_the_limit_is_the_most() -> None:
    target = named("memory of an idle node")
    assert target.ours.measure == MEMORY
    assert [target.is_met(119.0), target.is_met(121.0)] == [True, False]


def test_no_two_targets_have_one_name() -> None:
    assert len({target.name for target in TARGETS}) == len(TARGETS)
