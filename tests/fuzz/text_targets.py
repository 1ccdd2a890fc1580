"""What people and other nodes write: addresses, endpoints, command lines."""

import io
import tempfile
from contextlib import redirect_stdout, suppress
from pathlib import Path

import click

from meteora.addresses import parse_address, parse_endpoints, reachable_endpoint
from meteora.cli import commands
from meteora.cli.config_file import read_config_file
from meteora.cli.export import _batches, _decoded
from meteora.cli.json_lines import decode_pair, encode_pair
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
    """Options as people type them: understood, or refused by an error of click's."""
    choices = Choices(data)
    arguments = [
        choices.chunk().replace(b"\0", b"").decode("utf-8", "surrogateescape")
        if choices.flag()
        else choices.one_of(WORDS)
        for _ in range(choices.byte() % 5)
    ]
    # Only read, and not done: a line that is understood would start nodes.
    command = commands.commands[choices.one_of(sorted(commands.commands))]
    output = io.StringIO()
    with redirect_stdout(output), suppress(click.ClickException, click.exceptions.Exit):
        command.make_context(command.name, arguments)


LINES = (
    "id = ",
    "raft-port = ",
    "tick-seconds = ",
    "data-directory = ",
    "initial-cluster = [",
    "[table]\n",
    "'''",
    '"',
    "9" * 5000,
    "[" * 2000,
    "]\n",
    "\n",
    "\r\n",
    "1e999",
    "1979-05-27",
    "a.b = {c = 1}\n",
    "# a word\n",
)


def config_file(data: bytes) -> None:
    """A node's settings in a file, as bytes and as pieces of TOML: read, or refused by name and line."""
    choices = Choices(data)
    pieces = [
        choices.one_of(LINES).encode() if choices.byte() < 200 else choices.chunk() for _ in range(choices.byte() % 24)
    ]
    with tempfile.NamedTemporaryFile(suffix=".toml", buffering=0) as file:
        path = Path(file.name)
        for content in (data, b"".join(pieces)):
            file.truncate(0)
            file.seek(0)
            file.write(content)
            with suppress(ConfigurationError):
                found = read_config_file(path)
                assert len(found.problems) == len(found.refused)


JSON_PIECES = (
    b'{"key": "a", "value": "b"}',
    b'{"key_base64": "YQ==", "value": ""}',
    b'{"key": "a", "key_base64": "YQ==", "value": ""}',
    b'{"key": "a", "value_base64": "\xc3\xa9"}',
    b'{"key": "\\ud800", "value": 1}',
    b'"key"',
    b"[" * 2000,
    b"9" * 5000,
    b"{",
    b"}",
    b"\n",
    b"\r\n",
    b"\x00",
    b"\xff\xfe",
    b" ",
    b"NaN",
)


def json_lines(data: bytes) -> None:
    """What is imported: lines of JSON, whole and in pieces. Read, or refused by the number of the line."""
    choices = Choices(data)
    pieces = [choices.one_of(JSON_PIECES) if choices.byte() < 200 else choices.chunk() for _ in range(choices.byte())]
    for line in (data, *pieces):
        with suppress(ValueError):
            pair = decode_pair(line)
            assert decode_pair(encode_pair(*pair)) == pair
    count = 0
    with suppress(click.ClickException):
        for batch in _batches(io.BytesIO(b"".join(pieces))):
            assert all(number > count for number, _ in _decoded(batch, count + 1).values())
            count += len(batch)
    key, value = choices.chunk(), choices.rest()
    assert decode_pair(encode_pair(key, value)) == (key, value)
