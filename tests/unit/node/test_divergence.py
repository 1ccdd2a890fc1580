"""Who is the odd one out, by what the members say of their states; and that it stops and the others go on."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pytest

from meteora.errors import StateDiverged
from meteora.kv.rolling_hash import Checkpoint, encode_checkpoints
from meteora.kv.sessions import Outcome
from meteora.node.divergence import REPORT_SECONDS, DivergenceAlarm
from meteora.raft import Configuration
from tests.unit.node.nodes import Running, Trio, three, until

pytestmark = pytest.mark.usefixtures("no_leaks")

THREE = Configuration.of({1, 2, 3})


def point(checksum: int, *, index: int = 100, begun_at: int = 0) -> Checkpoint:
    return Checkpoint(index, begun_at, checksum)


def stops(own: int, others: dict[int, int | None], configuration: Configuration = THREE, *, leader_id: int = 1) -> bool:
    """Whether node 2 with the checksum `own` stops; `others`: what they said, None for nothing that compares."""
    alarm = DivergenceAlarm(2)
    for member, checksum in others.items():
        said = point(checksum) if checksum is not None else point(own, index=99)
        alarm.heard(member, encode_checkpoints([said]))
    try:
        alarm.compare([point(own)], configuration, leader_id)
    except StateDiverged:
        return True
    return False


def test_who_is_like_the_others_goes_on() -> None:
    assert not stops(7, {1: 7, 3: 7})


def test_who_differs_from_a_majority_stops() -> None:
    assert stops(7, {1: 8, 3: 8})


def test_the_leader_stops_if_it_differs_from_a_majority() -> None:
    assert stops(7, {1: 8, 3: 8}, leader_id=2)


def test_who_is_with_the_majority_goes_on() -> None:
    assert not stops(7, {1: 7, 3: 8})


@pytest.mark.parametrize("third", [{}, {3: None}])
def test_as_long_as_a_majority_may_yet_be_told_nobody_stops(third: dict[int, int | None]) -> None:
    assert not stops(7, {1: 8, **third})


@pytest.mark.parametrize(("leader_id", "stops_here"), [(1, True), (2, False), (0, False)])
def test_of_two_voters_the_follower_stops(leader_id: int, stops_here: bool) -> None:
    assert stops(7, {1: 8}, Configuration.of({1, 2}), leader_id=leader_id) is stops_here


def test_where_no_two_agree_the_leader_is_right() -> None:
    assert stops(7, {1: 8, 3: 9})
    assert not stops(7, {1: 8, 3: 9}, leader_id=2)


def test_what_learners_have_makes_no_majority() -> None:
    assert not stops(7, {3: 8, 4: 8, 5: 8}, Configuration.of({1, 2, 3}, learners={4, 5}))


def test_a_learner_that_differs_from_the_voters_stops() -> None:
    assert stops(7, {1: 8}, Configuration.of({1}, learners={2}))


def test_in_a_joint_configuration_both_halves_must_agree() -> None:
    joint = Configuration(frozenset({1, 3}), outgoing=frozenset({4, 5}))
    assert not stops(7, {1: 8, 3: 8, 4: 8}, joint)
    assert stops(7, {1: 8, 3: 8, 4: 8, 5: 8}, joint)


def test_who_is_no_member_does_not_count() -> None:
    assert not stops(7, {8: 8, 9: 8})


def test_checkpoints_of_chains_that_began_elsewhere_are_not_compared() -> None:
    alarm = DivergenceAlarm(2)
    for member in (1, 3):
        alarm.heard(member, encode_checkpoints([point(8, begun_at=100_000)]))
    alarm.compare([point(7)], THREE, 1)


def test_an_older_checkpoint_is_enough() -> None:
    alarm = DivergenceAlarm(2)
    for member in (1, 3):
        alarm.heard(member, encode_checkpoints([point(8), point(9, index=200)]))
    with pytest.raises(StateDiverged, match=r"at index 100: its checksum is 00000007, theirs is 00000008"):
        alarm.compare([point(7), point(7, index=150)], THREE, 1)


def test_a_difference_is_logged_once_with_index_and_both_checksums(caplog: pytest.LogCaptureFixture) -> None:
    alarm = DivergenceAlarm(2)
    alarm.heard(3, encode_checkpoints([point(8), point(9, index=200)]))
    for _ in range(2):
        alarm.compare([point(7), point(7, index=200)], THREE, 1)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "member's state differs" in record.getMessage()


def test_it_is_due_once_in_a_while() -> None:
    alarm = DivergenceAlarm(2)
    assert [alarm.is_due(now) for now in (5.0, 5.0 + REPORT_SECONDS / 2, 5.0 + REPORT_SECONDS)] == [True, False, True]


# Real nodes


def forgets_to_write(one: Running) -> None:
    """From now on this node takes each command for one that it has applied before."""
    one.state_machine._sessions.judge = lambda command: Outcome.DUPLICATE  # type: ignore[method-assign]


async def until_stopped(one: Running, others: Sequence[Running]) -> None:
    """`one` fails for being different, and the others go on."""
    await until(one.node.failed.done)
    assert isinstance(one.node.failed.exception(), StateDiverged)
    await until(lambda: any(each.node.leads for each in others))
    for each in others:
        await each.put(b"after")
        assert not each.node.failed.done()


def run_with_odd_one(folder: Path, *, is_leader: bool) -> None:
    async def story(trio: Trio) -> None:
        odd = trio.leader if is_leader else trio.followers[0]
        others = [each for each in trio.nodes if each is not odd]
        forgets_to_write(odd)
        await others[0].put(b"key")
        await until_stopped(odd, others)

    async def told() -> None:
        async with three(folder) as trio:
            await story(trio)

    with patch("meteora.node.divergence.REPORT_SECONDS", 0.05):
        asyncio.run(told())


def test_a_follower_that_applies_otherwise_stops_and_the_others_go_on(tmp_path: Path) -> None:
    run_with_odd_one(tmp_path, is_leader=False)


def test_a_leader_that_applies_otherwise_stops_and_the_others_go_on(tmp_path: Path) -> None:
    run_with_odd_one(tmp_path, is_leader=True)


def test_members_that_apply_the_same_have_the_same_checkpoints_and_go_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with three(tmp_path) as trio:
            await asyncio.gather(*(each.put(b"key") for each in trio.nodes for _ in range(50)))
            await until(lambda: len({each.node.status().applied_index for each in trio.nodes}) == 1)
            newest = [each.state_machine.checkpoints()[-1] for each in trio.nodes]
            await until(lambda: all(len(each.node._divergence._heard) == 2 for each in trio.nodes))
            assert newest[0] == newest[1] == newest[2]
            assert not any(each.node.failed.done() for each in trio.nodes)

    with patch("meteora.node.divergence.REPORT_SECONDS", 0.05):
        asyncio.run(story())
