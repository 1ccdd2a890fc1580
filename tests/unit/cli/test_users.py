"""The command lines for users: what they ask for, and that no password stands in one. What nodes do is tested there."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from meteora.cli import commands
from meteora.cli.users import _range, _words_of
from meteora.client import Permission
from tests.unit.cli.conftest import Run


def all_options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from parameter.opts
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from all_options(each)


def test_no_option_takes_a_password() -> None:
    assert {each for each in all_options(commands) if "password" in each} == {
        "--password-file",
        "--new-password-file",
        "--no-password",
    }


def test_a_password_behind_a_name_is_refused_and_not_repeated(run: Run) -> None:
    status, _, err = run("get", "a", "--user", "alice:secret", "-a", "127.0.0.1:9")
    assert (status, "--password-file" in err, "secret" in err) == (2, True, False)


@pytest.mark.parametrize(
    ("key", "end", "prefix", "from_key", "expected"),
    [
        ("a", "", False, False, (b"a", b"")),
        ("a", "c", False, False, (b"a", b"c")),
        ("a/", "", True, False, (b"a/", b"a0")),
        ("", "", True, False, (b"\x00", b"\x00")),
        ("a", "", False, True, (b"a", b"\x00")),
    ],
)
def test_keys_as_they_are_typed(
    key: str, end: str, prefix: bool, from_key: bool, expected: tuple[bytes, bytes]
) -> None:
    assert _range(key, end, prefix=prefix, from_key=from_key) == expected


def test_a_range_that_is_given_twice_is_refused(run: Run) -> None:
    status, _, err = run("role", "grant-permission", "r", "read", "a", "b", "--prefix", "-a", "127.0.0.1:9")
    assert status == 2
    assert "exclude one another" in err


@pytest.mark.parametrize(
    ("permission", "words"),
    [
        (Permission("read", b"a"), "read 'a'"),
        (Permission("write", b"a/", b"a0"), "write prefix 'a/'"),
        (Permission("readwrite", b"a", b"c"), "readwrite from 'a' up to and without 'c'"),
        (Permission("read", b"\xff", b"\x00"), "read from b'\\xff' on"),
    ],
)
def test_a_permission_in_words(permission: Permission, words: str) -> None:
    assert _words_of(permission) == words


@pytest.mark.parametrize("content", ["", "\nsecond line\n"])
def test_a_file_without_a_password_is_refused(run: Run, tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content)
    status, _, err = run("get", "a", "--user", "alice", "--password-file", str(tmp_path / "file"))
    assert (status, re.search("there is no password in the first line", err) is not None) == (1, True)


def test_a_password_file_that_is_not_there_is_refused(run: Run, tmp_path: Path) -> None:
    status, _, err = run("get", "a", "--user", "alice", "--password-file", str(tmp_path / "none"))
    assert (status, "no password can be read" in err) == (1, True)


@pytest.mark.parametrize("line", ["", "\n"])
def test_without_a_terminal_and_a_password_it_is_said_how_to_give_one(line: str) -> None:
    command = [sys.executable, "-m", "meteora", "user", "add", "alice"]
    done = subprocess.run(
        command,
        input=line,
        capture_output=True,
        text=True,
        timeout=30,
        start_new_session=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("meteora: error: there is nobody to ask for the password")
