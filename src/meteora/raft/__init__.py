"""Raft as a pure state machine: events in, one `Ready` out.

This room imports nothing but its own modules and plain data from the standard library: no clock, no randomness, no
sockets, no threads. It follows Ongaro's thesis and, where that leaves a choice, etcd-io/raft. Read `raw_node` for the
door, `core` for the rules, then `follower`, `candidate` and `leader`.
"""

from meteora.raft.core import Settings
from meteora.raft.entry import Entry, EntryKind, decode_entry
from meteora.raft.membership import Change, ChangeKind, ConfChange, Configuration, Transition, decode_conf_change
from meteora.raft.message import HardState, Message, MessageKind
from meteora.raft.raw_node import PeerStatus, RawNode, RoleName, Status
from meteora.raft.reads import ReadState
from meteora.raft.ready import Fetch, Persist, Ready
from meteora.raft.snapshot import Snapshot

__all__ = [
    "Change",
    "ChangeKind",
    "ConfChange",
    "Configuration",
    "Entry",
    "EntryKind",
    "Fetch",
    "HardState",
    "Message",
    "MessageKind",
    "PeerStatus",
    "Persist",
    "RawNode",
    "ReadState",
    "Ready",
    "RoleName",
    "Settings",
    "Snapshot",
    "Status",
    "Transition",
    "decode_conf_change",
    "decode_entry",
]
