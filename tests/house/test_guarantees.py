"""What docs/guarantees.md says: each test and each mistake that it names exists, and each promise is in it."""

import re

import pytest

from tests.house.source import ROOT, functions_in, named_tests
from tests.simulation.mutants import MUTANTS

_ITALIC = re.compile(r"(?<!\*)\*([a-z][^*]+)\*(?!\*)")

PAGE = (ROOT / "docs" / "guarantees.md").read_text()
MISTAKES = sorted({mistake for row in re.findall(r"^\|.*", PAGE, re.MULTILINE) for mistake in _ITALIC.findall(row)})
ROW = re.compile(r"^\| (?!has to be true)[^|]+\|[^|]*\|([^|]*)\|$", re.MULTILINE)


@pytest.mark.parametrize(("path", "name"), named_tests(PAGE))
def test_a_test_that_would_notice_exists(path: str, name: str) -> None:
    assert name in functions_in(path)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_that_must_be_found_exists(mistake: str) -> None:
    assert mistake in MUTANTS


def test_every_sentence_has_a_test_that_would_notice() -> None:
    cells = ROW.findall(PAGE)
    assert len(cells) > 30
    assert [cell for cell in cells if "::test_" not in cell] == []


def test_every_promise_of_the_readme_is_taken_apart() -> None:
    promises = re.findall(r"^(\d)\. \*\*(.+)\.\*\*", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert promises == re.findall(r"^## (\d)\. (.+)$", PAGE, re.MULTILINE)
