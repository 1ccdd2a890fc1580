"""Real nodes on hosts of their own, whose cables are cut: what clients see is one copy of the data, at any time."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.cluster.histories import Histories
from tests.cluster.namespaces import ClusterOnHosts, Hosts
from tests.cluster.processes import START_SECONDS, wait_until

pytestmark = pytest.mark.faults

SERVES_AGAIN_SECONDS = 10.0
"""For a majority that can talk: some elections, and a client that finds out whom to ask."""

SOME_ELECTION_TIMEOUTS_SECONDS = 6.0

CONVERGE_SECONDS = 20.0


@pytest.fixture
def five(tmp_path: Path) -> Iterator[ClusterOnHosts]:
    """A cluster of five on five hosts, with the default settings."""
    with Hosts(5) as hosts:
        cluster = ClusterOnHosts(hosts, tmp_path)
        try:
            yield cluster.start()
        finally:
            cluster.end()


def test_a_leader_that_is_cut_off_steps_down_and_rejoins_without_disruption(five: ClusterOnHosts) -> None:
    with Histories(five.endpoints, seed=1) as clients:
        old = five.leader()
        others = set(five.nodes) - {old}
        five.hosts.split({old}, others)
        new = five.leader(among=others)
        wait_until(lambda: not five.leads(old), "the one that is cut off has stepped down", START_SECONDS)
        clients.wait_for_new_write(SERVES_AGAIN_SECONDS)
        term = five.status(new)["term"]
        time.sleep(SOME_ELECTION_TIMEOUTS_SECONDS)  # It asks for votes all the while, and must not raise its term.
        five.hosts.heal()
        wait_until(lambda: five.status(old).get("leaderId") == str(new), "it follows the new leader", CONVERGE_SECONDS)
        assert five.status(new)["term"] == term
    wait_until(five.have_converged, "all have applied the same", CONVERGE_SECONDS)


@pytest.mark.parametrize("direction", ["out", "in"])
def test_a_leader_behind_a_cable_that_is_cut_one_way_steps_down(five: ClusterOnHosts, direction: str) -> None:
    with Histories(five.endpoints, seed=2) as clients:
        old = five.leader()
        others = set(five.nodes) - {old}
        for other in others:
            five.hosts.cut(*((old, other) if direction == "out" else (other, old)))
        five.leader(among=others)
        wait_until(lambda: not five.leads(old), "the old one has stepped down", START_SECONDS)
        clients.wait_for_new_write(SERVES_AGAIN_SECONDS)
        five.hosts.heal()
    wait_until(five.have_converged, "all have applied the same", CONVERGE_SECONDS)


def _isolate_leader(cluster: ClusterOnHosts, random: Random) -> None:
    leader = cluster.leader()
    cluster.hosts.split({leader}, set(cluster.nodes) - {leader})


def _isolate_two(cluster: ClusterOnHosts, random: Random) -> None:
    two = set(random.sample(list(cluster.nodes), 2))
    cluster.hosts.split(two, set(cluster.nodes) - two)


def _cut_some_ways(cluster: ClusterOnHosts, random: Random) -> None:
    # Of one host, so that the four others always are a majority that can talk.
    one = random.choice(list(cluster.nodes))
    for other in random.sample(sorted(set(cluster.nodes) - {one}), 3):
        cluster.hosts.cut(*random.choice([(one, other), (other, one)]))


def _flap(cluster: ClusterOnHosts, random: Random) -> None:
    for _ in range(5):
        _isolate_leader(cluster, random)
        time.sleep(random.uniform(0.1, 1.0))  # How long is what is random; nothing waits for it.
        cluster.hosts.heal()


def _kill_leader(cluster: ClusterOnHosts, random: Random) -> None:
    cluster.nodes[cluster.leader()].kill()


def _pause_leader(cluster: ClusterOnHosts, random: Random) -> None:
    process = cluster.nodes[cluster.leader()].process
    process.send_signal(signal.SIGSTOP)
    time.sleep(random.uniform(0.5, 3.0))  # As above.
    process.send_signal(signal.SIGCONT)


FAULTS: tuple[Callable[[ClusterOnHosts, Random], None], ...] = (
    _isolate_leader,
    _isolate_two,
    _cut_some_ways,
    _flap,
    _kill_leader,
    _pause_leader,
)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [1])
def test_through_cuts_kills_and_pauses_clients_see_one_copy_of_the_data(five: ClusterOnHosts, seed: int) -> None:
    random = Random(seed)
    with Histories(five.endpoints, seed) as clients:
        for break_something in random.sample(FAULTS, len(FAULTS)):
            break_something(five, random)
            clients.wait_for_new_write(SERVES_AGAIN_SECONDS)
            five.hosts.heal()
            for node in five.nodes.values():
                if not node.is_running:
                    node.start().wait_until_serving()
            clients.wait_for_new_write(SERVES_AGAIN_SECONDS)
    wait_until(five.have_converged, "all have applied the same", CONVERGE_SECONDS)
