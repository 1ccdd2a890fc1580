"""Nodes that come, go, come back and move: who is in the cluster is what the nodes say, whatever happens at once."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.processes import NodeProcess, get, node_status, put, wait_until

SETTLE_SECONDS = 20.0
"""For all nodes to agree who is in the cluster."""

LEAVE_SECONDS = 15.0
"""For nodes that are all told to leave at once: promptly, but the machine may be busy."""

SEVERAL_ATTEMPTS_SECONDS = 2.0
"""In which a node tries to reach a peer at least twice."""


class Machine:
    """Starts nodes on this host, and ends them all."""

    def __init__(self, folder: Path, free_port: Callable[[], int]) -> None:
        self._folder = folder
        self._free_port = free_port
        self._nodes: list[NodeProcess] = []

    def node(self, node_id: int, *more: str, peer: "Node | None" = None, name: str = "") -> "Node":
        """A node that is not started yet; `peer`: whom it joins. Nodes with the same name share a data directory."""
        ports = (self._free_port(), self._free_port())
        node = Node(self._folder / (name or str(node_id)), node_id, ports, more, peer)
        self._nodes.append(node.process)
        return node

    def cluster(self, count: int, *more: str) -> "list[Node]":
        """Nodes 1 to `count`, all of them voters."""
        nodes: list[Node] = []
        for node_id in range(1, count + 1):
            nodes.append(self.node(node_id, *more, peer=nodes[0] if nodes else None).start())
        wait_for_voters(nodes, range(1, count + 1))
        return nodes

    def end(self) -> None:
        for node in self._nodes:
            node.end()


class Node:
    """One node of a test: its process, its ports, and what can be asked of it."""

    def __init__(
        self, folder: Path, node_id: int, ports: tuple[int, int], more: Sequence[str], peer: "Node | None"
    ) -> None:
        self.node_id = node_id
        self.raft_port, self.kv_port = ports
        self.data = folder / "data"
        folder.mkdir(exist_ok=True)
        arguments = ["-i", str(node_id), "-a", "127.0.0.1", "-r", str(ports[0]), "-k", str(ports[1])]
        joins = ["-p", peer.raft_address] if peer is not None else []
        self.process = NodeProcess([*arguments, "-d", str(self.data), *joins, *more], folder / f"{ports[0]}.log")

    @property
    def raft_address(self) -> str:
        return f"127.0.0.1:{self.raft_port}"

    @property
    def kv_address(self) -> str:
        return f"127.0.0.1:{self.kv_port}"

    @property
    def said(self) -> str:
        """What it printed since its last start."""
        return self.process.output_since_start

    def start(self) -> "Node":
        """Start it, and wait until it serves."""
        self.process.start().wait_until_serving()
        return self

    def members(self) -> dict[str, str]:
        """The Raft addresses of the members by their ids, as this node says; learners are marked. Empty: no answer."""
        status = node_status(self.kv_port) or {}
        return {
            each["id"]: each["address"]["raftAddress"] + (" learner" if each.get("learner") else "")
            for each in status.get("members", ())
        }

    def leader(self) -> int:
        """Whom this node follows; 0 if nobody."""
        return int((node_status(self.kv_port) or {}).get("leaderId", 0))


@pytest.fixture
def machine(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Machine]:
    machine = Machine(tmp_path, free_port)
    try:
        yield machine
        for node in machine._nodes:
            assert "Traceback" not in node.output
    finally:
        machine.end()


def wait_for_voters(nodes: Sequence[Node], ids: Sequence[int]) -> None:
    """Wait until these nodes say that exactly these are the members, all of them voters, and know their leader."""
    expected = {str(each) for each in ids}

    def agreed() -> bool:
        views = [node.members() for node in nodes]
        return all(
            view.keys() == expected and not any("learner" in each for each in view.values()) for view in views
        ) and all(node.leader() in ids for node in nodes)

    wait_until(agreed, f"{[node.node_id for node in nodes]} say that the voters are {sorted(ids)}", SETTLE_SECONDS)


def leader_of(nodes: Sequence[Node]) -> Node:
    leader_id = nodes[0].leader()
    return next(node for node in nodes if node.node_id == leader_id)


def others_than(node: Node, nodes: Sequence[Node]) -> list[Node]:
    return [each for each in nodes if each is not node]


def meteora(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "meteora", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def leave(node: Node, asked: Node) -> None:
    """`meteora leave`, asked of any node."""
    result = meteora("leave", "-i", str(node.node_id), "-a", asked.kv_address)
    assert (result.returncode, result.stdout, result.stderr) == (0, "OK\n", "")


def refusal(node: Node) -> str:
    """The one line with which a node that can't start ends, without its prefix."""
    node.process.start()
    assert node.process.wait() == 1
    last_line = node.said.splitlines()[-1]
    assert last_line.startswith("meteora: error: ")
    return last_line.removeprefix("meteora: error: ")


