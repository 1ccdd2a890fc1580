"""What can go wrong inside the core.

RaftError
├── InvariantViolation   a bug, or corrupt state: the node must stop
├── CorruptEntry         bytes that are not an entry, or not any more
├── Compacted            asked for log that was cut off
├── ProposalDropped      not appended, certainly: propose again, here or at the leader
└── InvalidConfChange    a change of membership that makes no sense in this configuration
└── ChangePending    not now: the change before it is not applied yet
"""


class RaftError(Exception):
    """Base of all errors of the core."""


class InvariantViolation(RaftError):
    """Something that can't be true is: going on could part the replicas, so the node stops."""


class CorruptEntry(RaftError):
    """Bytes that should be a log entry fail their checksum or can't be read."""


class Compacted(RaftError):
    """The entry asked for lies below the first index of the log."""


class ProposalDropped(RaftError):
    """The proposal was not appended to any log: there is no leader, or it takes none now."""


class InvalidConfChange(RaftError):
    """A membership change that can't be made from the current configuration."""


class ChangePending(InvalidConfChange):
    """Another membership change may be under way: try again once it is applied."""


def ensure(condition: bool, message: str) -> None:
    """Raise `InvariantViolation(message)` unless the condition holds. Stays on under `python -O`."""
    if not condition:
        raise InvariantViolation(message)
