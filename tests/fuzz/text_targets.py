"""What people and other nodes write: addresses, endpoints, command lines."""

import io
from contextlib import redirect_stdout, suppress

import click

from meteora.addresses import parse_address, parse_endpoints, reachable_endpoint
from meteora.cli import commands
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


WORDS = (
    "-i",
    "-p",
    "-d",
    "-h",
    "--",
    "-",
    "1",
    "127.0.0.1:1",
    "--force",
    "--serializable",
    "--log-format",
    "json",
    "--timeout",
)


def command_line(data: bytes) -> None:
    """Options as people type them: understood or refused in one sentence, without a traceback."""
    text = data.decode("utf-8", "surrogateescape")
    for convert in (node_id, port, request_bytes, seconds):
        with suppress(click.BadParameter):
            assert convert(text) > 0
    choices = Choices(data)
    arguments = [
        choices.chunk().decode("utf-8", "surrogateescape") if choices.flag() else choices.one_of(WORDS)
        for _ in range(choices.byte() % 5)
    ]
    # Only read, and not done: a line that is understood would start nodes.
    command = commands.commands[choices.one_of(sorted(commands.commands))]
    output = io.StringIO()
    with redirect_stdout(output), suppress(click.ClickException, click.exceptions.Exit):
        command.make_context(command.name, arguments)