# Coming


def test_three_nodes_that_are_started_at_once_form_one_cluster(machine: Machine) -> None:
    first = machine.node(1)
    nodes = [first, machine.node(2, peer=first), machine.node(3, peer=first)]
    for node in nodes:
        node.process.start()
    for node in nodes:
        node.process.wait_until_serving()
    wait_for_voters(nodes, (1, 2, 3))
    assert len({node_status(node.kv_port)["clusterId"] for node in nodes}) == 1
    for node in nodes[1:]:
        assert "created a cluster" not in node.said


def test_who_joins_tries_on_until_its_peer_is_up_and_says_so_once(machine: Machine) -> None:
    first = machine.node(1)
    second = machine.node(2, peer=first)
    second.process.start().wait_for_line(f"can't join yet, trying on peer={first.raft_address}")
    time.sleep(SEVERAL_ATTEMPTS_SECONDS)  # It must not say it at each of them.
    assert second.said.count("can't join yet") == 1
    first.start()
    second.process.wait_until_serving()
    wait_for_voters([first, second], (1, 2))


def test_who_is_killed_while_it_tries_to_join_joins_at_its_next_start(machine: Machine) -> None:
    first = machine.node(1)
    second = machine.node(2, peer=first)
    second.process.start().wait_for_line("can't join yet, trying on")
    second.process.kill()
    first.start()
    second.start()
    wait_for_voters([first, second], (1, 2))


def test_who_asks_a_follower_is_passed_on_to_the_leader(machine: Machine) -> None:
    nodes = machine.cluster(2)
    follower = others_than(leader_of(nodes), nodes)[0]
    third = machine.node(3, peer=follower).start()
    wait_for_voters([*nodes, third], (1, 2, 3))


def test_a_newcomer_is_a_learner_before_it_is_a_voter(machine: Machine) -> None:
    first = machine.node(1).start()
    put(first.kv_port, b"key", b"value")
    second = machine.node(2, peer=first).start()
    wait_for_voters([first, second], (1, 2))
    configurations = re.findall(r'the membership changed index=\d+ members="(.*)"', first.said)
    assert configurations == ["voters=(1) learners=(2)", "voters=(1 2)"]
    assert get(second.kv_port, b"key")["state"] == "OK"


# Coming back


def test_a_member_comes_back_from_its_own_disk_even_if_its_peer_is_down(machine: Machine) -> None:
    first, second, third = machine.cluster(3)
    put(first.kv_port, b"key", b"value")
    before = second.members()
    assert first.process.interrupt() == 0
    assert third.process.interrupt() == 0
    third.start()
    assert "already a member: -p is not needed" in third.said
    assert get(third.kv_port, b"key")["value"] == "dmFsdWU="
    assert third.members() == second.members() == before


def test_a_member_that_comes_back_under_a_new_address_tells_the_others(machine: Machine) -> None:
    nodes = machine.cluster(3)
    assert nodes[1].process.interrupt() == 0
    moved = machine.node(2, peer=nodes[0]).start()
    remaining = [nodes[0], moved, nodes[2]]
    expected = {str(node.node_id): node.raft_address for node in remaining}
    wait_until(
        lambda: all(node.members() == expected for node in remaining), "the new address is known", SETTLE_SECONDS
    )
    put(moved.kv_port, b"key", b"value")
    assert get(nodes[2].kv_port, b"key")["addressMap"]["2"] == {
        "kvAddress": moved.kv_address,
        "raftAddress": moved.raft_address,
    }


