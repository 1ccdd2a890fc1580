"""Latency of puts at a fixed rate, which is half of what the slower of the two systems can do.

The same rate for both: under half of its own peak each would do different work. h2load measures from when it sends a
request, so one that had to wait for a stream counts no longer; at half of the peak there are streams enough.
"""

from dataclasses import replace
from functools import partial
from statistics import median
from typing import Final

from bench import payloads, throughput
from bench.load import Load
from bench.plan import PEAK, Bench, named_nodes, workload
from bench.results import THROUGHPUT, Sample
from bench.systems import SYSTEMS, leader_address, running
from bench.turns import take_turns

PART: Final = "half load"
VALUE_BYTES: Final = 64


def run(bench: Bench) -> None:
    """On the largest cluster of the plan."""
    nodes = max(bench.plan.nodes)
    rate = min(_peak(bench, system, nodes) for system in SYSTEMS) / 2
    bench.say(f"half load: {named_nodes(nodes)}, {rate:,.0f} puts/s")
    turns = {system: partial(_turn, bench, system, nodes, rate) for system in SYSTEMS}
    bench.results.add(PART, take_turns(turns, bench.plan.rounds, bench.say))


def name(nodes: int) -> str:
    """The name of the load."""
    return f"put at half of the lower peak, {named_nodes(nodes)}, {VALUE_BYTES} B"


def _peak(bench: Bench, system: str, nodes: int) -> float:
    """As it was measured before, or else measured now."""
    name_of_peak = workload("put", nodes, VALUE_BYTES, PEAK)
    known = bench.results.values(throughput.PART, name_of_peak, system, THROUGHPUT)
    return median(known) if known else _turn(bench, system, nodes, None)[name(nodes), THROUGHPUT]


def _turn(bench: Bench, system: str, nodes: int, rate: float | None) -> Sample:
    plan = bench.plan
    shape = replace(PEAK, requests_per_second=rate)
    load = Load(template=payloads.put(VALUE_BYTES), keys=plan.keys, shape=shape, seed=6)
    with running(system, nodes, bench.folder) as cluster:
        leader = leader_address(cluster)
        bench.generator.fill(leader, cluster.put_path, plan.keys, VALUE_BYTES)
        outcome = bench.generator.run(leader, cluster.put_path, load, plan.seconds, plan.warm_up_seconds)
    return outcome.sample(name(nodes))
