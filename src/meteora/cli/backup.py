"""The commands for backups: one takes them from a running cluster, one makes a new cluster of them."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from meteora.cli.connection import with_client, write_line, write_output
from meteora.cli.exit_status import SUCCESS
from meteora.cli.files import replaced
from meteora.cli.help_text import examples
from meteora.cli.parameters import node_id, port
from meteora.cli.progress import progress
from meteora.config import NodeConfig
from meteora.errors import BackupDamaged

if TYPE_CHECKING:
    from meteora.client import Client
    from meteora.server.restoration import Read

_DEFAULTS = NodeConfig()

_quiet = click.option("--quiet", "is_quiet", is_flag=True, help="No progress bar.")


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
@with_client
def backup(client: "Client", file: Path, is_check: bool, serializable: bool, is_quiet: bool) -> int:
    """Write all that is in a running cluster into FILE, as it is at one instant.

    Everything that was acknowledged before is in it. The cluster goes on meanwhile. FILE is written beside its place
    and moved there once it is whole and on disk, readable by its owner alone; one that is there is replaced. With - it
    goes to stdout.
    """
    if is_check:
        _write_read("whole", _verified(file, is_quiet))
        return SUCCESS
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


@click.command(epilog=examples("meteora restore monday.backup -d /tmp/meteora/1/data"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "-d",
    "--data-directory",
    metavar="DIRECTORY",
    type=click.Path(path_type=Path, file_okay=False),
    default=_DEFAULTS.data_directory,
    envvar="METEORA_DATA_DIRECTORY",
    show_default=True,
    help="Where the node will keep its data; empty, or not there.",
)
@click.option(
    "-i",
    "--id",
    "node_id",
    metavar="ID",
    type=node_id,
    default=_DEFAULTS.node_id,
    envvar="METEORA_ID",
    show_default=True,
    help="The node's number.",
)
@click.option(
    "-a",
    "--address",
    metavar="HOST",
    default=_DEFAULTS.address,
    envvar=["METEORA_ADVERTISE_ADDRESS", "METEORA_ADDRESS"],
    show_default=True,
    help="Host that others will find it at.",
)
@click.option(
    "-r",
    "--raft-port",
    metavar="PORT",
    type=port,
    default=_DEFAULTS.raft_port,
    envvar="METEORA_RAFT_PORT",
    show_default=True,
    help="Port that other nodes will connect to.",
)
@click.option(
    "-k",
    "--kv-port",
    metavar="PORT",
    type=port,
    default=_DEFAULTS.kv_port,
    envvar="METEORA_KV_PORT",
    show_default=True,
    help="Port that clients will connect to.",
)
@_quiet
def restore(
    *, file: Path, data_directory: Path, node_id: int, address: str, raft_port: int, kv_port: int, is_quiet: bool
) -> int:
    """Make the data directory of a new cluster's first node of the backup in FILE.

    The node isn't started: `meteora start` with the same -i and -d does that, and others join it with -p. With - the
    backup comes from stdin.
    """
    from meteora.server.restoration import restore_backup  # noqa: PLC0415  takes long to load

    with _opened(file) as (source, size_bytes), progress("restoring", is_quiet=is_quiet) as show:
        read = restore_backup(
            source,
            data_directory,
            node_id=node_id,
            kv_address=f"{address}:{kv_port}",
            raft_address=f"{address}:{raft_port}",
            tell=lambda position: show(position, size_bytes),
        )
    _write_read("restored", read)
    write_line(f"Start it with: meteora start -i {node_id} -d {data_directory}; others join with -p.")
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
