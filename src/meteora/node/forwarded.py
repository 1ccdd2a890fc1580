"""What followers have proposed, on its way into the log of this leader.

Rule: nothing of it is appended that could not be applied, because it would stop every replica (`meteora.kv.proposals`).
It is dropped, with a line in the log; who sent it sends it again, and tells its client that the outcome is unknown.
"""

from collections.abc import Callable

from meteora.kv.proposals import refusal_of
from meteora.observability.logs import OnceLog, get_logger
from meteora.raft import Entry, EntryKind, Message

MAX_FORWARDED_BYTES = 64 << 20
"""Of proposals that followers sent and that wait to be appended; beyond, they are dropped, and sent again by them."""

TOLD_AGAIN_SECONDS = 60.0
"""Between two lines about one member whose proposals are refused."""

_log = get_logger("node")


class ForwardedProposals:
    """Those that wait."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` in seconds, from anywhere."""
        self.waiting: list[bytes] = []
        """Batches of commands, oldest first."""
        self._bytes = 0
        self._refusals = OnceLog(_log, again_after_seconds=TOLD_AGAIN_SECONDS, clock=clock)

    def add(self, message: Message, level: int) -> None:
        """A follower has sent these. `level` is the feature level of the cluster."""
        for entry in message.entries:
            size_bytes = len(entry.data)
            if self._bytes + size_bytes <= MAX_FORWARDED_BYTES and self._is_applicable(entry, message.sender, level):
                self.waiting.append(entry.data)
                self._bytes += size_bytes

    def take(self) -> list[bytes]:
        """All that wait; none do any more."""
        taken, self.waiting, self._bytes = self.waiting, [], 0
        return taken

    def _is_applicable(self, entry: Entry, sender: int, level: int) -> bool:
        is_command = entry.kind is EntryKind.COMMAND
        refusal = refusal_of(entry.data, level) if is_command else f"only a leader proposes a {entry.kind.name}"
        if refusal:
            self._refusals.warning("a proposal is refused that can't be applied", sender, member=sender, reason=refusal)
        return not refusal
