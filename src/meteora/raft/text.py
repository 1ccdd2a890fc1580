"""The one text form of entries and messages: in logs, scenarios, failing seeds and bug reports.

n1@2 → n3 Append base=7@1 [8@2 "x" 9@2] commit=7
"""

from meteora.raft.entry import Entry, EntryKind
from meteora.raft.errors import InvalidConfChange
from meteora.raft.membership import ChangeKind, ConfChange, Configuration, Transition, decode_conf_change
from meteora.raft.message import HardState, Message, MessageKind
from meteora.raft.snapshot import Snapshot

_SHOWN_DATA_BYTES = 32

_SIGNS = {ChangeKind.ADD_VOTER: "+", ChangeKind.REMOVE: "-", ChangeKind.ADD_LEARNER: "learner+"}


def _kind(kind: MessageKind) -> str:
    return kind.name.title().replace("_", "")


def data_text(data: bytes) -> str:
    """Bytes for people: quoted, cut short."""
    shown = data[:_SHOWN_DATA_BYTES].decode("latin-1").encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return f'"{shown}"' if len(data) <= _SHOWN_DATA_BYTES else f'"{shown}…" ({len(data)} bytes)'


def change_text(change: ConfChange) -> str:
    """`+n4`, `-n1 learner+n5 (joint implicit)`, `leave joint`."""
    if change.is_leave_joint:
        return "leave joint"
    parts = [f"{_SIGNS[kind]}n{node_id}" for kind, node_id in change.changes]
    if change.transition is not Transition.AUTO:
        parts.append(f"({change.transition.name.lower().replace('_', ' ')})")
    return " ".join(parts)


def entry_text(entry: Entry) -> str:
    """`8@2`, with its data if it has any."""
    name = f"{entry.index}@{entry.term}"
    if entry.kind is EntryKind.CONF_CHANGE:
        try:
            return f"{name} {change_text(decode_conf_change(entry.data))}"
        except InvalidConfChange as error:
            return f"{name} bad conf change ({error})"
    return f"{name} {data_text(entry.data)}" if entry.data else name


def message_text(message: Message) -> str:
    """A message in one line: only the fields that its kind has, and of those the ones that are set."""
    head = f"n{message.sender}@{message.term} → n{message.receiver} {_kind(message.kind)}"
    parts = [head, *(_PARTS[message.kind](message) if message.kind in _PARTS else ())]
    if message.context:
        parts.append(f"context={data_text(message.context)}")
    return " ".join(parts)


def _propose_parts(message: Message) -> list[str]:
    return [f"[{' '.join(data_text(entry.data) for entry in message.entries)}]"]


def _append_parts(message: Message) -> list[str]:
    entries = " ".join(entry_text(entry) for entry in message.entries)
    return [f"base={message.index}@{message.log_term}", f"[{entries}]", f"commit={message.commit}"]


def _append_response_parts(message: Message) -> list[str]:
    if message.reject:
        return [f"rejects {message.index}", f"hint={message.hint}@{message.log_term}"]
    return [f"matches {message.index}"]


def _vote_parts(message: Message) -> list[str]:
    return [f"last={message.index}@{message.log_term}", f"commit={message.commit}@{message.hint}"]


def _vote_response_parts(message: Message) -> list[str]:
    return ["refused", f"commit={message.commit}@{message.hint}"] if message.reject else ["granted"]


def _snapshot_parts(message: Message) -> list[str]:
    return [snapshot_text(message.snapshot)] if message.snapshot else []


def _index_parts(message: Message) -> list[str]:
    return [f"index={message.index}"]


def _heartbeat_parts(message: Message) -> list[str]:
    return [f"commit={message.commit}"]


_PARTS = {
    MessageKind.PROPOSE: _propose_parts,
    MessageKind.APPEND: _append_parts,
    MessageKind.APPEND_RESPONSE: _append_response_parts,
    MessageKind.VOTE: _vote_parts,
    MessageKind.PRE_VOTE: _vote_parts,
    MessageKind.VOTE_RESPONSE: _vote_response_parts,
    MessageKind.PRE_VOTE_RESPONSE: _vote_response_parts,
    MessageKind.HEARTBEAT: _heartbeat_parts,
    MessageKind.READ_INDEX_RESPONSE: _index_parts,
    MessageKind.TRANSFER_LEADER: _index_parts,
    MessageKind.SNAPSHOT: _snapshot_parts,
}


def hard_state_text(state: HardState) -> str:
    """`term=2 vote=1 commit=7`."""
    return f"term={state.term} vote={state.vote} commit={state.commit}"


def configuration_text(configuration: Configuration) -> str:
    """`voters=(1 2 3) outgoing=(1) learners=(4)`: only what is not empty."""
    parts = []
    for name in ("voters", "outgoing", "learners", "learners_next"):
        nodes = getattr(configuration, name)
        if nodes:
            parts.append(f"{name}=({' '.join(str(node) for node in sorted(nodes))})")
    return " ".join(parts) + (" auto-leave" if configuration.auto_leave else "")


def snapshot_text(snapshot: Snapshot) -> str:
    """`7@1 voters=(1 2 3)`."""
    return f"{snapshot.index}@{snapshot.term} {configuration_text(snapshot.configuration)}"