@pytest.mark.parametrize("which", [0, 1], ids=["leader", "follower"])
def test_one_of_two_that_comes_back_under_a_new_address_is_found_although_nobody_leads_without_it(
    machine: Machine, which: int
) -> None:
    nodes = machine.cluster(2)
    leader = leader_of(nodes)
    moving, staying = (leader, *others_than(leader, nodes)) if which == 0 else (*others_than(leader, nodes), leader)
    moving.process.kill()
    moved = machine.node(moving.node_id, peer=staying).start()
    expected = {str(node.node_id): node.raft_address for node in (moved, staying)}
    wait_until(
        lambda: moved.members() == staying.members() == expected, "the new address is known to both", SETTLE_SECONDS
    )
    put(moved.kv_port, b"key", b"value")


def test_a_cluster_of_one_comes_back_under_a_new_address(machine: Machine) -> None:
    before = machine.node(1).start()
    put(before.kv_port, b"key", b"value")
    assert before.process.interrupt() == 0
    after = machine.node(1).start()
    wait_until(lambda: after.members() == {"1": after.raft_address}, "the new address is known", SETTLE_SECONDS)
    assert get(after.kv_port, b"key")["state"] == "OK"


# Going


def test_any_member_can_be_removed_by_way_of_any_node(machine: Machine) -> None:
    nodes = machine.cluster(3)
    leader = leader_of(nodes)
    asked, follower = others_than(leader, nodes)
    for removed in (follower, leader):
        leave(removed, asked)
        assert removed.process.wait() == 0
        assert "this node is no longer a member; to join anew, start it with -p" in removed.said
        nodes.remove(removed)
        wait_for_voters(nodes, [node.node_id for node in nodes])
        put(asked.kv_port, b"key", b"value")


@pytest.mark.parametrize("number", [0, 1], ids=["the founder stays", "the founder leaves"])
def test_the_one_that_stays_of_two_serves_alone_although_it_is_killed_at_once(machine: Machine, number: int) -> None:
    nodes = machine.cluster(2)
    stays, leaves = nodes[number], nodes[1 - number]
    put(stays.kv_port, b"key", b"value")
    leave(leaves, stays)
    stays.process.kill()
    stays.start()
    wait_for_voters([stays], [stays.node_id])
    assert get(stays.kv_port, b"key")["state"] == "OK"


def test_who_is_no_member_can_not_be_removed(machine: Machine) -> None:
    node = machine.node(1).start()
    result = meteora("leave", "-i", "9", "-a", node.kv_address)
    assert (result.returncode, result.stdout, result.stderr) == (
        1,
        "",
        "meteora: error: node 9 is not a member of the cluster\n",
    )


def test_the_last_member_can_not_be_removed(machine: Machine) -> None:
    node = machine.node(1).start()
    result = meteora("leave", "-i", "1", "-a", node.kv_address)
    assert (result.returncode, result.stdout) == (1, "")
    assert "node 1 is the last voter: without it there is no cluster; just stop it" in result.stderr
    put(node.kv_port, b"key", b"value")


def test_a_node_that_is_told_to_leave_when_it_stops_does(machine: Machine) -> None:
    nodes = machine.cluster(3, "-l")
    leader = leader_of(nodes)
    for leaving, number in ((leader, signal.SIGINT), (others_than(leader, nodes)[0], signal.SIGTERM)):
        assert leaving.process.stop(number) == 0
        nodes.remove(leaving)
        wait_for_voters(nodes, [node.node_id for node in nodes])
        put(nodes[0].kv_port, b"key", b"value")


def test_nodes_that_come_and_go_in_good_order_give_no_cause_for_alarm(machine: Machine) -> None:
    nodes = machine.cluster(3, "-l")
    leader = leader_of(nodes)
    staying, leaving = others_than(leader, nodes)
    for gone in (leaving, leader):
        assert gone.process.interrupt() == 0
    wait_for_voters([staying], [staying.node_id])
    time.sleep(SEVERAL_ATTEMPTS_SECONDS)  # In which they might be missed.
    for node in nodes:
        assert [line for line in node.said.splitlines() if " WARN " in line or " ERROR " in line] == []


