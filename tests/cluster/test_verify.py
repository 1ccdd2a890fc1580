"""`meteora verify` on real nodes: killed, running, damaged."""

import subprocess

from tests.cluster.processes import ClusterProcesses, NodeProcess, meteora, put


def verify(node: NodeProcess) -> "subprocess.CompletedProcess[str]":
    return meteora("verify", "-d", str(node.data_directory))


def test_a_node_that_runs_is_refused_in_one_line_and_runs_on(three_nodes: ClusterProcesses) -> None:
    done = verify(three_nodes.node(1))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "is in use by another process (pid " in done.stderr
    assert three_nodes.node(1).is_running


def test_nodes_that_were_killed_are_whole_and_start_again(three_nodes: ClusterProcesses) -> None:
    for number in range(50):
        put(three_nodes.kv_ports[number % 3], b"key%d" % number, b"value")
    three_nodes.kill_all()
    for node in three_nodes.nodes:
        done = verify(node)
        assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 1), done.stdout
        assert done.stdout.endswith("all is whole\n")
    three_nodes.start_again()


def test_damage_in_the_log_of_a_node_that_was_stopped_is_told_with_its_file(three_nodes: ClusterProcesses) -> None:
    put(three_nodes.kv_ports[0], b"key", b"value" * 100)
    node = three_nodes.node(2)
    node.stop()
    raft = node.data_directory / "raft"
    table = max(raft.glob("*.sst"), key=lambda file: file.stat().st_size)
    content = bytearray(table.read_bytes())
    content[40] ^= 0x10
    table.write_bytes(content)
    done = verify(node)
    assert (done.returncode, done.stderr) == (1, "")
    assert str(table) in done.stdout
    assert done.stdout.splitlines()[-1].endswith("damages")
