"""The alarm for replicas that part: members tell one another what their states are, and the odd one out stops.

Applying the same log gives the same state, whatever the machine. If it does not (a bug, or memory that lies), members
answer the same read differently, and nothing else would ever notice.

Once a second each member sends its newest checkpoints (`meteora.kv.rolling_hash`) to all others. Each judges itself
alone, by what it was told, so nobody can be stopped by another one's mistake:

- If a majority of the voters agree on another checksum than its own, it stops.
- If all voters have spoken, and no majority agrees on any, those who differ from the leader stop: with two voters, the
  follower.
- Else it says what it sees, and waits for the others.

What was told never becomes wrong, because a state at one index does not change; so loss, delay and repetition do no
harm, and no term or time goes into it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from meteora.errors import StateDiverged
from meteora.kv.rolling_hash import Checkpoint, decode_checkpoints
from meteora.observability.logs import get_logger
from meteora.raft.membership import Configuration

REPORT_SECONDS: Final = 1.0
"""Between two reports: of less than 700 bytes, to each of the others."""

_log = get_logger("node")


class DivergenceAlarm:
    """What one member was told of the states of the others."""

    def __init__(self, node_id: int) -> None:
        self._node_id = node_id
        self._due_at = 0.0
        self._heard: dict[int, dict[tuple[int, int], int]] = {}
        """By member: checksums by index and begin of the chain, as last told."""
        self._differing: set[int] = set()
        """The members of which it was logged."""

    @property
    def differing(self) -> frozenset[int]:
        """The members whose states were seen to differ from this one."""
        return frozenset(self._differing)

    def is_due(self, now: float) -> bool:
        """Whether it is time to report and to compare; if so, it is not for a while. `now` in seconds."""
        if now < self._due_at:
            return False
        self._due_at = now + REPORT_SECONDS
        return True

    def heard(self, member: int, report: bytes) -> None:
        """A member has sent its checkpoints."""
        self._heard[member] = {(index, begun_at): checksum for index, begun_at, checksum in decode_checkpoints(report)}

    def compare(self, own: Sequence[Checkpoint], configuration: Configuration, leader_id: int) -> None:
        """Compare what is known of the members' states with this node's own.

        Raises `StateDiverged` if this node is the odd one out.
        """
        self._heard = {each: told for each, told in self._heard.items() if each in configuration.members}
        self._differing &= self._heard.keys()
        for index, begun_at, checksum in own:
            told = {each: known[index, begun_at] for each, known in self._heard.items() if (index, begun_at) in known}
            if any(other != checksum for other in told.values()):
                self._tell(index, checksum, told)
                self._judge(index, {**told, self._node_id: checksum}, configuration, leader_id)

    def _tell(self, index: int, checksum: int, told: Mapping[int, int]) -> None:
        for member, other in told.items():
            if other != checksum and member not in self._differing:
                self._differing.add(member)
                _log.error(
                    "another member's state differs from that of this node: one of them has not done what the log says",
                    member=member,
                    index=index,
                    checksum=f"{checksum:08x}",
                    checksum_of_member=f"{other:08x}",
                )

    def _judge(self, index: int, checksums: Mapping[int, int], configuration: Configuration, leader_id: int) -> None:
        right = _right_checksum(checksums, configuration, leader_id)
        if right is not None and right != checksums[self._node_id]:
            raise StateDiverged(
                f"the state of this node differs from that of the others at index {index}: its checksum is "
                f"{checksums[self._node_id]:08x}, theirs is {right:08x}. It must not serve any more. Keep a copy of "
                f"its data directory, to find out why; remove node {self._node_id} from the cluster, and let it join "
                "again with an empty data directory. If there is no majority without it, make a new cluster of another "
                "member first: meteora recover --force-new-cluster"
            )


def _right_checksum(checksums: Mapping[int, int], configuration: Configuration, leader_id: int) -> int | None:
    """What counts as right of what the members have at one index; None if that can't be told yet."""
    for checksum in set(checksums.values()):
        if configuration.has_majority([each for each, has in checksums.items() if has == checksum]):
            return checksum
    # Whoever leads speaks for the cluster if all are known and no majority can come any more.
    return checksums.get(leader_id) if configuration.all_voters <= checksums.keys() else None
