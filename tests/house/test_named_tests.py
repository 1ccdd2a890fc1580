"""What docs/testing.md says: each test that it names exists, and each check of other Rafts has one."""

import re

import pytest

from tests.house.source import ROOT, functions_in, named_tests

PAGE = (ROOT / "docs" / "testing.md").read_text()
SUITES = ("hashicorp/raft, fuzzy", "dragonboat", "etcd, robustness", "invariants of the simulation")


@pytest.mark.parametrize(("path", "name"), named_tests(PAGE))
def test_a_test_that_is_named_exists(path: str, name: str) -> None:
    assert name in functions_in(path)


@pytest.mark.parametrize("suite", SUITES)
def test_every_check_has_a_test(suite: str) -> None:
    cells = re.findall(rf"^\| {re.escape(suite)} \|[^|]+\|([^|]*)\|$", PAGE, re.MULTILINE)
    assert len(cells) > 5
    assert [cell for cell in cells if "::test_" not in cell] == []
