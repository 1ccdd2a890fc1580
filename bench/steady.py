"""Minutes of puts without a pause: whether throughput stays level, whether the leader stays, and the p99.9."""

from functools import partial
from typing import Final

from bench import payloads
from bench.load import Load
from bench.plan import PEAK, Bench, named_nodes
from bench.results import ELECTIONS, MEMORY, Sample, Timeline
from bench.systems import SYSTEMS, leader_address, memory_mib, running
from bench.turns import take_turns

PART: Final = "steady load"
VALUE_BYTES: Final = 64


def run(bench: Bench) -> None:
    """Once for each system, on the largest cluster of the plan."""
    bench.say(f"{PART}: {bench.plan.steady_seconds:g} s each")
    turns = {system: partial(_turn, bench, system) for system in SYSTEMS}
    bench.results.add(PART, take_turns(turns, 1, bench.say))


def _turn(bench: Bench, system: str) -> Sample:
    plan, nodes = bench.plan, max(bench.plan.nodes)
    name = f"put, {named_nodes(nodes)}, {VALUE_BYTES} B, {PEAK}, {plan.steady_seconds:g} s"
    load = Load(template=payloads.put(VALUE_BYTES), keys=plan.keys, shape=PEAK, seed=8)
    with running(system, nodes, bench.folder) as cluster:
        leader, term = leader_address(cluster), cluster.term()
        outcome = bench.generator.run(leader, cluster.put_path, load, plan.steady_seconds, plan.warm_up_seconds)
        bench.results.timelines.append(Timeline(system, name, outcome.log.requests_in_second))
        elections = cluster.term() - term
        return {**outcome.sample(name), (name, ELECTIONS): elections, (name, MEMORY): memory_mib(cluster)}
