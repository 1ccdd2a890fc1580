"""The asyncio client against real servers. What the policy decides is tested in test_operation and test_routing."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import grpc
import pytest

from meteora.client import AsyncClient, SerializableRead
from meteora.errors import (
    ChangeRefused,
    ConfigurationError,
    InvalidRequest,
    NotApplied,
    OutcomeUnknown,
    Overloaded,
    RequestError,
)
from meteora.pb import common_pb2, kv_pb2, raft_pb2
from tests.unit.client.remote import (
    INVALID,
    NOT_APPLIED,
    OVERLOADED,
    UNKNOWN,
    Cable,
    Remote,
    aborts,
    answers,
    dead_endpoint,
    hangs,
    instance_id_of,
    loses_reply,
    remotes,
    serves,
    silent_endpoint,
)

PATIENT_SECONDS = 30.0
"""For requests that will be served: a slow machine must not fail a test."""


def run(
    endpoints: str | list[str],
    scenario: Callable[[AsyncClient], Awaitable[None]],
    timeout_seconds: float = PATIENT_SECONDS,
) -> None:
    async def with_client() -> None:
        async with AsyncClient(endpoints, timeout_seconds=timeout_seconds) as client:
            await scenario(client)

    asyncio.run(with_client())


async def arrival(node: Remote) -> None:
    """Waits until a request has arrived at `node`."""
    assert await asyncio.to_thread(node.arrived.wait, PATIENT_SECONDS)


# Requests.


@pytest.mark.parametrize("value", [b"", b"\x00\xff\n", b"x" * 1_000_000], ids=["empty", "binary", "long"])
def test_a_value_comes_back_as_it_was_put(value: bytes) -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.put(b"\x00key\xff", value)
        assert await client.get(b"\x00key\xff") == value

    with remotes(1) as (node,):
        run(node.endpoint, scenario)


def test_text_is_sent_as_utf8() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.put("ключ", "значение")
        assert await client.get("ключ".encode()) == "значение".encode()

    with remotes(1) as (node,):
        run(node.endpoint, scenario)


def test_a_key_that_does_not_exist_has_no_value() -> None:
    async def scenario(client: AsyncClient) -> None:
        assert await client.get("absent") is None

    with remotes(1) as (node,):
        run(node.endpoint, scenario)


def test_a_deleted_key_has_no_value() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.put("key", "value")
        await client.delete("key")
        assert await client.get("key") is None

    with remotes(1) as (node,):
        run(node.endpoint, scenario)


def test_a_serializable_read_is_asked_for_as_such_and_says_how_old_it_may_be() -> None:
    async def scenario(client: AsyncClient) -> None:
        assert await client.get_serializable("k") == SerializableRead(b"v", 10, 1.25)
        assert await client.get("k", serializable=True) == b"v"

    with remotes(1, leader_id=1) as (node,):
        node.store[b"k"] = b"v"
        run(node.endpoint, scenario)
        assert node.requests == [kv_pb2.GetReq(key=b"k", serializable=True)] * 2


def test_a_member_that_leaves_is_named_to_the_cluster() -> None:
    async def scenario(client: AsyncClient) -> None:
        assert await client.leave(3)

    with remotes(1) as (node,):
        run(node.endpoint, scenario)
        assert node.requests == [raft_pb2.ConfChange(change_type=raft_pb2.RemoveNode, node_id=3)]


def test_a_removal_that_may_have_been_made_is_tried_again_on_the_member_that_was_there_only() -> None:
    # Another node may have joined under its id meanwhile.
    async def scenario(client: AsyncClient) -> None:
        await client.leave(2)

    with remotes(2, leader_id=1) as nodes:
        nodes[0].script += [loses_reply]
        run(nodes[0].endpoint, scenario)
        requests = [request for node in nodes for request in node.requests]
        assert [request.instance_id for request in requests] == [0, instance_id_of(2)]


def test_the_node_that_is_to_lead_is_named_to_the_cluster_and_is_asked_first_from_then_on() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.transfer(2)
        await client.put("k", "v")

    with remotes(2, leader_id=1) as nodes:
        nodes[1].leader_id = 2
        run(nodes[0].endpoint, scenario)
        assert nodes[0].requests == [raft_pb2.TransferReq(node_id=2)]
        assert nodes[1].store == {b"k": b"v"}


def test_a_transfer_that_is_refused_is_not_tried_elsewhere() -> None:
    async def scenario(client: AsyncClient) -> None:
        with pytest.raises(ChangeRefused, match="node 2 is silent"):
            await client.transfer(2)

    with remotes(2, leader_id=1) as nodes:
        nodes[0].always = aborts(grpc.StatusCode.FAILED_PRECONDITION, "node 2 is silent", "not-applied")
        run(nodes[0].endpoint, scenario)
        assert nodes[1].requests == []


def test_a_node_that_is_no_member_can_not_leave() -> None:
    async def scenario(client: AsyncClient) -> None:
        assert not await client.leave(9)

    with remotes(1) as (node,):
        node.always = answers(common_pb2.NOT_FOUND)
        run(node.endpoint, scenario)


def test_status_asks_every_member() -> None:
    async def scenario(client: AsyncClient) -> None:
        cluster = await client.status()
        assert (cluster.cluster_id, cluster.leader_id) == ("f" * 16, 2)
        assert [(each.role, each.progress is not None) for each in cluster.members] == [
            ("follower", True),
            ("leader", True),
            ("follower", True),
        ]

    with remotes(3, leader_id=2) as nodes:
        run(nodes[0].endpoint, scenario)


A_LONG_TIME_SECONDS = 1_000.0
"""Nothing that a test does may wait for all of it, nor for a good part."""


def test_status_shows_members_that_do_not_answer() -> None:
    async def scenario(client: AsyncClient) -> None:
        cluster = await client.status()
        assert [each.progress is not None for each in cluster.members] == [True, False, False]

    with remotes(1) as (node,), dead_endpoint() as dead, silent_endpoint() as silent:
        node.knows({1: node.endpoint, 2: dead, 3: silent}, 1)
        run(node.endpoint, scenario, timeout_seconds=A_LONG_TIME_SECONDS)


@pytest.mark.parametrize("endpoints", ["", "localhost", ["a:1", "b"]])
def test_endpoints_that_make_no_sense_are_refused_at_once(endpoints: str | list[str]) -> None:
    with pytest.raises(ConfigurationError):
        AsyncClient(endpoints)


# Fail-over and following the leader.


def test_an_endpoint_where_nobody_listens_is_passed_over() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.put("key", "value")

    with remotes(1) as (node,), dead_endpoint() as dead:
        run([dead, node.endpoint], scenario)
        assert node.store == {b"key": b"value"}


def test_an_endpoint_that_never_says_a_word_is_left_in_time() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.put("key", "value")

    with remotes(1) as (node,), silent_endpoint() as silent:
        run([silent, node.endpoint], scenario, timeout_seconds=4.0)
        assert node.store == {b"key": b"value"}


def test_an_endpoint_that_is_no_meteora_node_is_passed_over() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.get("key")

    with remotes(2) as (other, node):
        other.always = aborts(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        run([other.endpoint, node.endpoint], scenario)
        assert len(node.requests) == 1


def test_a_node_that_hangs_is_left_in_time() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.get("key")

    with remotes(2) as (hanging, node):
        hanging.script.append(hangs)
        run([hanging.endpoint, node.endpoint], scenario, timeout_seconds=4.0)
        assert (len(hanging.requests), len(node.requests)) == (1, 1)


def test_a_node_that_stops_is_replaced_by_a_member_that_was_learned_from_it() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.get("key")
        first.stop()
        await client.get("key")

    with remotes(1) as (second,):
        first = Remote()
        first.knows({1: first.endpoint, 2: second.endpoint}, 1)
        run(first.endpoint, scenario)
        assert len(second.requests) == 1


def test_a_node_that_restarts_is_found_again() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.put("key", "before")
        first.stop()
        second = Remote(port=first.port)
        await client.put("key", "after")
        second.stop()
        assert second.store == {b"key": b"after"}

    first = Remote()
    run(first.endpoint, scenario)


def test_the_leader_that_a_reply_names_is_asked_next() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.get("key")
        await client.get("key")

    with remotes(3, leader_id=3) as nodes:
        run(nodes[0].endpoint, scenario)
        assert [len(node.requests) for node in nodes] == [1, 0, 1]


def test_the_first_write_goes_to_the_leader() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.put("key", "value")

    with remotes(3, leader_id=3) as nodes:
        run(nodes[0].endpoint, scenario)
        assert [len(node.requests) for node in nodes] == [0, 0, 1]


def test_a_node_that_does_not_lead_sends_to_the_leader() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.get("key")

    with remotes(3, leader_id=3) as nodes:
        nodes[0].always = answers(common_pb2.WRONG_LEADER)
        run([node.endpoint for node in nodes], scenario)
        assert [len(node.requests) for node in nodes] == [1, 0, 1]


def test_a_leader_that_is_advertised_at_every_interface_is_found_on_the_host_that_answered() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.put("key", "value")

    with remotes(2) as (follower, leader):
        follower.knows({1: f"0.0.0.0:{follower.port}", 2: f"0.0.0.0:{leader.port}"}, 2)
        run(follower.endpoint, scenario)
        assert (len(follower.requests), len(leader.requests)) == (0, 1)


def test_a_leader_that_can_not_be_reached_from_here_is_no_obstacle() -> None:
    async def scenario(client: AsyncClient) -> None:
        for _ in range(3):
            await client.put("key", "value")

    with remotes(1) as (node,), dead_endpoint() as dead:
        node.knows({1: node.endpoint, 2: dead}, 2)
        run(node.endpoint, scenario)
        assert len(node.requests) == 3


def test_a_connection_that_went_silent_costs_time_and_not_success() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.put("key", "before")
        cable.cut()
        await client.put("key", "after")

    with remotes(1) as (node,), Cable(node.port) as cable:
        node.knows({1: cable.endpoint}, 1)
        run(cable.endpoint, scenario, timeout_seconds=15.0)
        assert node.store == {b"key": b"after"}


def test_nodes_are_reached_directly_whatever_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.put("key", "value")

    with remotes(1) as (node,), dead_endpoint() as dead:
        for variable in ("http_proxy", "grpc_proxy"):
            monkeypatch.setenv(variable, f"http://{dead}")
        run(node.endpoint, scenario)


# Writes that are tried again.


def test_a_write_whose_reply_was_lost_is_sent_again_under_the_same_name_and_applied_once() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.put("key", "value")

    with remotes(1) as (node,):
        node.script.append(loses_reply)
        run(node.endpoint, scenario)
        (first, second) = node.names
        assert (first[1:], second[1:]) == ((1, 1, False), (1, 1, True))
        assert first[0] == second[0] != 0
        assert len(node.applied) == 1


def test_a_write_keeps_its_name_at_another_node() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.delete("key")

    with remotes(2) as (one, other):
        one.script.append(aborts(grpc.StatusCode.INTERNAL))
        run([one.endpoint, other.endpoint], scenario)
        assert (one.names[0][:3], one.names[0][3]) == (other.names[0][:3], False)
        assert other.names[0][3]


def test_a_write_that_was_certainly_not_applied_is_no_retry() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.put("key", "value")

    with remotes(1) as (node,):
        node.script.append(NOT_APPLIED)
        run(node.endpoint, scenario)
        assert [name[1:] for name in node.names] == [(1, 1, False), (1, 1, False)]


def test_a_busy_cluster_is_asked_again() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.put("key", "value")

    with remotes(1) as (node,):
        node.script.extend([OVERLOADED, OVERLOADED])
        run(node.endpoint, scenario)
        assert node.store == {b"key": b"value"}


def test_the_lowest_unfinished_write_travels_with_the_others() -> None:
    async def scenario(client: AsyncClient) -> None:
        oldest = asyncio.create_task(client.put("oldest", "value"))
        await arrival(node)
        await client.put("newer", "value")
        oldest.cancel()
        await asyncio.wait([oldest])
        await client.put("newest", "value")

    with remotes(1) as (node,):
        node.script.append(hangs)
        run(node.endpoint, scenario)
        assert [name[1:3] for name in node.names] == [(1, 1), (2, 1), (3, 3)]


def test_many_tasks_share_a_client() -> None:
    async def scenario(client: AsyncClient) -> None:
        await asyncio.gather(*(client.put(f"key-{number}", f"value-{number}") for number in range(200)))
        values = await asyncio.gather(*(client.get(f"key-{number}") for number in range(200)))
        assert values == [f"value-{number}".encode() for number in range(200)]

    with remotes(1) as (node,):
        run(node.endpoint, scenario)
        assert sorted(name[1] for name in node.names) == list(range(1, 201))


# What is known in the end.


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([INVALID], InvalidRequest),
        ([UNKNOWN, INVALID], OutcomeUnknown),
        ([aborts(grpc.StatusCode.FAILED_PRECONDITION, "the last voter")], ChangeRefused),
    ],
)
def test_a_refused_request_is_not_tried_again(script: list[Callable[..., None]], error: type[RequestError]) -> None:
    async def scenario(client: AsyncClient) -> None:
        with pytest.raises(error):
            await client.put("key", "value")

    with remotes(1) as (node,):
        node.script.extend(script)
        run(node.endpoint, scenario)
        assert len(node.requests) == len(script)


@pytest.mark.parametrize(
    ("first", "always", "error"),
    [
        (NOT_APPLIED, NOT_APPLIED, NotApplied),
        (OVERLOADED, OVERLOADED, Overloaded),
        (UNKNOWN, UNKNOWN, OutcomeUnknown),
        (UNKNOWN, NOT_APPLIED, OutcomeUnknown),
        (loses_reply, NOT_APPLIED, OutcomeUnknown),
        (hangs, hangs, OutcomeUnknown),
        (answers(common_pb2.IO_ERROR), NOT_APPLIED, OutcomeUnknown),
        (answers(common_pb2.WRONG_LEADER), answers(common_pb2.WRONG_LEADER), NotApplied),
    ],
)
def test_a_write_ends_with_what_is_known_of_it(
    first: Callable[..., None], always: Callable[..., None], error: type[RequestError]
) -> None:
    async def scenario(client: AsyncClient) -> None:
        with pytest.raises(error) as caught:
            await client.put("key", "value")
        assert type(caught.value) is error

    with remotes(2) as nodes:
        nodes[0].script.append(first)
        for node in nodes:
            node.always = always
        run([node.endpoint for node in nodes], scenario, timeout_seconds=0.6)


def test_a_read_that_nobody_answers_ends_with_the_endpoints_and_their_reasons() -> None:
    async def scenario(client: AsyncClient) -> None:
        with pytest.raises(NotApplied) as caught:
            await client.get("key")
        assert f"{dead}: can't be connected to: Connection refused" in str(caught.value)
        assert f"{node.endpoint}: no answer in time" in str(caught.value)

    with remotes(1) as (node,), dead_endpoint() as dead:
        node.always = hangs
        run([dead, node.endpoint], scenario, timeout_seconds=0.6)


def test_a_write_that_reached_nobody_is_certain_not_to_be_applied() -> None:
    async def scenario(client: AsyncClient) -> None:
        with pytest.raises(NotApplied):
            await client.put("key", "value")

    with dead_endpoint() as dead, silent_endpoint() as silent:
        run([dead, silent], scenario, timeout_seconds=0.6)


def test_the_deadline_covers_all_attempts() -> None:
    async def scenario(client: AsyncClient) -> None:
        with pytest.raises(NotApplied, match=r"within 0\.6 s"):
            await client.get("key")

    with remotes(3) as nodes:
        for node in nodes:
            node.always = hangs
        run([node.endpoint for node in nodes], scenario, timeout_seconds=0.6)
        assert [len(node.requests) for node in nodes] == [1, 1, 1]


# The end of a client.


def test_a_closed_client_leaves_nothing_behind(
    no_leaks: None, no_leaked_tasks: Callable[[], AbstractAsyncContextManager[None]]
) -> None:
    async def scenario() -> None:
        endpoints = [dead, *(node.endpoint for node in nodes)]
        async with no_leaked_tasks(), AsyncClient(endpoints, timeout_seconds=PATIENT_SECONDS) as client:
            await client.put("key", "value")
            await client.status()

    with remotes(3, leader_id=3) as nodes, dead_endpoint() as dead:
        asyncio.run(scenario())


@pytest.mark.parametrize(
    ("request_of", "error"),
    [(lambda client: client.put("key", "value"), OutcomeUnknown), (lambda client: client.get("key"), NotApplied)],
    ids=["write", "read"],
)
def test_closing_ends_requests_under_way_with_what_is_known_of_them(
    request_of: Callable[[AsyncClient], Awaitable[object]], error: type[RequestError]
) -> None:
    async def scenario(client: AsyncClient) -> None:
        under_way = asyncio.ensure_future(request_of(client))
        await arrival(node)
        await client.close()
        with pytest.raises(error, match="closed"):
            await under_way

    with remotes(1) as (node,):
        node.always = hangs
        run(node.endpoint, scenario)


def test_a_closed_client_refuses_requests() -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.close()
        with pytest.raises(NotApplied, match="closed"):
            await client.put("key", "value")

    with dead_endpoint() as dead:
        run(dead, scenario)


def test_a_cancelled_task_is_cancelled() -> None:
    async def scenario(client: AsyncClient) -> None:
        under_way = asyncio.create_task(client.put("key", "value"))
        await arrival(node)
        under_way.cancel()
        with pytest.raises(asyncio.CancelledError):
            await under_way

    with remotes(1) as (node,):
        node.script.append(hangs)
        run(node.endpoint, scenario)


def test_a_client_that_was_cancelled_somewhere_goes_on_elsewhere() -> None:
    async def scenario(client: AsyncClient) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get("key"), 0.2)
        await client.put("key", "value")

    with remotes(1) as (node,):
        node.script.extend([hangs, serves])
        run(node.endpoint, scenario)
