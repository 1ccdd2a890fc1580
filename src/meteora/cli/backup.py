"""The commands for backups: one takes them from a running cluster, one makes a new cluster of them."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from meteora.cli.connection import with_client, with_options_of_client, write_line, write_output
from meteora.cli.exit_status import SUCCESS
from meteora.cli.files import replaced
from meteora.cli.help_text import examples
from meteora.cli.node_options import with_options_of
from meteora.cli.node_settings import checked
from meteora.cli.progress import progress
from meteora.config import NodeConfig
from meteora.errors import BackupDamaged

if TYPE_CHECKING:
    from meteora.client import Client
    from meteora.server.restoration import Read

_quiet = click.option("--quiet", "is_quiet", is_flag=True, help="No progress bar.")


@with_client
def _take(client: "Client", file: Path, serializable: bool, is_quiet: bool) -> int:
    if str(file) == "-":
        for part in client.backup(serializable=serializable):
            write_output(part.data)
        return SUCCESS
    with replaced(file) as target, progress("backing up", is_quiet=is_quiet) as show:
        for part in client.backup(serializable=serializable):
            target.write(part.data)
            show(part.records, part.estimated_records)
    write_line("OK")
    return SUCCESS


@click.command(
    epilog=examples(
        "meteora backup monday.backup",
        "meteora backup -a 10.0.0.2:5000 --serializable saved.backup",
        "meteora backup - | zstd > monday.backup.zst",
        "meteora backup --verify monday.backup",
    )
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--verify", "is_check", is_flag=True, help="Take none: read FILE, and say whether it is whole.")
@click.option(
    "--serializable",
    is_flag=True,
    help="Take what the node has, even if it can't reach the others: the newest writes may be missing.",
)
@_quiet
@with_options_of_client
def backup(file: Path, is_check: bool, is_quiet: bool, **options: Any) -> int:
    """Write all that is in a running cluster into FILE, as it is at one instant.

    Everything that was acknowledged before is in it. The cluster goes on meanwhile. FILE is written beside its place
    and moved there once it is whole and on disk, readable by its owner alone; one that is there is replaced. With - it
    goes to stdout.
    """
    if is_check:
        _write_read("whole", _verified(file, is_quiet))
        return SUCCESS
    return _take(file=file, is_quiet=is_quiet, **options)


@click.command(epilog=examples("meteora restore monday.backup -d /tmp/meteora/1/data"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@with_options_of("node_id", "data_directory", "address", "raft_port", "kv_port", "advertise_address")
@_quiet
def restore(*, file: Path, is_quiet: bool, **settings: Any) -> int:
    """Make the data directory of a new cluster's first node of the backup in FILE.

    The node isn't started: `meteora start` with the same -i and -d does that, and others join it with -p. With - the
    backup comes from stdin.
    """
    from meteora.server.file_handles import raise_limit  # noqa: PLC0415  takes long to load
    from meteora.server.restoration import restore_backup  # noqa: PLC0415  likewise

    raise_limit()
    config = checked(NodeConfig(**settings))
    with _opened(file) as (source, size_bytes), progress("restoring", is_quiet=is_quiet) as show:
        read = restore_backup(
            source,
            config.data_directory,
            node_id=config.node_id,
            kv_address=config.kv_address,
            raft_address=config.raft_address,
            tell=lambda position: show(position, size_bytes),
        )
    _write_read("restored", read)
    write_line(f"Start it with: meteora start -i {config.node_id} -d {config.data_directory}; others join with -p.")
    return SUCCESS


def _verified(file: Path, is_quiet: bool) -> "Read":
    from meteora.server.restoration import verify_backup  # noqa: PLC0415  takes long to load

    with _opened(file) as (source, size_bytes), progress("reading", is_quiet=is_quiet) as show:
        return verify_backup(source, lambda position: show(position, size_bytes))


def _write_read(what: str, read: "Read") -> None:
    header, summary, members = read
    known = ", ".join(f"{each} at {member.raft_address}" for each, member in members.by_id.items())
    write_line(
        f"{what}: {summary.records} records as of entry {summary.index} of term {summary.term}; taken "
        f"{header.created_at} by node {header.node_id} of cluster {header.cluster_id}, release {header.release}, with "
        f"the members {known}"
    )


@contextmanager
def _opened(file: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The backup to read, and how long it is; 0 if that isn't known. Errors of it name it."""
    try:
        if str(file) == "-":
            yield sys.stdin.buffer, 0
        else:
            with file.open("rb") as source:
                yield source, os.fstat(source.fileno()).st_size
    except BackupDamaged as error:
        raise BackupDamaged(f"{file} can't be used as a backup: {error}") from None
    except OSError as error:
        raise click.ClickException(f"{file} can't be read: {error.strerror}") from error
