"""Converters that no setting of `start` shows by itself."""

from pathlib import Path

import click
import pytest

from meteora.cli.parameters import names, type_of
from meteora.settings import Directory, File, Names


@pytest.mark.parametrize("value", ["a, b,,a ", ("a", "b", "a")])
def test_names_are_those_that_are_there_each_once(value: str | tuple[str, ...]) -> None:
    assert names(value) == ("a", "b")


def test_names_have_their_kind() -> None:
    assert type_of(Names("NAME[,...]")) is names


def test_a_file_may_not_be_a_directory(tmp_path: Path) -> None:
    kind = type_of(File())
    assert isinstance(kind, click.Path)
    assert kind.convert(str(tmp_path / "not-there"), None, None) == tmp_path / "not-there"
    with pytest.raises(click.BadParameter, match="is a directory"):
        kind.convert(str(tmp_path), None, None)


@pytest.mark.parametrize("value", ["", " ", ", ,", ("",)])
def test_a_list_that_is_given_and_empty_is_refused(value: str | tuple[str, ...]) -> None:
    # A variable of a script that isn't set must not begin a cluster alone, or let in any peer.
    with pytest.raises(click.BadParameter, match="has nothing in it: leave it out, or give some"):
        names(value)


def test_an_empty_array_of_a_file_is_as_it_says() -> None:
    assert names(()) == ()


@pytest.mark.parametrize("kind", [File(), Directory()])
def test_a_path_that_is_given_and_empty_is_refused(kind: File | Directory) -> None:
    converter = type_of(kind)
    assert isinstance(converter, click.Path)
    with pytest.raises(click.BadParameter, match="a path is not empty"):
        converter.convert("", None, None)
