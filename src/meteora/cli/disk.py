"""The commands for the disk of a node that is stopped: one looks at it, one makes a new cluster of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from meteora.cli.connection import write_line
from meteora.cli.exit_status import FAILED, SUCCESS
from meteora.cli.help_text import examples
from meteora.cli.parameters import DataLocation

if TYPE_CHECKING:
    from meteora.server.new_cluster import Prospect

_of_data_directory: Final[Callable[[Callable[..., Any]], Callable[..., Any]]] = click.option(
    "-d",
    "--data-directory",
    metavar="DIRECTORY",
    type=DataLocation(path_type=Path, file_okay=False),
    default=Path("./data"),
    envvar="METEORA_DATA_DIRECTORY",
    show_default=True,
    show_envvar=True,
    help="Where the node keeps its data.",
)


@click.command(epilog=examples("meteora verify -d /tmp/meteora/1/data"))
@_of_data_directory
def verify(data_directory: Path) -> int:
    """Read all that a stopped node has on disk, and say what is wrong.

    One line for each damage, with its file, index or key; then one with what was read. The exit status is 0 if all is
    whole, and 1 if anything is damaged. Nothing is changed.
    """
    from meteora.server.file_handles import raise_limit  # noqa: PLC0415  takes long to load
    from meteora.server.verification import verify as read_all  # noqa: PLC0415  likewise

    raise_limit()
    read = read_all(data_directory, write_line)
    what = f"{read.entries} entries, {read.keys} keys and {read.sessions} sessions are readable"
    write_line(f"{what}: {'all is whole' if not read.damages else f'{read.damages} damages'}")
    return FAILED if read.damages else SUCCESS


@click.command(epilog=examples("meteora recover --force-new-cluster -d /tmp/meteora/3/data"))
@click.option(
    "--force-new-cluster",
    is_flag=True,
    required=True,
    help="Make a new cluster of this node alone. There is no other way to recover; it is asked for by name.",
)
@_of_data_directory
@click.option("--yes", "is_agreed", is_flag=True, help="Do not ask.")
def recover(force_new_cluster: bool, data_directory: Path, is_agreed: bool) -> int:  # noqa: ARG001  asked for by name
    """Make a new cluster of one stopped node, when a majority of its cluster is lost for good.

    Says what will be done and what may be lost, and asks. What only the lost members had is lost. Choose the node whose
    last entry is of the highest term, and of those with the same term the one whose log ends last, by what this says of
    each; copy its directory first.
    """
    from meteora.server.file_handles import raise_limit  # noqa: PLC0415  takes long to load
    from meteora.server.new_cluster import opened  # noqa: PLC0415  likewise

    raise_limit()
    with opened(data_directory) as new_cluster:
        for line in _warnings(new_cluster.prospect, data_directory):
            write_line(line)
        if not (is_agreed or _agrees()):
            raise click.ClickException("nothing was changed")
        cluster_id = new_cluster.make()
        node_id = new_cluster.prospect.node_id
    write_line(
        f"Node {node_id} is cluster {cluster_id:016x} by itself: start it as before; others join with -p and an "
        "empty directory."
    )
    return SUCCESS


def _agrees() -> bool:
    try:
        return click.confirm("Make a new cluster of this node?")
    except click.Abort:
        return False


def _warnings(prospect: "Prospect", data_directory: Path) -> Iterator[str]:
    """What is to be known before."""
    node_id, commit_index, last_index = prospect.node_id, prospect.commit_index, prospect.last_index
    if prospect.was_begun:
        yield f"This was begun before, and is gone on with: node {node_id} in {data_directory} becomes a new cluster."
        yield from _divergence_in(prospect)
        return
    yield f"Node {node_id} in {data_directory}, a member of cluster {prospect.cluster_id:016x}, becomes a new cluster."
    yield (
        f"- Its log ends at entry {last_index}, of term {prospect.last_term}. What only others have is lost, even if "
        "it was acknowledged: choose the node that ends in the highest term, and of those the one that ends last."
    )
    if last_index > commit_index:
        yield (
            f"- Entries {commit_index + 1} to {last_index} are not known to be committed. They are taken all the same: "
            "they may never have been acknowledged, and the others may have agreed on something else in their place."
        )
    yield from _divergence_in(prospect)
    for member_id, member in sorted(prospect.given_up.items()):
        yield f"- Node {member_id} at {member.raft_address} is given up; it can only join with an empty directory."
    yield (
        "- The new cluster has another id: neither takes anything from the other. If a majority of the old one is "
        "alive after all, there will be two clusters, and clients may use both. Stop it for good first."
    )
    yield "- It can't be undone, but by putting back a copy of the directory."


def _divergence_in(prospect: "Prospect") -> Iterator[str]:
    if prospect.divergence:
        yield f"- It was found to have gone its own way, and is taken as it is: {prospect.divergence}"
