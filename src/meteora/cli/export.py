"""The commands that write keys and values as lines of JSON, and that read such lines."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from meteora.cli.connection import with_async_client, with_client, write_line, write_output
from meteora.cli.exit_status import SUCCESS
from meteora.cli.files import replaced
from meteora.cli.help_text import examples
from meteora.cli.json_lines import MAX_LINE_BYTES, decode_pair, encode_pair
from meteora.cli.progress import progress
from meteora.errors import RequestError

if TYPE_CHECKING:
    from meteora.client import AsyncClient, Client

OUTPUT_BYTES: Final = 64 * 1024
"""What is written at once."""

BATCH_LINES: Final = 1_000
BATCH_BYTES: Final = 4 << 20
"""What of an import is under way at a time, and as much again is being read; and the line that exceeds it."""

_file = click.argument("file", default="-", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))


@click.command(
    epilog=examples("meteora export > all.jsonl", "meteora export --prefix users/ users.jsonl", "meteora export | jq .")
)
@_file
@click.option("--prefix", default="", metavar="PREFIX", help="Only keys that begin with it.")
@click.option("--serializable", is_flag=True, help="Take what the node has, even if it can't reach the others.")
@with_client
def export(client: "Client", file: Path, prefix: str, serializable: bool) -> int:
    """Write keys and values to FILE, or stdout, as lines of JSON: all as they are at one instant, in their order.

    Each line is an object with key and value, or key_base64 and value_base64 where the bytes are no UTF-8. A FILE is
    written as by `meteora backup`.
    """
    with ExitStack() as parts:
        write = write_output if str(file) == "-" else parts.enter_context(replaced(file)).write
        output = bytearray()
        for key, value in client.export(os.fsencode(prefix), serializable=serializable):
            output += encode_pair(key, value)
            if len(output) >= OUTPUT_BYTES:
                write(bytes(output))
                output.clear()
        write(bytes(output))
    return SUCCESS


@click.command("import", epilog=examples("meteora import all.jsonl", "meteora export -a old:5000 | meteora import"))
@_file
@click.option("--quiet", "is_quiet", is_flag=True, help="No progress bar.")
@with_async_client
async def import_(client: "AsyncClient", file: Path, is_quiet: bool) -> int:
    """Put the keys and values in FILE, or stdin: lines as `meteora export` writes them.

    Other keys stay as they are. If it ends on the way, it can be run again. Prints how many lines were put.
    """
    with ExitStack() as parts:
        source, size_bytes = _opened(file, parts)
        show = parts.enter_context(progress("importing", is_quiet=is_quiet))
        done_lines = done_bytes = 0
        batches = _batches(source)
        while batch := _next(batches):
            await _put(client, _decoded(batch, done_lines + 1))
            done_lines += len(batch)
            done_bytes += sum(map(len, batch))
            show(done_bytes, size_bytes)
    write_line(f"{done_lines} lines were put")
    return SUCCESS


def _opened(file: Path, parts: ExitStack) -> tuple[BinaryIO, int]:
    """What to read, and how long it is; 0 if that isn't known."""
    if str(file) == "-":
        return sys.stdin.buffer, 0
    try:
        source = parts.enter_context(file.open("rb"))
        return source, os.fstat(source.fileno()).st_size
    except OSError as error:
        raise click.ClickException(f"{file} can't be read: {error.strerror}") from error


def _next(batches: Iterator[list[bytes]]) -> list[bytes] | None:
    """The next batch, None at the end. It may have to be waited for; nothing is under way meanwhile but this."""
    # asyncio has Ctrl-C wait for the loop to turn, which it does not.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return next(batches, None)
    finally:
        signal.signal(signal.SIGINT, handler)


def _batches(source: BinaryIO) -> Iterator[list[bytes]]:
    """All lines, some at a time."""
    batch: list[bytes] = []
    size_bytes = 0
    while line := _line(source):
        batch.append(line)
        size_bytes += len(line)
        if len(batch) == BATCH_LINES or size_bytes >= BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def _line(source: BinaryIO) -> bytes:
    try:
        return source.readline(MAX_LINE_BYTES)
    except OSError as error:
        raise click.ClickException(f"the lines can't be read: {error.strerror}") from error


def _decoded(batch: list[bytes], first_number: int) -> dict[bytes, tuple[int, bytes]]:
    """Line and value by key: of two lines with the same key the later one counts, and at once they have no order."""
    pairs = {}
    for number, line in enumerate(batch, first_number):
        if line.strip():
            key, value = _decoded_line(line, number, first_number)
            pairs[key] = number, value
    return pairs


def _decoded_line(line: bytes, number: int, first_number: int) -> tuple[bytes, bytes]:
    try:
        return decode_pair(line)
    except ValueError as error:
        done = f"those before {first_number} were put" if first_number > 1 else "nothing was put"
        raise click.ClickException(f"line {number}: {error}; {done}") from None


async def _put(client: "AsyncClient", pairs: dict[bytes, tuple[int, bytes]]) -> None:
    """Put all of them at once. Raises the error of the first line that failed, which it names."""
    puts = (client.put(key, value) for key, (_, value) in pairs.items())
    results = await asyncio.gather(*puts, return_exceptions=True)
    for (number, _), error in zip(pairs.values(), results, strict=True):
        if isinstance(error, RequestError):
            raise type(error)(f"line {number}: {error}") from None
        if error is not None:
            raise error
