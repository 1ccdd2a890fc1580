"""Changes that come at once, and changes that would strand the cluster: on real nodes, without the wire."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meteora.errors import ChangeRefused, MeteoraError, NotApplied, OutcomeUnknown, Unauthenticated
from meteora.features import OWN_RELEASE, SUPPORTED_LEVEL
from meteora.kv.users import Change
from meteora.pb import common_pb2, peer_pb2, raft_pb2
from meteora.server import cluster
from meteora.server.cluster import Cluster
from meteora.server.joining import join_request
from meteora.transport.dialler import Dialler
from tests.unit.node.nodes import Network, Trio, running, soon, three, until


async def outcome_of(request: Coroutine[Any, Any, object]) -> object:
    try:
        return await request
    except MeteoraError as error:
        return type(error)


def joining(node_id: int, instance_id: int, host: str = "host") -> peer_pb2.JoinReq:
    return join_request(node_id, instance_id, f"{host}{node_id}:5000", f"{host}{node_id}:7000")


def removing(node_id: int, instance_id: int = 0) -> raft_pb2.ConfChange:
    return raft_pb2.ConfChange(change_type=raft_pb2.RemoveNode, node_id=node_id, instance_id=instance_id)


def test_of_two_directories_that_join_under_one_id_at_once_one_is_let_in(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network()) as one:
            await one.until_leading()
            members = Cluster(one.node, 1, Dialler())
            # All wait for the first one.
            requests = [joining(2, 20), joining(3, 30), joining(3, 31)]
            joins = [outcome_of(members.join(each, soon(), was_forwarded=False)) for each in requests]
            assert await asyncio.gather(*joins) == [None, None, ChangeRefused]
            assert one.node.members.by_id[3].instance_id == 30

    asyncio.run(run())


def test_a_directory_that_is_removed_while_it_asks_again_is_not_let_in(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network()) as one:
            await one.until_leading()
            members = Cluster(one.node, 1, Dialler())
            await members.join(joining(2, 20), soon(), was_forwarded=False)
            removal = outcome_of(members.change(removing(2), soon(), was_forwarded=False))
            again = outcome_of(members.join(joining(2, 20, "moved"), soon(), was_forwarded=False))
            assert await asyncio.gather(removal, again) == [common_pb2.OK, ChangeRefused]

    asyncio.run(run())


def test_who_is_removed_twice_at_once_is_no_member_the_second_time(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network()) as one:
            await one.until_leading()
            members = Cluster(one.node, 1, Dialler())
            await members.join(joining(2, 20), soon(), was_forwarded=False)
            removals = [outcome_of(members.change(removing(2), soon(), was_forwarded=False)) for _ in range(2)]
            assert await asyncio.gather(*removals) == [common_pb2.OK, common_pb2.NOT_FOUND]

    asyncio.run(run())


def test_a_removal_of_a_directory_does_not_remove_another_one_that_joined_under_its_id(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network()) as one:
            await one.until_leading()
            members = Cluster(one.node, 1, Dialler())
            await members.join(joining(2, 20), soon(), was_forwarded=False)
            await members.change(removing(2), soon(), was_forwarded=False)
            await members.join(joining(2, 21), soon(), was_forwarded=False)
            removals = [members.change(removing(2, each), soon(), was_forwarded=False) for each in (20, 21)]
            assert [await each for each in removals] == [common_pb2.NOT_FOUND, common_pb2.OK]

    asyncio.run(run())


def test_a_leader_that_can_not_hand_over_does_not_remove_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its removal might be known to nobody else when it is gone.
    monkeypatch.setattr(cluster, "HAND_OVER_SECONDS", 0.0)

    async def run() -> None:
        async with three(tmp_path) as trio:
            leader = trio.leader.node
            change = Cluster(leader, 1, Dialler()).change(removing(leader.node_id), soon(), was_forwarded=False)
            with pytest.raises(NotApplied, match="leads, and no other could take over; nothing was changed"):
                await change
            assert leader.node_id in leader.members.by_id

    asyncio.run(run())


@pytest.mark.parametrize("request_of", ["removal", "join"])
def test_a_leader_that_was_deposed_and_does_not_know_it_does_not_say_who_is_a_member(
    tmp_path: Path, request_of: str
) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            old = trio.leader
            follower = trio.followers[0].node.node_id
            # It would lead on in its own eyes until it has checked its quorum.
            old.node._raw._raft.settings = replace(old.node._raw._raft.settings, election_ticks=1_000_000)
            trio.network.cut_off.add(old.node.node_id)
            new = await trio.until_replaced(old)
            members = Cluster(new.node, 1, Dialler())
            await members.join(joining(4, 40), soon(), was_forwarded=False)
            assert old.node.leads
            stale = Cluster(old.node, 1, Dialler())
            if request_of == "removal":
                answer = outcome_of(stale.change(removing(4), soon(0.5), was_forwarded=False))
            else:
                known = join_request(follower, 10 * follower, f"host{follower}:5000", f"host{follower}:7000")
                answer = outcome_of(stale.join(known, soon(0.5), was_forwarded=False))
            assert await answer is NotApplied

    asyncio.run(run())


async def lose_a_follower(trio: Trio) -> tuple[int, int]:
    """The ids of a follower that the leader hears no more, and of the other one."""
    lost, there = (each.node.node_id for each in trio.followers)
    await until(lambda: trio.leader.node._raw.heard == {1, 2, 3})
    trio.network.cut_off.add(lost)
    await until(lambda: trio.leader.node._raw.heard == {1, 2, 3} - {lost})
    return lost, there


@pytest.mark.parametrize("kind", [raft_pb2.RemoveNode, raft_pb2.AddLearnerNode])
def test_who_is_needed_for_a_majority_that_answers_stays_a_voter(
    tmp_path: Path, kind: raft_pb2.ConfChangeType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "HEARD_SECONDS", 0.1)

    async def run() -> None:
        async with three(tmp_path) as trio:
            lost, there = await lose_a_follower(trio)
            leader = trio.leader.node
            members = Cluster(leader, 1, Dialler())
            request = raft_pb2.ConfChange(change_type=kind, node_id=there)
            with pytest.raises(ChangeRefused) as refusal:
                await members.change(request, soon(), was_forwarded=False)
            left = ", ".join(map(str, sorted({leader.node_id, lost})))
            assert str(refusal.value) == (
                f"of the voters that would be left ({left}) too many are silent to be a majority: node {lost} at "
                f"host{lost}:7000; start what is silent, or, if it is lost for good, remove that first: "
                f"meteora leave -i {lost}; or force the change"
            )
            # As it says:
            for node_id in (lost, there):
                assert await members.change(removing(node_id), soon(), was_forwarded=False) == common_pb2.OK

    asyncio.run(run())


@pytest.mark.parametrize("kind", [raft_pb2.RemoveNode, raft_pb2.AddLearnerNode])
def test_a_change_that_leaves_no_majority_is_made_if_it_is_forced_and_unconfirmed_until_there_is_one(
    tmp_path: Path, kind: raft_pb2.ConfChangeType
) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            lost, there = await lose_a_follower(trio)
            leader = trio.leader.node
            request = raft_pb2.ConfChange(change_type=kind, node_id=there, force=True)
            changing = outcome_of(Cluster(leader, 1, Dialler()).change(request, soon(0.5), was_forwarded=False))
            assert await changing is OutcomeUnknown
            assert leader.members.configuration.voters == {leader.node_id, lost}
            trio.network.cut_off.clear()
            await until(lambda: all(there not in each.node.members.configuration.voters for each in trio.nodes))

    asyncio.run(run())


def test_a_forced_change_that_leaves_a_majority_is_made_like_any_other(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            lost, _ = await lose_a_follower(trio)
            request = raft_pb2.ConfChange(change_type=raft_pb2.RemoveNode, node_id=lost, force=True)
            assert (
                await Cluster(trio.leader.node, 1, Dialler()).change(request, soon(), was_forwarded=False)
                == common_pb2.OK
            )

    asyncio.run(run())


def test_the_last_voter_is_not_removed_by_force(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network()) as one:
            await one.until_leading()
            request = raft_pb2.ConfChange(change_type=raft_pb2.RemoveNode, node_id=1, force=True)
            assert (
                await outcome_of(Cluster(one.node, 1, Dialler()).change(request, soon(), was_forwarded=False))
                is ChangeRefused
            )

    asyncio.run(run())


def test_the_address_of_a_voter_may_change_while_another_one_is_silent(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            _, there = await lose_a_follower(trio)
            moved = joining(there, 10 * there, "moved")
            await Cluster(trio.leader.node, 1, Dialler()).join(moved, soon(), was_forwarded=False)
            assert trio.leader.node.members.by_id[there].raft_address == moved.address.raft_address

    asyncio.run(run())


def test_a_release_that_does_not_know_what_the_cluster_does_is_not_let_in(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network(), release=OWN_RELEASE) as one:
            await until(lambda: one.node.level == SUPPORTED_LEVEL)
            request = joining(2, 20)
            request.ClearField("level")
            request.ClearField("version")
            with pytest.raises(ChangeRefused, match="this node runs an older release: start it with release"):
                await Cluster(one.node, 1, Dialler()).join(request, soon(), was_forwarded=False)
            assert 2 not in one.node.members.by_id

    asyncio.run(run())


@pytest.mark.parametrize("is_leader", [True, False])
@pytest.mark.parametrize("request_of", ["removal", "transfer"])
def test_who_was_let_in_because_users_were_not_enabled_is_refused_once_they_are(
    tmp_path: Path, request_of: str, is_leader: bool
) -> None:
    async def run() -> None:
        async with three(tmp_path, release=OWN_RELEASE) as trio:
            for each in trio.followers:
                trio.leader.node.introduced(each.node.node_id, 10 * each.node.node_id, "", OWN_RELEASE)
            asked = trio.leader if is_leader else trio.followers[0]
            await until(lambda: asked.node.level == SUPPORTED_LEVEL)
            # It has yet to hear that users are enabled.
            members = Cluster(asked.node, 1, Dialler()).as_admitted()
            await trio.leader.node.change_users(Change(0, enabled=True, secret=b"secret"), soon())
            await until(lambda: asked.node.users.is_enabled)
            third = trio.followers[1].node.node_id
            if request_of == "removal":
                outcome = await outcome_of(members.change(removing(third), soon(), was_forwarded=False))
            else:
                outcome = await outcome_of(members.transfer(third, soon(), was_forwarded=False))
            assert outcome is Unauthenticated
            assert third in trio.leader.node.members.by_id
            assert trio.leader.node.leads

    asyncio.run(run())
