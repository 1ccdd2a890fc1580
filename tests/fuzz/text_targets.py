"""What people and other nodes write: addresses, endpoints, command lines."""

from contextlib import suppress

import click
from click.testing import CliRunner

from meteora.addresses import parse_address, parse_endpoints, reachable_endpoint
from meteora.cli import main
from meteora.cli.parameters import node_id, port, request_bytes, seconds
from meteora.errors import ConfigurationError
from tests.fuzz.choices import Choices


def addresses(data: bytes) -> None:
    """Any text as an address."""
    text = data.decode("utf-8", "surrogateescape")
    with suppress(ConfigurationError):
        address = parse_address(text)
        assert 1 <= address.port <= 65_535
        assert parse_address(str(address)) == address
    with suppress(ConfigurationError):
        assert parse_endpoints(parse_endpoints(text)) == parse_endpoints(text)
    reached = reachable_endpoint(text, "127.0.0.1:1")
    assert reached is None or reachable_endpoint(reached, "127.0.0.1:1") == reached


WORDS = ("start", "get", "put", "delete", "status", "leave", "transfer", "verify", "recover", "--help", "-i", "-p", "-d", "-h")


def command_line(data: bytes) -> None:
    """Options as people type them: understood or refused in one sentence, without a traceback."""
    text = data.decode("utf-8", "surrogateescape")
    for convert in (node_id, port, request_bytes, seconds):
        with suppress(click.BadParameter):
            assert convert(text) > 0
    choices = Choices(data)
    arguments = [choices.one_of(WORDS[:9])]
    arguments += [choices.chunk().decode("utf-8", "surrogateescape") if choices.flag() else choices.one_of(WORDS) for _ in range(choices.byte() % 4)]
    # `--help` last: everything before it is looked at, and nothing is done.
    result = CliRunner().invoke(main, [*arguments, "--help"])
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert "Traceback" not in result.output
