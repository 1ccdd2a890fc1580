import asyncio
from pathlib import Path

import pytest

from meteora.server.recent import known_matches, lags, quantile
from tests.unit.node.nodes import three, until

BOUNDS = (1.0, 2.0, 4.0)


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile(BOUNDS, [0, 0, 0, 0], 0.5) is None


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ([10, 0, 0, 0], 0.5, 0.5),
        ([0, 10, 0, 0], 0.5, 1.5),
        ([5, 0, 5, 0], 0.5, 1.0),
        ([5, 0, 5, 0], 1.0, 4.0),
        ([99, 0, 0, 1], 0.99, 1.0),
        ([0, 0, 0, 1], 0.5, 4.0),
    ],
)
def test_a_quantile_lies_where_its_bucket_says(counts: list[int], share: float, value: float) -> None:
    assert quantile(BOUNDS, counts, share) == pytest.approx(value)


def test_a_leader_knows_how_far_behind_the_others_are(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            await trio.leader.put(b"key")
            last = trio.leader.node.status().last_index
            others = [each.node.node_id for each in trio.followers]
            await until(lambda: known_matches(trio.leader.node) == dict.fromkeys(others, last))
            assert lags(trio.leader.node) == {1: 0, 2: 0, 3: 0}
            assert known_matches(trio.followers[0].node) == {}

    asyncio.run(run())


def test_of_one_that_a_leader_has_never_heard_no_lag_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            old = trio.leader
            trio.network.cut_off.add(old.node.node_id)
            new = await trio.until_replaced(old)
            heard = next(each.node.node_id for each in trio.nodes if each not in (old, new))
            await until(lambda: heard in known_matches(new.node))
            assert old.node.node_id in new.node.status().peers
            assert set(known_matches(new.node)) == {heard}
            assert old.node.node_id not in lags(new.node)

    asyncio.run(run())