def test_what_was_before_a_node_joined_is_no_news_to_it(machine: Machine) -> None:
    first, second = machine.cluster(2)
    third = machine.node(3, peer=second).start()
    wait_for_voters([first, second, third], (1, 2, 3))
    told = re.findall(r'the membership changed index=\d+ members="(.*)"', third.said)
    assert told == ["voters=(1 2) learners=(3)", "voters=(1 2 3)"]


def test_the_last_member_stops_without_leaving_and_comes_back_with_its_data(machine: Machine) -> None:
    node = machine.node(1, "-l").start()
    put(node.kv_port, b"key", b"value")
    assert node.process.interrupt() == 0
    node.start()
    assert get(node.kv_port, b"key")["state"] == "OK"
    assert node.members() == {"1": node.raft_address}


def test_of_three_that_leave_at_once_one_stays_and_comes_back_alone_with_the_data(machine: Machine) -> None:
    nodes = machine.cluster(3, "-l")
    put(nodes[0].kv_port, b"key", b"value")
    for node in nodes:
        node.process.process.send_signal(signal.SIGINT)
    assert [node.process.wait(LEAVE_SECONDS) for node in nodes] == [0, 0, 0]
    stayed = [node for node in nodes if "this node is no longer a member" not in node.said]
    assert len(stayed) == 1
    assert "not leaving: this is the only member, and so it keeps the data" in stayed[0].said
    stayed[0].start()
    wait_for_voters(stayed, [stayed[0].node_id])
    assert get(stayed[0].kv_port, b"key")["value"] == "dmFsdWU="


# Coming back after going


def asides(node: Node) -> list[str]:
    return sorted(path.name for path in node.data.glob("removed-*"))


def test_a_removed_node_that_is_told_whom_to_join_sets_its_state_aside_and_joins_anew(machine: Machine) -> None:
    first, second = machine.cluster(2)
    put(first.kv_port, b"key", b"value")
    leave(second, first)
    assert second.process.wait() == 0
    second.start()
    wait_for_voters([first, second], (1, 2))
    assert get(second.kv_port, b"key")["state"] == "OK"
    (aside,) = asides(second)
    assert re.fullmatch(r"removed-\d{8}-\d{6}", aside)
    assert sorted(path.name for path in (second.data / aside).iterdir()) == ["identity", "kv", "raft"]
    assert f"old state set aside moved_to={second.data / aside}" in second.said


def test_a_node_that_was_removed_while_it_was_down_learns_it_and_joins_anew(machine: Machine) -> None:
    nodes = machine.cluster(3)
    put(nodes[0].kv_port, b"key", b"value")
    third = nodes[2]
    third.process.kill()
    leave(third, nodes[0])
    third.process.start().wait_for_line("old state set aside")
    third.process.wait_until_serving()
    wait_for_voters(nodes, (1, 2, 3))
    assert get(third.kv_port, b"key")["state"] == "OK"
    assert len(asides(third)) == 1


def test_a_node_that_was_removed_while_it_was_down_refuses_if_it_is_not_told_whom_to_join(machine: Machine) -> None:
    nodes = machine.cluster(3)
    first = nodes[0]
    first.process.kill()
    wait_until(lambda: nodes[1].leader() not in (0, 1), "another one leads", SETTLE_SECONDS)
    leave(first, nodes[1])
    said = refusal(first)
    assert re.fullmatch(
        r"node 1 was removed from cluster [0-9a-f]{16}; to join it anew, start it with -p and the Raft address of a "
        rf"member \(last known: {nodes[1].raft_address}, {nodes[2].raft_address}\): its old state is then set aside, "
        rf"nothing is deleted; to start a new cluster, choose another data directory than {re.escape(str(first.data))}",
        said,
    )
    # And now it knows by itself.
    assert refusal(first) == said
    assert "serving" not in first.said
    assert asides(first) == []
    wait_for_voters(nodes[1:], (2, 3))


