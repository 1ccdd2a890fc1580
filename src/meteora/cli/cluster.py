"""The commands that look at the members of a cluster and change them."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from meteora.cli.connection import with_client, write_line
from meteora.cli.exit_status import SUCCESS, UNAVAILABLE
from meteora.cli.help_text import examples
from meteora.cli.parameters import node_id

if TYPE_CHECKING:
    from meteora.client import Client, ClusterStatus, MemberStatus

_COLUMNS = ("ID", "ROLE", "KV ADDRESS", "RAFT ADDRESS", "TERM", "APPLIED", "COMMIT", "RELEASE")


@click.command(epilog=examples("meteora status", "meteora status -a 10.0.0.1:5000,10.0.0.2:5000 -o json"))
@click.option(
    "-o",
    "--output",
    "output_format",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="For people, or for programs.",
)
@with_client
def status(client: "Client", output_format: str) -> int:
    """Show the members, and how far each has come.

    What stands beside a member is what that node itself says; one that does not answer is shown as unreachable. The
    exit status is 3 if no node answers, or no leader is known.
    """
    cluster = client.status()
    write_line(as_table(cluster) if output_format == "table" else json.dumps(as_json(cluster), indent=2))
    return SUCCESS if cluster.leader_id is not None else UNAVAILABLE


@click.command(epilog=examples("meteora leave -i 3"))
@click.option("-i", "--id", "node_id", metavar="ID", type=node_id, required=True, help="The node to remove.")
@click.option(
    "--force", is_flag=True, help="Even if too few of those who stay are heard to be a majority: nothing works then."
)
@with_client
def leave(client: "Client", node_id: int, force: bool) -> int:
    """Remove a node from its cluster.

    The node may be down. To remove a node when it is stopped, see `meteora start --enable-auto-leaving`.
    """
    if not client.leave(node_id, force=force):
        raise click.ClickException(f"node {node_id} is not a member of the cluster")
    write_line("OK")
    return SUCCESS


@click.command("add-member", epilog=examples("meteora add-member -i 4 10.0.0.4:7000"))
@click.option("-i", "--id", "node_id", metavar="ID", type=node_id, required=True, help="The node that is to join.")
@click.argument("raft_address")
@with_client
def add_member(client: "Client", node_id: int, raft_address: str) -> int:
    """Announce a node at RAFT_ADDRESS, so that it may join.

    Only once users are enabled, and if peers have no certificates, must a node be announced. Start it with
    --peer-raft-address afterwards.
    """
    client.add_member(node_id, raft_address)
    write_line("OK")
    return SUCCESS


@click.command(epilog=examples("meteora transfer -i 2"))
@click.option("-i", "--id", "node_id", metavar="ID", type=node_id, required=True, help="The node that is to lead.")
@with_client
def transfer(client: "Client", node_id: int) -> int:
    """Let another node lead.

    Prints OK once it does, or if it does already. It must be a voter that the leader hears; writes wait until it has
    taken over, which usually takes some milliseconds.
    """
    client.transfer(node_id)
    write_line("OK")
    return SUCCESS


def as_table(cluster: "ClusterStatus") -> str:
    """`cluster` for people."""
    rows = [_COLUMNS, *map(_row, cluster.members)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_aligned(row, widths) for row in rows]
    if cluster.leader_id is None:
        lines.append("No leader is known: nothing can be read or written.")
    elif any(member.node_id == cluster.leader_id and member.progress is None for member in cluster.members):
        lines.append(f"Node {cluster.leader_id} leads, say the others.")
    if cluster.older_members:
        lines.append(f"Feature level {cluster.level}, until all members run a later release: {cluster.older_members}.")
    lines.extend(f"Puts are refused: {alarm}." for alarm in cluster.alarms)
    lines.extend(
        f"The state of node {other} differs from that of node {member.node_id}: see their logs."
        for member in cluster.members
        if member.progress is not None
        for other in member.progress.differing
    )
    return "\n".join(lines)


def _row(member: "MemberStatus") -> tuple[str, ...]:
    progress = member.progress
    known = (str(member.node_id), member.role, member.kv_address, member.raft_address)
    if progress is None:
        return (*known, "-", "-", "-", "-")
    numbers = (progress.term, progress.applied_index, progress.commit_index)
    return (*known, *map(str, numbers), progress.version)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def as_json(cluster: "ClusterStatus") -> dict[str, Any]:
    """`cluster` for programs: always with all fields; the numbers of a node that did not answer are null."""
    return {
        "cluster_id": cluster.cluster_id,
        "leader_id": cluster.leader_id,
        "level": cluster.level,
        "older_members": cluster.older_members,
        "alarms": cluster.alarms,
        "members": [_member_as_json(member) for member in cluster.members],
    }


def _member_as_json(member: "MemberStatus") -> dict[str, Any]:
    progress, room = member.progress, member.room
    return {
        "id": member.node_id,
        "role": member.role,
        "voter": member.is_voter,
        "kv_address": member.kv_address,
        "raft_address": member.raft_address,
        "reachable": progress is not None,
        "term": progress and progress.term,
        "commit_index": progress and progress.commit_index,
        "applied_index": progress and progress.applied_index,
        "last_index": progress and progress.last_index,
        "version": progress and progress.version,
        "level": progress and progress.level,
        "differing": progress and progress.differing,
        "stored_bytes": room and room.stored_bytes,
        "quota_bytes": room and room.quota_bytes,
        "free_bytes": room and room.free_bytes,
        "min_free_bytes": room and room.min_free_bytes,
    }
