import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.client.users import Permission, end_of_prefix, permissions_of
from meteora.pb import auth_pb2


@given(st.binary(max_size=3), st.binary(max_size=4))
def test_the_range_of_a_prefix_holds_what_begins_with_it(prefix: bytes, key: bytes) -> None:
    end = end_of_prefix(prefix)
    assert (prefix <= key and (end == b"\x00" or key < end)) == key.startswith(prefix)


@pytest.mark.parametrize("access", ["read", "write", "readwrite"])
def test_a_permission_is_the_same_there_and_back(access: str) -> None:
    permission = Permission(access, b"key", b"end")  # type: ignore[arg-type]
    assert permissions_of(auth_pb2.RoleGetReply(permissions=[permission.to_message()])) == (permission,)