def test_the_id_of_a_member_that_lost_its_data_is_free_once_that_was_removed(machine: Machine) -> None:
    first, second, third = machine.cluster(3)
    third.process.kill()
    anew = machine.node(3, peer=first, name="3 with an empty directory")
    assert "node id 3 belongs to the member at" in refusal(anew)
    leave(third, second)
    anew.start()
    wait_for_voters([first, second, anew], (1, 2, 3))
    # Who had the id before is not let in again.
    third.process.start().wait_for_line("this node was removed")


# Strangers


@contextmanager
def other_cluster_at(machine: Machine, member: Node) -> Iterator[Node]:
    """A node of another cluster, with the id and at the ports of `member`."""
    stranger = machine.node(member.node_id, name="stranger")
    arguments = stranger.process.arguments
    for option, port in (("-r", member.raft_port), ("-k", member.kv_port)):
        arguments[arguments.index(option) + 1] = str(port)
    stranger.raft_port, stranger.kv_port = member.raft_port, member.kv_port
    stranger.start()
    yield stranger
    stranger.process.end()


def test_a_node_of_another_cluster_is_refused_and_both_go_on(machine: Machine) -> None:
    nodes = machine.cluster(3)
    gone = others_than(leader_of(nodes), nodes)[0]
    gone.process.kill()
    remaining = others_than(gone, nodes)
    with other_cluster_at(machine, gone) as stranger:
        for node in remaining:
            node.process.wait_for_line("refused by peer")
        time.sleep(SEVERAL_ATTEMPTS_SECONDS)  # It must not be said at each of them.
        for node in remaining:
            (line,) = [line for line in node.said.splitlines() if "refused by peer" in line]
            assert f"peer={gone.node_id}" in line
            assert "reason=foreign-cluster" in line
        refused = [line for line in stranger.said.splitlines() if "peer refused" in line]
        assert len(refused) == len(remaining)
        assert all("reason=foreign-cluster" in line for line in refused)
        assert stranger.members() == {str(gone.node_id): gone.raft_address}
        put(stranger.kv_port, b"key", b"stranger's")
        put(remaining[0].kv_port, b"key", b"ours")
        assert get(stranger.kv_port, b"key")["value"] != get(remaining[1].kv_port, b"key")["value"]
    gone.start()
    wait_for_voters(nodes, (1, 2, 3))


# Addresses


def own_address() -> str | None:
    """An address of this host that others can reach it by, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Sends nothing.
        except OSError:
            return None
        return str(probe.getsockname()[0])


def test_the_others_are_told_the_advertised_address(machine: Machine) -> None:
    first = machine.node(1, "-a", "0.0.0.0", "--advertise-address", "127.0.0.2").start()
    second = machine.node(2, peer=first).start()
    expected = {"1": f"127.0.0.2:{first.raft_port}", "2": second.raft_address}
    wait_until(lambda: second.members() == first.members() == expected, "both are voters", SETTLE_SECONDS)
    assert get(second.kv_port, b"key")["addressMap"]["1"] == {
        "kvAddress": f"127.0.0.2:{first.kv_port}",
        "raftAddress": f"127.0.0.2:{first.raft_port}",
    }


WILDCARD_WARNING = "other hosts can't reach this address: start that node with --advertise-address"


def test_the_advertised_address_0_0_0_0_is_warned_of_when_another_host_joins(machine: Machine) -> None:
    host = own_address()
    if host is None or host.startswith("127."):
        pytest.skip("this host has no address that it could be taken for another one by")
    first = machine.node(1, "-a", "0.0.0.0").start()
    local = machine.node(2, peer=first).start()
    wait_for_voters([first, local], (1, 2))
    assert WILDCARD_WARNING not in first.said
    third = machine.node(3, "-p", f"{host}:{first.raft_port}").start()
    wait_for_voters([first, third], (1, 2, 3))
    assert f"{WILDCARD_WARNING} address=0.0.0.0:{first.raft_port}" in first.said
