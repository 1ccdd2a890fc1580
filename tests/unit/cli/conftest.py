"""How the tests of the command line run it: in this process where they can, because an interpreter takes a while."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from meteora import cli
from tests.unit.client.remote import Remote, remotes


class Ended(NamedTuple):
    """How a command line ended."""

    status: int
    out: bytes
    err: str


Run = Callable[..., Ended]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the environment of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith("METEORA_"):
            monkeypatch.delenv(name)
    # Set by the commands for their own process, which is this one.
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs one command line, with bytes on its stdin."""

    def run(*arguments: str, stdin: bytes = b"") -> Ended:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = cli.run(arguments)
        out, err = capsysbinary.readouterr()
        return Ended(status, out, err.decode())

    return run


@pytest.fixture
def node() -> Iterator[Remote]:
    """A node that leads a cluster of its own."""
    with remotes(1, leader_id=1) as (node,):
        yield node
