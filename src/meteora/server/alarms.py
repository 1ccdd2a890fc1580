"""What is wrong with a cluster, as far as one node sees it.

An alarm is a function in `ALARMS`: it is given what is known at one moment, and gives a sentence for each thing that is
wrong. To add one, write it and list it there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from meteora.node import Node
from meteora.node.log_write import SLOW_DISK_SECONDS
from meteora.server.recent import Sample

LAG_ENTRIES: Final = 1_000
"""Fewer are on their way, or about to be."""

LAG_SAMPLES: Final = 5
"""For so many a lag has grown before it is told."""

SLOW_DISK_SAMPLES: Final = 15
"""For so many a slow write is told: half a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one node knows at one moment."""

    node: Node
    unreachable: Mapping[int, str]
    """The members that this node doesn't reach, and what is known of why."""
    samples: Sequence[Sample]
    """Oldest first."""


def no_leader(view: View) -> Iterator[str]:
    """Nothing can be read or written."""
    if not view.node.leader_id:
        yield "No leader is known: a majority of the voters can't be reached, or an election is under way."


def unreachable_members(view: View) -> Iterator[str]:
    """The cluster goes on, with less to spare."""
    for member, why in sorted(view.unreachable.items()):
        yield f"Node {member} {why}."


def differing_states(view: View) -> Iterator[str]:
    """A bug, or memory that lies."""
    for member in sorted(view.node.differing):
        yield f"The state of node {member} differs from that of this node: see the log of both."


def growing_lags(view: View) -> Iterator[str]:
    """Somebody is too slow for what is written."""
    last = view.samples[-LAG_SAMPLES:]
    if len(last) < LAG_SAMPLES:
        return
    for member, lag in last[-1].lags.items():
        then = [sample.lags.get(member) for sample in last]
        known = [each for each in then if each is not None]
        if lag > LAG_ENTRIES and len(known) == LAG_SAMPLES and known[0] < lag and known == sorted(known):
            yield f"Node {member} falls behind: it lacks {lag:,} entries, and ever more."


def slow_disk(view: View) -> Iterator[str]:
    """Every write waits for the log."""
    slowest = max((sample.slowest_disk for sample in view.samples[-SLOW_DISK_SAMPLES:]), default=0.0)
    seconds = max(slowest, view.node.log_write_seconds)
    if seconds > SLOW_DISK_SECONDS:
        yield f"The disk of this node is slow: a write to the log took up to {seconds:.1f} s in the last half minute."


def no_room(view: View) -> Iterator[str]:
    """Puts are refused, on all members, until there is room again."""
    for alarm in view.node.alarms:
        yield f"Puts are refused: {alarm.message}."


ALARMS: Final[Sequence[Callable[[View], Iterator[str]]]] = (
    no_leader,
    unreachable_members,
    differing_states,
    growing_lags,
    slow_disk,
    no_room,
)
"""In the order in which they are shown."""


def alarms(view: View) -> list[str]:
    """All that is wrong."""
    return [text for alarm in ALARMS for text in alarm(view)]
