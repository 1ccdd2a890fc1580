"""What tests of the leader share: leaders to begin with, and ways to look at what they send and know."""

from meteora.raft import Message, MessageKind, Settings
from meteora.raft.leader import Leader
from meteora.raft.progress import Progress
from tests.raft_network import Member, acknowledge, lead, lone_member


def leader_of(member: Member) -> Leader:
    role = member.raw._raft.role
    assert isinstance(role, Leader)
    return role


def progress_of(member: Member, peer: int) -> Progress:
    return leader_of(member).progress[peer]


def replicating_leader(**settings: int) -> Member:
    """A leader of three in term 1 whose opening entry everybody has."""
    member = lone_member(settings=Settings(**settings))
    lead(member)
    acknowledge(member, 2, 3)
    return member


def appends(messages: list[Message], peer: int) -> list[tuple[int, list[int]]]:
    """Of the appends to a peer, the place that they go to and the indexes that they bring."""
    return [
        (message.index, [entry.index for entry in message.entries])
        for message in messages
        if message.kind is MessageKind.APPEND and message.receiver == peer
    ]
