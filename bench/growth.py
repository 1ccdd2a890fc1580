"""What becomes of throughput as work grows: more keys, more connections, more nodes."""

from functools import partial
from typing import Final

from bench import payloads
from bench.h2load import Shape
from bench.load import Load
from bench.plan import PEAK, Bench, named_nodes
from bench.results import MEMORY, Sample
from bench.systems import SYSTEMS, Cluster, leader_address, memory_mib, running
from bench.turns import take_turns

KEYS_PART: Final = "more keys"
CONNECTIONS_PART: Final = "more connections"
NODES_PART: Final = "more nodes"
VALUE_BYTES: Final = 64


def run_keys(bench: Bench) -> None:
    """One node, ever more keys in it."""
    for keys in bench.plan.growing_keys:
        bench.say(f"{KEYS_PART}: {keys}")
        turns = {system: partial(_keys_turn, bench, system, keys) for system in SYSTEMS}
        bench.results.add(KEYS_PART, take_turns(turns, bench.plan.long_rounds, bench.say))


def run_connections(bench: Bench) -> None:
    """Three nodes, or as many as the plan has, ever more connections, one request at a time on each."""
    nodes = max(bench.plan.nodes)
    bench.say(f"{CONNECTIONS_PART}: {', '.join(map(str, bench.plan.growing_connections))}")
    turns = {system: partial(_connections_turn, bench, system, nodes) for system in SYSTEMS}
    bench.results.add(CONNECTIONS_PART, take_turns(turns, bench.plan.long_rounds, bench.say))


def run_nodes(bench: Bench) -> None:
    """Ever more nodes, all on this machine."""
    for nodes in bench.plan.growing_nodes:
        bench.say(f"{NODES_PART}: {nodes}")
        turns = {system: partial(_nodes_turn, bench, system, nodes) for system in SYSTEMS}
        bench.results.add(NODES_PART, take_turns(turns, bench.plan.long_rounds, bench.say))


def keys_name(what: str, keys: int) -> str:
    """The name of a load on so many keys."""
    return f"{what}, 1 node, {VALUE_BYTES} B, {keys} keys"


def _keys_turn(bench: Bench, system: str, keys: int) -> Sample:
    with running(system, 1, bench.folder) as cluster:
        bench.generator.fill(leader_address(cluster), cluster.put_path, keys, VALUE_BYTES)
        get = _measure(bench, cluster, keys_name("get", keys), "get", keys=keys)
        put = _measure(bench, cluster, keys_name("put", keys), "put", keys=keys)
        return {**get, **put, (f"with {keys} keys", MEMORY): memory_mib(cluster)}


def _connections_turn(bench: Bench, system: str, nodes: int) -> Sample:
    sample: Sample = {}
    with running(system, nodes, bench.folder) as cluster:
        bench.generator.fill(leader_address(cluster), cluster.put_path, bench.plan.keys, VALUE_BYTES)
        for connections in bench.plan.growing_connections:
            shape = Shape(connections=connections, streams=1)
            name = f"put, {named_nodes(nodes)}, {VALUE_BYTES} B, {shape}"
            sample = {**sample, **_measure(bench, cluster, name, "put", keys=bench.plan.keys, shape=shape)}
    return sample


def _nodes_turn(bench: Bench, system: str, nodes: int) -> Sample:
    sample: Sample = {}
    with running(system, nodes, bench.folder) as cluster:
        bench.generator.fill(leader_address(cluster), cluster.put_path, bench.plan.keys, VALUE_BYTES)
        for what in ("put", "get"):
            name = f"{what}, {named_nodes(nodes)}, {VALUE_BYTES} B, {PEAK}"
            sample = {**sample, **_measure(bench, cluster, name, what, keys=bench.plan.keys)}
    return sample


def _measure(bench: Bench, cluster: Cluster, name: str, what: str, *, keys: int, shape: Shape = PEAK) -> Sample:
    if what == "put":
        path, load = cluster.put_path, Load(template=payloads.put(VALUE_BYTES), keys=keys, shape=shape)
    else:
        get = payloads.get()
        path, load = cluster.get_path, Load(template=get, keys=keys, shape=shape, least_reply_bytes=VALUE_BYTES)
    plan = bench.plan
    outcome = bench.generator.run(leader_address(cluster), path, load, plan.seconds, plan.warm_up_seconds)
    return outcome.sample(name)
