"""Checks the state of a stopped node: every table of it, and every record that has a form.

Values are whatever users put there: a table's own checksums are all that can be said of them. Goes on after what is
wrong, and writes nothing.
"""

from dataclasses import dataclass
from pathlib import Path

from meteora.errors import Corruption
from meteora.kv.sessions import decode_session
from meteora.kv.state import (
    APPLIED_KEY,
    LEVEL_KEY,
    MEMBERSHIP_KEY,
    ROLLING_HASH_KEY,
    SESSIONS_DROPPED_KEY,
    USER_PREFIX,
    decode_level,
    decode_position,
    session_key,
)
from meteora.kv.users import USERS_PREFIX, Users, take_record
from meteora.storage.rocks import KEY_VALUE, without_advice
from meteora.storage.salvage import Tell, salvaged

_SESSION_PREFIX = session_key(0)[:1]
_SESSION_KEY_BYTES = len(session_key(0))


@dataclass
class FoundState:
    """What a state holds, as far as it can be read."""

    keys: int = 0
    sessions: int = 0
    position: tuple[int, int] | None = None
    """Index and term of the entry that was applied last; None if that can't be read."""
    membership: bytes = b""


def check_state(path: Path, tell: Tell) -> FoundState:
    """Tell what is wrong with the state in the directory `path`; what it holds."""
    found = FoundState()
    if not (path / "CURRENT").exists():
        tell(f"{path}: the state is gone")
        return found
    with salvaged(path, KEY_VALUE, tell) as database:
        if database is None:
            return found
        for key, record in database.pairs():
            try:
                _take(path, key, record, found)
            except Corruption as error:
                tell(f"{path}: key {key!r}: {without_advice(error)}")
        if found.position is None and not database.has_gaps and not database.get(APPLIED_KEY):
            found.position = (0, 0)
    return found


def _take(path: Path, key: bytes, record: bytes, found: FoundState) -> None:
    if key[:1] == USER_PREFIX:
        found.keys += 1
    elif key[:1] == _SESSION_PREFIX and len(key) == _SESSION_KEY_BYTES:
        decode_session(record)
        found.sessions += 1
    elif key == APPLIED_KEY:
        found.position = decode_position(path, record)
    elif key == MEMBERSHIP_KEY:
        found.membership = record
    elif key[:1] == USERS_PREFIX:
        take_record(Users(), key, record)
    elif key == LEVEL_KEY:
        decode_level(path, record)
    elif key not in (SESSIONS_DROPPED_KEY, ROLLING_HASH_KEY):
        raise Corruption("no release writes this key")
