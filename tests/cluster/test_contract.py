"""What users were promised, to the letter: their commands, on their ports, answered through the real grpcurl.

Only the folder for data differs, and 127.0.0.1 stands for this machine where commands of ours are not spelled out.
"""

import json
import os
import shlex
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.processes import GRPCURL, ROOT, START_SECONDS, ClusterProcesses, NodeProcess, wait_until

THREE_NODES = {
    1: "meteora start -i 1 -a 0.0.0.0 -r 7001 -k 5001 -d /tmp/meteora/1/data -l",
    2: "meteora start -i 2 -a 0.0.0.0 -r 7002 -k 5002 -d /tmp/meteora/2/data -p 0.0.0.0:7001 -l",
    3: "meteora start -i 3 -a 0.0.0.0 -r 7003 -k 5003 -d /tmp/meteora/3/data -p 0.0.0.0:7001 -l",
}

KV_SERVICES = {
    "meteora.auth.AuthService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
    "meteora.kv.KvService",
    "meteora.maintenance.MaintenanceService",
    "meteora.raft.RaftService",
}

RAFT_CALL = "grpcurl -import-path meteora-proto/proto -proto meteora-proto/proto/raft.proto -plaintext"
KV_CALL = "grpcurl -import-path meteora-proto/proto -proto meteora-proto/proto/kv.proto -plaintext"

pytestmark = [pytest.mark.usefixtures("contract_ports"), pytest.mark.xdist_group("contract ports")]


