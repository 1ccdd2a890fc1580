"""Every error that Meteora raises on purpose, in one tree.

    MeteoraError
    ├── ConfigurationError      an option makes no sense; the message names it
    ├── StartupError            the node can't start; no data was changed
    │   ├── AddressInUse        another process listens there
    │   ├── DataDirectoryError  not writable, in use, foreign, newer, or of a removed node
    │   └── JoinRefused         the cluster doesn't take this node, and says why
    ├── InternalError           a bug: something that must hold does not; the node stops
    ├── StorageError            the disk, or what is on it
    │   ├── DiskFailure         an I/O error: the node stops, its data stays
    │   ├── DiskFull            no space: likewise
    │   └── Corruption          a checksum does not match, or bytes make no sense: likewise
    ├── ReleaseTooOld           the cluster does what this release does not know: the node stops, its data stays
    ├── StateDiverged           this node's state is not what the others have at the same index: the node stops
    ├── SnapshotDamaged         a snapshot that was sent here can't be used; nothing was changed, ask for another
    ├── BackupDamaged           a backup file can't be used; nothing was made of it
    └── RequestError            one request failed; the message says what is known of its fate
        ├── InvalidRequest      outside the limits: refused, nothing was done
        ├── Overloaded          a bounded queue is full: nothing was done
        ├── NoRoom              a member can't store any more: nothing was done, make room
        ├── NotApplied          no leader took it in time: nothing was done, certainly
        ├── OutcomeUnknown      a write was handed on and never answered: it may or may not be applied
        ├── Unauthenticated     who asks is not known: nothing was done, log in
        ├── PermissionDenied    who asks is known, and may not do that: nothing was done
        └── ChangeRefused       a change, as of members or of the leader, that can't be made now, with the reason

The core has its own small tree in `meteora.raft.errors`, because it imports nothing. Messages are for users: what
happened, then what to do about it.
"""


class MeteoraError(Exception):
    """Base of all errors of Meteora outside the core."""


class ConfigurationError(MeteoraError):
    """An option, or a combination of options, that can't be used."""


class StartupError(MeteoraError):
    """The node can't start. No data was changed."""


class AddressInUse(StartupError):
    """The address to listen on can't be bound."""


class DataDirectoryError(StartupError):
    """The data directory can't be used by this node."""


class JoinRefused(StartupError):
    """The cluster refuses this node for good: asking again won't help."""


class StorageError(MeteoraError):
    """The disk, or what is on it, can't be trusted any more. The process must stop."""


class DiskFailure(StorageError):
    """Reading, writing or syncing failed. A failed fsync is never tried again: the page cache may lie by then."""


class DiskFull(StorageError):
    """No space left on the device."""


class Corruption(StorageError):
    """Stored bytes fail their checksum or make no sense."""


class ReleaseTooOld(MeteoraError):
    """What is on this disk, or in the cluster's log, is of a later release than this one. The process must stop."""


class StateDiverged(MeteoraError):
    """The state of this node differs from what the other members have, by the same log. The process must stop."""


class SnapshotDamaged(MeteoraError):
    """A snapshot that another node sent can't be used. Nothing was changed: another one may be asked for."""


class BackupDamaged(MeteoraError):
    """A file is no backup, or is not whole. Nothing was made of it."""


class InternalError(MeteoraError):
    """Something that must hold does not. The process must stop, so that no replica goes its own way."""


class RequestError(MeteoraError):
    """One request failed."""


class InvalidRequest(RequestError):
    """The request is outside the limits; the message says which."""


class Overloaded(RequestError):
    """Too much is queued already. Nothing was done; try again later."""


NO_ROOM = "no room for more"
"""What the message of `NoRoom` begins with, also on the wire: clients tell it by that from other exhausted things."""


class NoRoom(RequestError):
    """A member is at its quota, or its disk is nearly full: puts are refused until there is room. Nothing was done."""


class NotApplied(RequestError):
    """No leader took the request within the deadline. Nothing was done; trying again is safe."""


class OutcomeUnknown(RequestError):
    """A write was handed on, and no answer came in time. It may have been, or yet be, applied."""


class Unauthenticated(RequestError):
    """Who asks has not logged in, or with a wrong name or password, or the token is not valid any more."""


class PermissionDenied(RequestError):
    """Who asks may not do that; the message says what is missing."""


class ChangeRefused(RequestError):
    """A change that can't be made now, as of the members or of the leader; the message says why."""
