import json

import grpc

from meteora.pb import common_pb2, raft_pb2
from tests.unit.cli.conftest import Run
from tests.unit.client.remote import Remote, aborts, answers, dead_endpoint, remotes


def test_status_is_a_table_for_people(run: Run) -> None:
    with remotes(2, leader_id=2) as nodes:
        members = {1: nodes[0].endpoint, 2: nodes[1].endpoint, 3: "127.0.0.1:9"}
        for node in nodes:
            node.knows(members, 2)
            node.learners = {3}
        status, out, err = run("status", "-a", nodes[0].endpoint)
    rows = [line.split("  ") for line in out.decode().splitlines()]
    table = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert (status, err) == (0, "")
    assert table == [
        ["ID", "ROLE", "KV ADDRESS", "RAFT ADDRESS", "TERM", "APPLIED", "COMMIT", "RELEASE"],
        ["1", "follower", members[1], f"127.0.0.1:{nodes[0].port + 1}", "3", "10", "11", "0.1.0"],
        ["2", "leader", members[2], f"127.0.0.1:{nodes[1].port + 1}", "3", "10", "11", "0.1.0"],
        ["3", "unreachable", "127.0.0.1:9", "127.0.0.1:10", "-", "-", "-", "-"],
    ]


def test_status_is_json_for_programs(run: Run, node: Remote) -> None:
    with dead_endpoint() as dead:
        node.knows({1: node.endpoint, 2: dead}, 1)
        node.room = (7, 9)
        status, out, _ = run("status", "-a", node.endpoint, "-o", "json")
    nothing_known = dict.fromkeys(
        ["term", "commit_index", "applied_index", "last_index", "version", "level", "differing"]
    )
    room_unknown = dict.fromkeys(["stored_bytes", "quota_bytes", "free_bytes", "min_free_bytes"])
    dead_raft = f"127.0.0.1:{int(dead.rpartition(':')[2]) + 1}"
    assert status == 0
    assert json.loads(out) == {
        "cluster_id": "f" * 16,
        "leader_id": 1,
        "level": 0,
        "older_members": "",
        "alarms": [],
        "members": [
            {
                "id": 1,
                "role": "leader",
                "voter": True,
                "kv_address": node.endpoint,
                "raft_address": f"127.0.0.1:{node.port + 1}",
                "reachable": True,
                "term": 3,
                "commit_index": 11,
                "applied_index": 10,
                "last_index": 12,
                "version": "0.1.0",
                "level": 0,
                "differing": [],
                "stored_bytes": 7,
                "quota_bytes": 9,
                "free_bytes": 0,
                "min_free_bytes": 0,
            },
            {
                "id": 2,
                "role": "unreachable",
                "voter": True,
                "kv_address": dead,
                "raft_address": dead_raft,
                "reachable": False,
                **nothing_known,
                **room_unknown,
            },
        ],
    }


def test_why_puts_are_refused_is_told(run: Run, node: Remote) -> None:
    node.alarm = "node 1 is full: delete something"
    out = run("status", "-a", node.endpoint).out.decode()
    assert out.splitlines()[-1] == "Puts are refused: node 1 is full: delete something."


def test_states_that_differ_are_told(run: Run, node: Remote) -> None:
    node.differing = {3}
    out = run("status", "-a", node.endpoint).out.decode()
    assert out.splitlines()[-1] == "The state of node 3 differs from that of node 1: see their logs."


def test_a_leader_that_only_others_can_reach_is_named(run: Run, node: Remote) -> None:
    with dead_endpoint() as dead:
        node.knows({1: node.endpoint, 2: dead}, 2)
        out = run("status", "-a", node.endpoint).out.decode()
    assert out.splitlines()[-1] == "Node 2 leads, say the others."


def test_status_without_a_leader_is_shown_and_is_unavailable(run: Run, node: Remote) -> None:
    node.leader_id = 0
    status, out, _ = run("status", "-a", node.endpoint)
    assert status == 3
    assert b"No leader is known" in out


def test_status_of_nobody_is_unavailable(run: Run) -> None:
    with dead_endpoint() as dead:
        assert run("status", "-a", dead, "--timeout", "0.3").status == 3


def test_leave_removes_the_node_and_says_so(run: Run, node: Remote) -> None:
    assert run("leave", "-i", "3", "-a", node.endpoint) == (0, b"OK\n", "")
    assert node.requests == [raft_pb2.ConfChange(change_type=raft_pb2.RemoveNode, node_id=3)]


def test_a_forced_leave_says_so_to_the_node(run: Run, node: Remote) -> None:
    assert run("leave", "-i", "3", "--force", "-a", node.endpoint).status == 0
    assert node.requests == [raft_pb2.ConfChange(change_type=raft_pb2.RemoveNode, node_id=3, force=True)]


def test_leave_of_a_node_that_is_no_member_fails_and_names_it(run: Run, node: Remote) -> None:
    node.always = answers(common_pb2.NOT_FOUND)
    ended = run("leave", "-i", "9", "-a", node.endpoint)
    assert ended == (1, b"", "meteora: error: node 9 is not a member of the cluster\n")


def test_a_refused_leave_fails_with_the_reason(run: Run, node: Remote) -> None:
    node.always = aborts(grpc.StatusCode.FAILED_PRECONDITION, "node 1 is the last voter", "not-applied")
    ended = run("leave", "-i", "1", "-a", node.endpoint)
    assert (ended.status, ended.out) == (1, b"")
    assert "node 1 is the last voter" in ended.err


def test_transfer_lets_the_node_lead_and_says_so(run: Run, node: Remote) -> None:
    assert run("transfer", "-i", "3", "-a", node.endpoint) == (0, b"OK\n", "")
    assert node.requests == [raft_pb2.TransferReq(node_id=3)]


def test_a_refused_transfer_fails_with_the_reason(run: Run, node: Remote) -> None:
    node.always = aborts(grpc.StatusCode.FAILED_PRECONDITION, "node 4 is a learner", "not-applied")
    ended = run("transfer", "-i", "4", "-a", node.endpoint)
    assert (ended.status, ended.out) == (1, b"")
    assert "node 4 is a learner" in ended.err
