"""The core of the comparison: puts and linearizable reads, as many as go and one alone, on one node and on more.

With more than one node, reads go through the leader and, once more, through a follower. redis stands beside the single
nodes.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from bench import payloads, redis_system
from bench.load import Load
from bench.plan import LONE, PEAK, Bench, named_nodes, workload
from bench.results import MEMORY, Sample
from bench.systems import SYSTEMS, Cluster, follower_address, leader_address, memory_mib, running
from bench.turns import Turn, take_turns

PART: Final = "throughput"
TARGET_VALUE_BYTES: Final = 64
"""The size of values that the targets are about."""


def run(bench: Bench) -> None:
    """For each number of nodes, and each size of values."""
    for nodes in bench.plan.nodes:
        for value_bytes in bench.plan.value_sizes_bytes:
            bench.say(f"throughput: {named_nodes(nodes)}, values of {value_bytes} B")
            turns: dict[str, Turn] = {system: partial(_turn, bench, system, nodes, value_bytes) for system in SYSTEMS}
            if nodes == 1:
                turns["redis"] = partial(_redis_turn, bench, value_bytes)
            rounds = bench.plan.rounds if value_bytes == TARGET_VALUE_BYTES else bench.plan.long_rounds
            bench.results.add(PART, take_turns(turns, rounds, bench.say))


def idle_name(nodes: int) -> str:
    """The name of doing nothing yet."""
    return f"idle, {named_nodes(nodes)}"


def _turn(bench: Bench, system: str, nodes: int, value_bytes: int) -> Sample:
    sample: Sample
    with running(system, nodes, bench.folder) as cluster:
        sample = {(idle_name(nodes), MEMORY): memory_mib(cluster)}
        bench.generator.fill(leader_address(cluster), cluster.put_path, bench.plan.keys, value_bytes)
        for what, address, path, load in _loads(cluster, bench.plan.keys, value_bytes):
            outcome = bench.generator.run(address, path, load, bench.plan.seconds, bench.plan.warm_up_seconds)
            sample = {**sample, **outcome.sample(workload(what, nodes, value_bytes, load.shape))}
    return sample


def _loads(cluster: Cluster, keys: int, value_bytes: int) -> Iterator[tuple[str, str, str, Load]]:
    leader = leader_address(cluster)
    put = Load(template=payloads.put(value_bytes), keys=keys, shape=PEAK, seed=2)
    get = Load(template=payloads.get(), keys=keys, shape=PEAK, seed=3, least_reply_bytes=value_bytes)
    yield "put", leader, cluster.put_path, put
    yield "get", leader, cluster.get_path, get
    if len(cluster.nodes) > 1:
        through = follower_address(cluster)
        yield "get through a follower", through, cluster.get_path, replace(get, seed=4)
    yield "put", leader, cluster.put_path, replace(put, shape=LONE, seed=5)


def _redis_turn(bench: Bench, value_bytes: int) -> Sample:
    keys, peak = bench.plan.keys, PEAK.connections * PEAK.streams
    sample: Sample = {}
    with redis_system.running(bench.folder) as port:
        loads = (("put", "set", PEAK, peak), ("get", "get", PEAK, peak), ("put", "set", LONE, 1))
        for what, command, shape, in_flight in loads:
            name = workload(what, 1, value_bytes, shape)
            first = redis_system.measure(port, command, keys, in_flight=in_flight, keys=keys, value_bytes=value_bytes)
            rate = next(iter(redis_system.parse(first, name).values()))
            count = max(1, round(rate * bench.plan.seconds))
            output = redis_system.measure(port, command, count, in_flight=in_flight, keys=keys, value_bytes=value_bytes)
            sample = {**sample, **redis_system.parse(output, name)}
    return sample
