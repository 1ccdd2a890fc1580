"""The keys and records of the `kv/` database, and what of it is kept in memory.

"k" key        ->  value
"s" client id  ->  the client's session
"u" ...        ->  users, roles and tokens (see `meteora.kv.users`)
"m" name       ->  applied, membership, rolling hash, sessions, feature level
"""

import struct
from pathlib import Path
from typing import Final, NamedTuple

from meteora.errors import Corruption
from meteora.features import ensure_supported
from meteora.kv.rolling_hash import RollingHash, decode_rolling_hash
from meteora.kv.sessions import Sessions, decode_session
from meteora.kv.users import USERS_PREFIX, Users
from meteora.storage.rocks import CORRUPTION_ADVICE, KEY_VALUE, Rocks, TableWriter

FORMAT_VERSION: Final = 2
"""Of the applied index. 1 while the feature level is 0: releases that know no other level stop at 2."""

USER_PREFIX: Final = b"k"
APPLIED_KEY: Final = b"mapplied"
MEMBERSHIP_KEY: Final = b"mmembership"
ROLLING_HASH_KEY: Final = b"mhash"
SESSIONS_DROPPED_KEY: Final = b"msessions"
LEVEL_KEY: Final = b"mlevel"

END: Final = b"\xff"
"""Above every key."""

_SESSION_PREFIX: Final = b"s"

_POSITION: Final = struct.Struct(">BQQ")
_CLIENT_ID: Final = struct.Struct(">Q")


class State(NamedTuple):
    """A database, and what is kept in memory of it."""

    path: Path
    database: Rocks
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a state
    """Of the entry that was applied last."""
    term: int
    membership: bytes
    sessions: Sessions
    rolling_hash: RollingHash
    level: int
    """The feature level of the cluster at that index."""
    users: Users


def new_database(path: Path) -> Rocks:
    """The database of a state, made if it isn't there. Raises `Corruption`, `DiskFull` or `DiskFailure`."""
    return Rocks(path, KEY_VALUE)


def new_table(path: Path) -> TableWriter:
    """A table for such databases. Raises `DiskFull` or `DiskFailure`."""
    return TableWriter(path, KEY_VALUE)


def load_state(path: Path, database: Rocks) -> State:
    """The state in a database. Raises `Corruption`, `DiskFailure`, or `ReleaseTooOld`."""
    level = decode_level(path, database.get(LEVEL_KEY))
    index, term = decode_position(path, database.get(APPLIED_KEY))
    membership = database.get(MEMBERSHIP_KEY) or b""
    rolling_hash = decode_rolling_hash(database.get(ROLLING_HASH_KEY), index)
    return State(
        path,
        database,
        index,
        term,
        membership,
        _load_sessions(path, database),
        rolling_hash,
        level,
        _load_users(path, database),
    )


def session_key(client_id: int) -> bytes:
    """Where a client's session is."""
    return _SESSION_PREFIX + _CLIENT_ID.pack(client_id)


def encode_position(index: int, term: int, level: int = 0) -> bytes:
    """The record under `APPLIED_KEY`, in a state at this feature level."""
    return _POSITION.pack(FORMAT_VERSION if level else 1, index, term)


def decode_position(path: Path, record: bytes | None) -> tuple[int, int]:
    """The applied (index, term) in a record; (0, 0) if there is none. Raises `Corruption` that names `path`."""
    if record is None:
        return 0, 0
    if len(record) != _POSITION.size or not 1 <= record[0] <= FORMAT_VERSION:
        raise Corruption(f"{path}: {record.hex()} is not an applied index. {CORRUPTION_ADVICE}")
    _, index, term = _POSITION.unpack(record)
    return index, term


def _load_users(path: Path, database: Rocks) -> Users:
    pairs = list(database.scan(USERS_PREFIX, bytes([USERS_PREFIX[0] + 1])))
    try:
        return Users().load(pairs)
    except Corruption as error:
        raise Corruption(f"{path}: {error}. {CORRUPTION_ADVICE}") from error


def encode_level(level: int) -> bytes:
    """The record under `LEVEL_KEY`."""
    return bytes([level])


def decode_level(path: Path, record: bytes | None) -> int:
    """The feature level in a record; 0 if there is none. Raises `Corruption`, or `ReleaseTooOld` that names `path`."""
    if record is None:
        return 0
    if len(record) != 1:
        raise Corruption(f"{path}: {record.hex()} is not a feature level. {CORRUPTION_ADVICE}")
    ensure_supported(record[0], str(path))
    return record[0]


def _load_sessions(path: Path, database: Rocks) -> Sessions:
    ever_dropped = database.get(SESSIONS_DROPPED_KEY) is not None
    pairs = database.scan(_SESSION_PREFIX, _SESSION_PREFIX + b"\xff" * (_CLIENT_ID.size + 1))
    try:
        stored = [(_CLIENT_ID.unpack(key[1:])[0], decode_session(record)) for key, record in pairs]
    except (Corruption, struct.error) as error:
        raise Corruption(f"{path}: {error}. {CORRUPTION_ADVICE}") from error
    return Sessions(stored, ever_dropped=ever_dropped)
