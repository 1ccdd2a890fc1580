"""How long it takes to come back: a node that was killed after many writes, and a new member that has to get it all."""

from functools import partial
from typing import Final

import grpc

from bench import payloads
from bench.load import CHANNEL_OPTIONS
from bench.plan import Bench, named_nodes
from bench.processes import wait_until
from bench.results import DURATION, MEMORY, Sample
from bench.systems import SYSTEMS, Cluster, leader_address, memory_mib, running
from bench.turns import take_turns

RESTART_PART: Final = "restart"
CATCH_UP_PART: Final = "catch-up"

RESTART_VALUE_BYTES: Final = 64
CATCH_UP_VALUE_BYTES: Final = 64 * 1024
CATCH_UP_SECONDS: Final = 1200.0
ASK_SECONDS: Final = 1.0


def run_restart(bench: Bench) -> None:
    """One node, `kill -9` after the writes, and the time from its start until it answers a linearizable read."""
    bench.say(f"{RESTART_PART}: after {bench.plan.restart_keys} writes")
    turns = {system: partial(_restart_turn, bench, system) for system in SYSTEMS}
    bench.results.add(RESTART_PART, take_turns(turns, bench.plan.long_rounds, bench.say))


def run_catch_up(bench: Bench) -> None:
    """The time from the start of one more member until it has, on its own disk, what was written last before that."""
    bench.say(f"{CATCH_UP_PART}: {bench.plan.catch_up_bytes >> 20} MiB")
    turns = {system: partial(_catch_up_turn, bench, system) for system in SYSTEMS}
    bench.results.add(CATCH_UP_PART, take_turns(turns, bench.plan.long_rounds, bench.say))


def _restart_turn(bench: Bench, system: str) -> Sample:
    keys = bench.plan.restart_keys
    with running(system, 1, bench.folder) as cluster:
        bench.generator.fill(leader_address(cluster), cluster.put_path, keys, RESTART_VALUE_BYTES)
        before = memory_mib(cluster)
        cluster.nodes[0].kill()
        cluster.nodes[0].start()
        seconds = wait_until(lambda: _answers(cluster, keys - 1), "it answers", CATCH_UP_SECONDS)
        return {
            (f"restart after {keys} writes", DURATION): seconds,
            (f"after {keys} writes", MEMORY): before,
            (f"after {keys} writes and a restart", MEMORY): memory_mib(cluster),
        }


def _answers(cluster: Cluster, number: int) -> bool:
    """Whether the first node answers a linearizable read of this key, and has it."""
    with grpc.insecure_channel(cluster.addresses[0], options=CHANNEL_OPTIONS) as channel:
        ask = channel.unary_unary(cluster.get_path, request_serializer=bytes, response_deserializer=bytes)
        try:
            return len(ask(payloads.get(number).message, timeout=ASK_SECONDS)) > RESTART_VALUE_BYTES
        except grpc.RpcError:
            return False


def _catch_up_turn(bench: Bench, system: str) -> Sample:
    total = bench.plan.catch_up_bytes
    nodes = max(bench.plan.nodes)
    with running(system, nodes, bench.folder) as cluster:
        writes = max(8, total // CATCH_UP_VALUE_BYTES)
        bench.generator.fill(leader_address(cluster), cluster.put_path, writes, CATCH_UP_VALUE_BYTES)
        cluster.put(b"last", b"written")
        place = cluster.add_node()
        seconds = wait_until(lambda: cluster.has_locally(place, b"last"), "it has caught up", CATCH_UP_SECONDS)
        load = f"a member more for {named_nodes(nodes)} with {total >> 20} MiB"
        return {(load, DURATION): seconds, (load, MEMORY): memory_mib(cluster)}