def run_grpcurl(command: str) -> str:
    """What a command that begins with `grpcurl` prints when it is run in the repository's root. Fails if it does."""
    program, *arguments = shlex.split(command)
    assert program == "grpcurl"
    result = subprocess.run([GRPCURL, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def status(raft_port: int) -> Any:
    return json.loads(run_grpcurl(f"{RAFT_CALL} 0.0.0.0:{raft_port} meteora.raft.RaftService/Status"))


def call_kv(kv_port: int, method: str, **fields: bytes) -> Any:
    request = json.dumps({name: b64encode(data).decode() for name, data in fields.items()})
    return json.loads(run_grpcurl(f"{KV_CALL} -d '{request}' 0.0.0.0:{kv_port} meteora.kv.KvService/{method}"))


def run_meteora(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(command)
    assert program == "meteora"
    return subprocess.run(
        [sys.executable, "-m", "meteora", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **environment},
    )


def printed(command: str, **environment: str) -> str:
    """What a command of ours prints that is to succeed."""
    result = run_meteora(command, **environment)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


# A node alone

ALONE = {
    "state": "OK",
    "addressMap": {"1": {"kvAddress": "0.0.0.0:5000", "raftAddress": "0.0.0.0:7000"}},
    "leaderId": "1",
}


@pytest.fixture(scope="module")
def node(contract_ports: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """`meteora start` in an empty folder, for all tests of this module: it holds no ports of the others."""
    folder = tmp_path_factory.mktemp("alone")
    node = NodeProcess([], folder / "node.log", cwd=folder)
    try:
        node.start().wait_until_serving()
        wait_until(lambda: status(7000).get("leaderId") == "1", "the node leads itself", START_SECONDS)
        yield node
    finally:
        node.end()


@pytest.mark.usefixtures("node")
def test_status_of_a_node_alone_is_what_was_promised() -> None:
    assert status(7000) == ALONE


def test_a_node_keeps_its_data_in_the_folder_data_of_where_it_was_started(node: NodeProcess) -> None:
    assert (node.log.parent / "data").is_dir()


@pytest.mark.usefixtures("node")
def test_put_get_and_delete_print_state_members_and_leader() -> None:
    assert call_kv(5000, "Put", key=b"key1", value=b"value1") == ALONE
    assert call_kv(5000, "Get", key=b"key1") == {"value": b64encode(b"value1").decode(), **ALONE}
    assert call_kv(5000, "Delete", key=b"key1") == ALONE
    assert call_kv(5000, "Get", key=b"key1") == {**ALONE, "state": "NOT_FOUND"}


@pytest.mark.usefixtures("node")
def test_a_batch_prints_a_result_for_each_operation_and_the_members_and_the_leader_once() -> None:
    request = '{"operations": [{"put": {"key": "YQ==", "value": "YQ=="}}, {"get": {"key": "bmV2ZXI="}}, {"get": {}}]}'
    reply = json.loads(run_grpcurl(f"{KV_CALL} -d '{request}' 0.0.0.0:5000 meteora.kv.KvService/Batch"))
    failure = {"code": 3, "message": "a key has 1 to 65536 bytes, this one has 0", "outcome": "not-applied"}
    results = [{"state": "OK"}, {"state": "NOT_FOUND"}, {"failure": failure}]
    assert reply == {"results": results, "addressMap": ALONE["addressMap"], "leaderId": ALONE["leaderId"]}


@pytest.mark.usefixtures("node")
def test_get_of_a_key_that_never_was_is_not_found() -> None:
    assert call_kv(5000, "Get", key=b"never") == {**ALONE, "state": "NOT_FOUND"}


@pytest.mark.usefixtures("node")
def test_delete_of_a_key_that_never_was_is_ok() -> None:
    assert call_kv(5000, "Delete", key=b"never") == ALONE


@pytest.mark.usefixtures("node")
def test_grpcurl_lists_the_services_of_both_ports_by_reflection() -> None:
    assert set(run_grpcurl("grpcurl -plaintext 0.0.0.0:5000 list").split()) == KV_SERVICES
    own = {"meteora.auth.AuthService", "meteora.kv.KvService", "meteora.maintenance.MaintenanceService"}
    raft_services = KV_SERVICES - own | {"meteora.peer.PeerService"}
    assert set(run_grpcurl("grpcurl -plaintext 0.0.0.0:7000 list").split()) == raft_services


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("port", [5000, 7000])
def test_a_node_that_serves_is_healthy(port: int) -> None:
    answer = run_grpcurl(f"grpcurl -plaintext 0.0.0.0:{port} grpc.health.v1.Health/Check")
    assert json.loads(answer) == {"status": "SERVING"}


@pytest.mark.usefixtures("node")
def test_the_commands_need_no_options_for_a_node_alone() -> None:
    assert printed("meteora put greeting hello") == "OK\n"
    assert printed("meteora get greeting") == "hello"
    assert printed("meteora delete greeting") == "OK\n"
    missing = run_meteora("meteora get greeting")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == "meteora: error: there is no key 'greeting'\n"


@pytest.mark.usefixtures("node")
def test_the_status_command_shows_the_node_that_leads() -> None:
    cluster = json.loads(printed("meteora status -o json"))
    assert cluster["leader_id"] == 1
    assert [(each["id"], each["role"], each["reachable"]) for each in cluster["members"]] == [(1, "leader", True)]
    heading, member = printed("meteora status").splitlines()
    assert heading.split()[:2] == ["ID", "ROLE"]
    assert member.split()[:4] == ["1", "leader", "0.0.0.0:5000", "0.0.0.0:7000"]


@pytest.mark.usefixtures("node")
def test_the_last_node_is_not_taken_out_of_its_cluster() -> None:
    refused = run_meteora("meteora leave -i 1")
    assert refused.returncode == 1
    assert refused.stderr.startswith("meteora: error: the membership change was refused: node 1 is the last voter")
    assert status(7000) == ALONE


@pytest.mark.usefixtures("node")
def test_the_commands_take_their_endpoints_from_the_environment_and_pass_over_those_that_nobody_answers_at() -> None:
    endpoints = "127.0.0.1:1,127.0.0.1:5000"
    assert printed("meteora put key value", METEORA_ENDPOINTS=endpoints) == "OK\n"
    assert printed("meteora get key", METEORA_ENDPOINTS=endpoints) == "value"


# Three nodes on one host


class ContractCluster(ClusterProcesses):
    """The three commands."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, [7001, 5001, 7002, 5002, 7003, 5003])

    def arguments(self, number: int, folder: Path) -> list[str]:
        program, command, *arguments = shlex.split(THREE_NODES[number].replace("/tmp/meteora", str(folder)))
        assert (program, command) == ("meteora", "start")
        return arguments


def promised_status(leader_id: str) -> dict[str, Any]:
    members = {
        str(number): {"kvAddress": f"0.0.0.0:{5000 + number}", "raftAddress": f"0.0.0.0:{7000 + number}"}
        for number in (1, 2, 3)
    }
    return {"state": "OK", "addressMap": members, "leaderId": leader_id}


def assert_is_as_promised(cluster: ContractCluster) -> None:
    """Each node lists all three and the leader, and serves what another one has written."""
    wait_until(cluster.is_whole, "every node knows the same leader and all voters", START_SECONDS)
    promised = promised_status(str(cluster.leader()))
    assert [status(port) for port in (7001, 7002, 7003)] == [promised] * 3
    for writer, reader, remover in ((5001, 5002, 5003), (5002, 5003, 5001), (5003, 5001, 5002)):
        key, value = f"by {writer}".encode(), os.urandom(8)
        assert call_kv(writer, "Put", key=key, value=value) == promised
        assert call_kv(reader, "Get", key=key) == {"value": b64encode(value).decode(), **promised}
        assert call_kv(remover, "Delete", key=key) == promised
        assert call_kv(writer, "Get", key=key) == {**promised, "state": "NOT_FOUND"}


@pytest.fixture
def contract_cluster(tmp_path: Path) -> Iterator[ContractCluster]:
    """Not started yet."""
    cluster = ContractCluster(tmp_path)
    try:
        yield cluster
    finally:
        cluster.end()


def test_three_nodes_started_one_after_the_other_are_one_cluster(contract_cluster: ContractCluster) -> None:
    for number in (1, 2, 3):
        contract_cluster.node(number).start().wait_until_serving()
    assert_is_as_promised(contract_cluster)


def test_three_nodes_started_in_the_same_second_are_one_cluster(contract_cluster: ContractCluster) -> None:
    for number in (1, 2, 3):
        contract_cluster.node(number).start()
    assert_is_as_promised(contract_cluster)


def test_nodes_that_join_wait_for_the_first_one(contract_cluster: ContractCluster) -> None:
    for number in (3, 2):
        contract_cluster.node(number).start().wait_for_line("can't join yet, trying on")
    contract_cluster.node(1).start()
    assert_is_as_promised(contract_cluster)


def test_the_leave_command_takes_out_the_node_that_it_names_and_the_node_stops(
    contract_cluster: ContractCluster,
) -> None:
    contract_cluster.start()
    assert printed("meteora leave -i 3 -a 127.0.0.1:5001") == "OK\n"
    assert contract_cluster.node(3).wait() == 0
    assert sorted(status(7001)["addressMap"]) == sorted(status(7002)["addressMap"]) == ["1", "2"]


def test_nodes_that_leave_by_themselves_stop_one_by_one_down_to_the_last(contract_cluster: ContractCluster) -> None:
    contract_cluster.start()
    call_kv(5001, "Put", key=b"key", value=b"value")
    assert contract_cluster.node(1).interrupt() == 0
    assert sorted(status(7002)["addressMap"]) == sorted(status(7003)["addressMap"]) == ["2", "3"]
    assert contract_cluster.node(2).interrupt() == 0
    alone = {**promised_status("3"), "addressMap": {"3": promised_status("3")["addressMap"]["3"]}}
    assert status(7003) == alone
    assert call_kv(5003, "Get", key=b"key") == {"value": b64encode(b"value").decode(), **alone}
    assert contract_cluster.node(3).interrupt() == 0


# The environment


class EnvironmentCluster(ClusterProcesses):
    """Two nodes whose every setting comes from the environment."""

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        super().__init__(folder, ports)
        self.nodes = [
            NodeProcess([], folder / f"node{number}.log", cwd=folder, **self.environment(number, folder))
            for number in (1, 2)
        ]

    def environment(self, number: int, folder: Path) -> dict[str, str]:
        settings = {
            "METEORA_ID": str(10 + number),
            "METEORA_ADDRESS": "127.0.0.1",
            "METEORA_RAFT_PORT": str(self.raft_ports[number - 1]),
            "METEORA_KV_PORT": str(self.kv_ports[number - 1]),
            "METEORA_DATA_DIRECTORY": str(folder / f"from-environment-{number}"),
            "METEORA_ENABLE_AUTO_LEAVING": "true",
        }
        return settings if number == 1 else {**settings, "METEORA_PEER_RAFT_ADDRESS": f"127.0.0.1:{self.raft_ports[0]}"}


@pytest.fixture
def environment_cluster(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[EnvironmentCluster]:
    cluster = EnvironmentCluster(tmp_path, [free_port() for _ in range(4)])
    try:
        yield cluster.start()
    finally:
        cluster.end()


def test_every_option_can_come_from_the_environment(environment_cluster: EnvironmentCluster, tmp_path: Path) -> None:
    raft_ports, kv_ports = environment_cluster.raft_ports, environment_cluster.kv_ports
    addresses = {
        str(11 + number): {
            "kvAddress": f"127.0.0.1:{kv_ports[number]}",
            "raftAddress": f"127.0.0.1:{raft_ports[number]}",
        }
        for number in (0, 1)
    }
    assert status(raft_ports[1]) == {"state": "OK", "addressMap": addresses, "leaderId": "11"}
    assert all((tmp_path / f"from-environment-{number}").is_dir() for number in (1, 2))
    assert environment_cluster.node(2).interrupt() == 0
    assert status(raft_ports[0]) == {"state": "OK", "addressMap": {"11": addresses["11"]}, "leaderId": "11"}
