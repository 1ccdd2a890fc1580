"""The commands that read and write keys. Keys and values are bytes: whatever the shell passes arrives unchanged."""

import os
import sys
from typing import TYPE_CHECKING

import click

from meteora.cli.connection import with_client, write_line, write_output
from meteora.cli.exit_status import SUCCESS
from meteora.cli.help_text import examples

if TYPE_CHECKING:
    from meteora.client import Client, SerializableRead


@click.command(
    epilog=examples(
        "meteora put greeting hello",
        "meteora put picture < picture.png",
        "printf -- - | meteora put dash",
        "meteora put -- -key -value",
    )
)
@click.argument("key")
@click.argument("value", default="-")
@with_client
def put(client: "Client", key: str, value: str) -> int:
    """Set KEY to VALUE.

    Without VALUE, or if it is -, the value is what stdin holds, byte for byte. Prints OK once the value is on the
    disks of a majority.
    """
    client.put(os.fsencode(key), sys.stdin.buffer.read() if value == "-" else os.fsencode(value))
    write_line("OK")
    return SUCCESS


@click.command(
    epilog=examples(
        "meteora get greeting",
        "meteora get picture > picture.png",
        "meteora get --serializable greeting",
    )
)
@click.argument("key")
@click.option(
    "--serializable",
    is_flag=True,
    help="Take what the node has, even if it can't reach the others. Says on stderr how old that may be.",
)
@with_client
def get(client: "Client", key: str, serializable: bool) -> int:
    """Print the value of KEY.

    The value goes to stdout byte for byte; a newline is added only on a terminal. The exit status is 1 if there is no
    such key.
    """
    if serializable:
        read = client.get_serializable(os.fsencode(key))
        click.echo(f"meteora: {_age_of(read)}", err=True)
        value = read.value
    else:
        value = client.get(os.fsencode(key))
    if value is None:
        raise click.ClickException(f"there is no key {_readable(os.fsencode(key))}")
    write_output(value + b"\n" if sys.stdout.isatty() else value)
    return SUCCESS


@click.command(epilog=examples("meteora delete greeting"))
@click.argument("key")
@with_client
def delete(client: "Client", key: str) -> int:
    """Remove KEY.

    Prints OK once that is on the disks of a majority, whether or not there was such a key.
    """
    client.delete(os.fsencode(key))
    write_line("OK")
    return SUCCESS


def _age_of(read: "SerializableRead") -> str:
    if read.staleness_seconds is None:
        return f"as of entry {read.applied_index}; how old that is isn't known: no leader was heard since the start"
    return f"as of entry {read.applied_index}; writes of the last {read.staleness_seconds:.3f} s may be missing"


def _readable(key: bytes) -> str:
    """A key as text in quotes, or as bytes if it is no text."""
    try:
        return repr(key.decode())
    except UnicodeDecodeError:
        return repr(key)
