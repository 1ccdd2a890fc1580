"""What of a database is kept in memory; that a record which can't be is refused is shown where states are opened."""

from pathlib import Path

import pytest

from meteora.errors import Corruption
from meteora.kv.state import (
    APPLIED_KEY,
    END,
    MEMBERSHIP_KEY,
    ROLLING_HASH_KEY,
    SESSIONS_DROPPED_KEY,
    USER_PREFIX,
    decode_position,
    encode_position,
    load_state,
    new_database,
    session_key,
)
from meteora.storage.rocks import WriteBatch

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_a_position_comes_back() -> None:
    assert decode_position(Path("kv"), encode_position(7, 3)) == (7, 3)


def test_no_record_is_the_position_before_the_first_entry() -> None:
    assert decode_position(Path("kv"), None) == (0, 0)


def test_every_cut_of_a_position_is_corruption_that_names_its_place() -> None:
    whole = encode_position(7, 3)
    for length in range(len(whole)):
        with pytest.raises(Corruption, match=r"^kv: .*is not an applied index"):
            decode_position(Path("kv"), whole[:length])


def test_every_key_is_below_the_end() -> None:
    records = (APPLIED_KEY, MEMBERSHIP_KEY, ROLLING_HASH_KEY, SESSIONS_DROPPED_KEY)
    assert max(USER_PREFIX + b"\xff" * 100, session_key((1 << 64) - 1), *records) < END


def test_a_new_database_is_the_state_before_the_first_entry(tmp_path: Path) -> None:
    database = new_database(tmp_path / "kv")
    state = load_state(tmp_path / "kv", database)
    database.close()
    assert (state.index, state.term, state.membership) == (0, 0, b"")


def test_a_state_is_loaded_with_its_position_and_membership(tmp_path: Path) -> None:
    database = new_database(tmp_path / "kv")
    batch = WriteBatch()
    batch.put(APPLIED_KEY, encode_position(7, 3))
    batch.put(MEMBERSHIP_KEY, b"members")
    database.write(batch)
    state = load_state(tmp_path / "kv", database)
    database.close()
    assert (state.index, state.term, state.membership) == (7, 3, b"members")
