import sys

import pytest

from meteora.pb import kv_pb2
from tests.unit.cli.conftest import Run
from tests.unit.client.remote import Remote


def test_put_sets_a_key_and_says_so(run: Run, node: Remote) -> None:
    assert run("put", "key", "value", "-a", node.endpoint) == (0, b"OK\n", "")
    assert node.store == {b"key": b"value"}


@pytest.mark.parametrize("value", [[], ["-"]], ids=["omitted", "dash"])
def test_put_takes_a_value_from_stdin_byte_for_byte(run: Run, node: Remote, value: list[str]) -> None:
    run("put", "key", *value, "-a", node.endpoint, stdin=b"\x00\xff\r\n")
    assert node.store == {b"key": b"\x00\xff\r\n"}


def test_put_takes_an_empty_value(run: Run, node: Remote) -> None:
    run("put", "key", "", "-a", node.endpoint)
    assert node.store == {b"key": b""}


def test_keys_and_values_may_look_like_options(run: Run, node: Remote) -> None:
    run("put", "-a", node.endpoint, "--", "-key", "--value")
    assert node.store == {b"-key": b"--value"}


def test_get_writes_the_value_and_nothing_else(run: Run, node: Remote) -> None:
    node.store[b"key"] = b"\x00\xff\r\n"
    assert run("get", "key", "-a", node.endpoint) == (0, b"\x00\xff\r\n", "")


def test_get_ends_the_line_on_a_terminal(run: Run, node: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    node.store[b"key"] = b"value"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run("get", "key", "-a", node.endpoint).out == b"value\n"


def test_a_serializable_get_writes_the_value_and_says_beside_it_how_old_it_may_be(run: Run, node: Remote) -> None:
    node.store[b"key"] = b"value"
    assert run("get", "--serializable", "key", "-a", node.endpoint) == (
        0,
        b"value",
        "meteora: as of entry 10; writes of the last 1.250 s may be missing\n",
    )
    assert node.requests == [kv_pb2.GetReq(key=b"key", serializable=True)]


def test_a_serializable_get_of_an_absent_key_fails_and_says_how_old_that_may_be(run: Run, node: Remote) -> None:
    ended = run("get", "--serializable", "absent", "-a", node.endpoint)
    assert (ended.status, ended.out, len(ended.err.splitlines())) == (1, b"", 2)


def test_get_of_an_absent_key_fails_and_names_it(run: Run, node: Remote) -> None:
    assert run("get", "absent", "-a", node.endpoint) == (1, b"", "meteora: error: there is no key 'absent'\n")


def test_get_of_an_absent_key_that_is_no_text_names_its_bytes(run: Run, node: Remote) -> None:
    # So Python hands over the bytes FF FE of a command line.
    ended = run("get", "\udcff\udcfe", "-a", node.endpoint)
    assert ended == (1, b"", "meteora: error: there is no key b'\\xff\\xfe'\n")


def test_get_of_an_empty_value_succeeds(run: Run, node: Remote) -> None:
    node.store[b"key"] = b""
    assert run("get", "key", "-a", node.endpoint) == (0, b"", "")


def test_delete_removes_a_key_and_says_so(run: Run, node: Remote) -> None:
    node.store[b"key"] = b"value"
    assert run("delete", "key", "-a", node.endpoint) == (0, b"OK\n", "")
    assert node.store == {}


def test_delete_of_an_absent_key_is_ok(run: Run, node: Remote) -> None:
    assert run("delete", "absent", "-a", node.endpoint) == (0, b"OK\n", "")
