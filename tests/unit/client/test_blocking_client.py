"""The blocking client against real servers: that the twin is one, and what threads add to it."""

import inspect
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args, get_origin

import pytest

from meteora.client import AsyncClient, Client
from meteora.errors import InvalidRequest, NotApplied, OutcomeUnknown, RequestError
from tests.unit.client.remote import (
    INVALID,
    NOT_APPLIED,
    UNKNOWN,
    dead_endpoint,
    hangs,
    loses_reply,
    remotes,
    silent_endpoint,
)

GENERATOR = Path(__file__).parents[3] / "tools" / "generate_blocking_client.py"

PATIENT_SECONDS = 30.0
"""For requests that will be served: a slow machine must not fail a test."""


def test_the_blocking_client_is_what_is_generated_from_the_asyncio_client() -> None:
    done = subprocess.run([sys.executable, GENERATOR, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def signature_of(method: Callable[..., object]) -> inspect.Signature:
    """As it is written, but that what comes one by one comes so in either way."""
    signature = inspect.signature(method)
    returned = signature.return_annotation
    if get_origin(returned) in (AsyncGenerator, Generator):
        return signature.replace(return_annotation=Iterator[get_args(returned)[0]])
    return signature


def test_both_clients_have_the_same_methods() -> None:
    def signatures(client: type) -> dict[str, inspect.Signature]:
        methods = inspect.getmembers(client, inspect.isfunction)
        return {name: signature_of(method) for name, method in methods if not name.startswith("_")}

    assert signatures(Client) == signatures(AsyncClient)


def test_put_get_and_delete() -> None:
    with remotes(1) as (node,), Client(node.endpoint, timeout_seconds=PATIENT_SECONDS) as client:
        client.put(b"\xff", b"\x00")
        present = client.get(b"\xff")
        client.delete(b"\xff")
        assert (present, client.get(b"\xff")) == (b"\x00", None)


def test_status_and_leave() -> None:
    with remotes(2, leader_id=2) as nodes, Client(nodes[0].endpoint, timeout_seconds=PATIENT_SECONDS) as client:
        cluster = client.status()
        assert [(each.role, each.progress is not None) for each in cluster.members] == [
            ("follower", True),
            ("leader", True),
        ]
        assert client.leave(1)


def test_endpoints_that_do_not_answer_are_passed_over() -> None:
    with (
        remotes(1) as (node,),
        dead_endpoint() as dead,
        silent_endpoint() as silent,
        Client([dead, silent, node.endpoint], timeout_seconds=6.0) as client,
    ):
        client.put("key", "value")
        assert node.store == {b"key": b"value"}


def test_a_write_whose_reply_was_lost_is_sent_again_under_the_same_name_and_applied_once() -> None:
    with remotes(1) as (node,), Client(node.endpoint, timeout_seconds=PATIENT_SECONDS) as client:
        node.script.append(loses_reply)
        client.put("key", "value")
        assert [name[1:] for name in node.names] == [(1, 1, False), (1, 1, True)]
        assert len(node.applied) == 1


@pytest.mark.parametrize(
    ("first", "always", "error"),
    [
        (INVALID, INVALID, InvalidRequest),
        (NOT_APPLIED, NOT_APPLIED, NotApplied),
        (UNKNOWN, NOT_APPLIED, OutcomeUnknown),
        (hangs, hangs, OutcomeUnknown),
    ],
)
def test_a_write_ends_with_what_is_known_of_it(
    first: Callable[..., None], always: Callable[..., None], error: type[RequestError]
) -> None:
    with remotes(1) as (node,), Client(node.endpoint, timeout_seconds=0.6) as client:
        node.script.append(first)
        node.always = always
        with pytest.raises(error):
            client.put("key", "value")


def test_many_threads_share_a_client() -> None:
    with (
        remotes(1) as (node,),
        Client(node.endpoint, timeout_seconds=PATIENT_SECONDS) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        list(threads.map(lambda number: client.put(f"key-{number}", f"value-{number}"), range(100)))
        values = list(threads.map(lambda number: client.get(f"key-{number}"), range(100)))
        assert values == [f"value-{number}".encode() for number in range(100)]
        assert sorted(name[1] for name in node.names) == list(range(1, 101))


def test_a_closed_client_leaves_nothing_behind(no_leaks: None) -> None:
    with (
        remotes(3, leader_id=3) as nodes,
        dead_endpoint() as dead,
        Client([dead, *(node.endpoint for node in nodes)], timeout_seconds=PATIENT_SECONDS) as client,
    ):
        client.put("key", "value")
        client.status()


@pytest.mark.parametrize(
    ("request_of", "error"),
    [(lambda client: client.put("key", "value"), OutcomeUnknown), (lambda client: client.get("key"), NotApplied)],
    ids=["write", "read"],
)
def test_closing_ends_requests_of_other_threads_with_what_is_known_of_them(
    request_of: Callable[[Client], object], error: type[RequestError]
) -> None:
    caught: list[Exception] = []

    def ask() -> None:
        try:
            request_of(client)
        except RequestError as failure:
            caught.append(failure)

    with remotes(1) as (node,), Client(node.endpoint, timeout_seconds=PATIENT_SECONDS) as client:
        node.always = hangs
        thread = threading.Thread(target=ask)
        thread.start()
        assert node.arrived.wait(PATIENT_SECONDS)
        client.close()
        thread.join()
    assert [type(failure) for failure in caught] == [error]


def test_a_closed_client_refuses_requests() -> None:
    with dead_endpoint() as dead:
        client = Client(dead)
        client.close()
        with pytest.raises(NotApplied, match="closed"):
            client.put("key", "value")
