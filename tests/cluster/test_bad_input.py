"""A node that can't start says why in one clear line, exits with a status that is not 0, and has lost nothing."""

import ctypes
import hashlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import grpc
import pytest

from meteora.config import RpcServerKind
from meteora.pb import kv_pb2
from meteora.pb.kv_pb2_grpc import KvServiceStub
from tests.cluster.processes import NodeProcess, delete, get, node_status, put

REFUSED, USAGE = 1, 2
EXIT_SECONDS = 20.0
"""For a node that can't start to say so."""

PREFIX = "meteora: error: "

FILE_BYTES = 1 << 20
VALUE_BYTES = 100_000

DROP_BOUNDING_CAPABILITY, OVERRIDE_PERMISSIONS = 24, 1
"""PR_CAPBSET_DROP and CAP_DAC_OVERRIDE of Linux."""

Ports = tuple[int, int]


@pytest.fixture(scope="module")
def ports(free_port: Callable[[], int]) -> Ports:
    """A Raft port and a KV port."""
    return free_port(), free_port()


def options(ports: Ports, data: Path, *more: str) -> list[str]:
    raft_port, kv_port = map(str, ports)
    return ["-a", "127.0.0.1", "-r", raft_port, "-k", kv_port, "-d", str(data), *more]


def complaint(arguments: Sequence[str], status: int = REFUSED, **run_options: Any) -> str:
    """The one line, without its prefix, with which `meteora start` exits with `status`."""
    command = [sys.executable, "-m", "meteora", "start", *arguments]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=EXIT_SECONDS, check=False, **{"env": clean(), **run_options}
    )
    lines = [line for line in run.stderr.splitlines() if " INFO " not in line]
    assert (run.returncode, run.stdout, len(lines)) == (status, "", 1), run.stderr
    assert lines[0].startswith(PREFIX)
    return lines[0].removeprefix(PREFIX)


def clean(**more: str) -> dict[str, str]:
    """The environment without settings of Meteora."""
    return {name: value for name, value in os.environ.items() if not name.startswith("METEORA_")} | more


def contents(folder: Path) -> dict[str, str]:
    """Every file of a data directory by its digest. LOCK, which names who looked at it last, does not count."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "LOCK")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@contextmanager
def running(ports: Ports, data: Path, *more: str) -> Iterator[NodeProcess]:
    """A node that serves."""
    node = NodeProcess(options(ports, data, *more), data.with_suffix(".log"))
    try:
        yield node.start().wait_until_serving()
    finally:
        node.end()


@pytest.fixture(scope="module")
def of_a_node_that_was_stopped(tmp_path_factory: pytest.TempPathFactory, ports: Ports) -> Path:
    """A data directory with `key` at `value`. Not to be touched: tests get copies."""
    data = tmp_path_factory.mktemp("stopped") / "data"
    with running(ports, data) as node:
        put(ports[1], b"key", b"value")
        assert node.interrupt() == 0
    return data


@pytest.fixture
def data(tmp_path: Path, of_a_node_that_was_stopped: Path) -> Path:
    """The data directory of a node that was stopped, with `key` at `value`."""
    return shutil.copytree(of_a_node_that_was_stopped, tmp_path / "data")


def assert_usable(ports: Ports, data: Path) -> None:
    """The node starts, and has what it had."""
    with running(ports, data):
        assert get(ports[1], b"key")["value"] == "dmFsdWU="


# Ports


@contextmanager
def taken(port: int, host: str) -> Iterator[None]:
    with socket.create_server((host, port)):
        yield


@pytest.mark.parametrize("kind", get_args(RpcServerKind))
@pytest.mark.parametrize("which", [0, 1], ids=["raft", "kv"])
def test_a_port_in_use_is_named_and_nothing_is_changed(data: Path, ports: Ports, which: int, kind: str) -> None:
    before = contents(data)
    with taken(ports[which], "127.0.0.1"):
        assert complaint(options(ports, data, "--rpc-server", kind)) == (
            f"can't listen on 127.0.0.1:{ports[which]}: it is in use by another process; stop that one, or choose "
            "another port"
        )
    assert contents(data) == before


def test_a_port_that_is_in_use_on_one_address_can_not_be_taken_on_all(tmp_path: Path, ports: Ports) -> None:
    with taken(ports[1], "127.0.0.1"):
        said = complaint(options(ports, tmp_path / "data", "-a", "0.0.0.0"))
    assert said.startswith(f"can't listen on 0.0.0.0:{ports[1]}: it is in use by another process")


@pytest.mark.parametrize("which", [0, 1], ids=["raft", "kv"])
def test_who_can_not_listen_does_not_ask_to_join(
    tmp_path: Path, ports: Ports, free_port: Callable[[], int], which: int
) -> None:
    mine = (free_port(), free_port())
    with running(ports, tmp_path / "1"), taken(mine[which], "127.0.0.1"):
        complaint(options(mine, tmp_path / "2", "-i", "2", "-p", f"127.0.0.1:{ports[0]}"))
        assert [member["id"] for member in node_status(ports[1])["members"]] == ["1"]
    assert not contents(tmp_path / "2")


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
def test_an_address_that_is_not_of_this_host_is_named(tmp_path: Path, ports: Ports, host: str) -> None:
    assert complaint(options(ports, tmp_path / "data", "-a", host)) == (
        f"can't listen on {host}:{ports[0]}: it is no address of this host; choose one that is, or 0.0.0.0 for all of "
        "them"
    )


# Options


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (["-i", "0"], "'0' is not a node id"),
        (["-i", "-1"], "'-1' is not a node id"),
        (["-i", "one"], "'one' is not a node id"),
        (["-i", str(2**64)], f"'{2**64}' is not a node id"),
        (["-k", "65536"], "'65536' is not a port"),
        (["-r", "5000", "-k", "5000"], "--raft-port and --kv-port are both 5000"),
        (["-a", "localhost:7000"], "--address 'localhost:7000' is not a host"),
        (["-p", "nowhere"], "--peer-raft-address 'nowhere'"),
        (["-p", "127.0.0.1:70000"], "--peer-raft-address '127.0.0.1:70000'"),
        (["-p", "http://127.0.0.1:7000"], "--peer-raft-address 'http://127.0.0.1:7000'"),
        (["--rpc-server", "apache"], "'apache' is not one of 'http2', 'grpcio'"),
        (["--raft-prot", "7000"], "No such option"),
        (["everything"], "unexpected extra argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_option_that_makes_no_sense_is_named(tmp_path: Path, bad: list[str], said: str) -> None:
    assert said in complaint(["-d", "data", *bad], USAGE, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_option_in_the_environment_is_judged_as_on_the_command_line(tmp_path: Path) -> None:
    assert "'zero' is not a node id" in complaint([], USAGE, cwd=tmp_path, env=clean(METEORA_ID="zero"))


def test_a_node_does_not_join_itself(tmp_path: Path, ports: Ports) -> None:
    said = complaint(options(ports, tmp_path / "data", "-p", f"127.0.0.1:{ports[0]}"), USAGE)
    assert said.startswith(f"--peer-raft-address 127.0.0.1:{ports[0]} is this node's own Raft address")


# Data directories


def test_a_directory_that_is_in_use_is_left_to_its_user(
    tmp_path: Path, ports: Ports, free_port: Callable[[], int]
) -> None:
    data = tmp_path / "data"
    with running(ports, data) as user:
        put(ports[1], b"key", b"value")
        assert complaint(options((free_port(), free_port()), data)) == (
            f"data directory {data} is in use by another process (pid {user.process.pid}): stop that one, or choose "
            "another directory with -d"
        )
        assert get(ports[1], b"key")["state"] == "OK"
        put(ports[1], b"key", b"value")
        assert user.interrupt() == 0


def test_a_file_is_no_directory(tmp_path: Path, ports: Ports) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert f"'{file}' is a file" in complaint(options(ports, file), USAGE)
    assert complaint(options(ports, file / "data")).startswith(f"data directory {file / 'data'} can't be used (")
    assert file.read_text() == "mine"


def respect_permissions() -> None:
    """Makes root a user like any other when it comes to what may be written."""
    ctypes.CDLL(None).prctl(DROP_BOUNDING_CAPABILITY, OVERRIDE_PERMISSIONS, 0, 0, 0)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(modes[path] & ~0o222)
    try:
        yield
    finally:
        for path in paths:
            path.chmod(modes[path])


def test_a_directory_that_can_not_be_written_is_left_as_it_is(data: Path, ports: Ports) -> None:
    before = contents(data)
    with read_only(data):
        assert complaint(options(ports, data), preexec_fn=respect_permissions) == (
            f"data directory {data} can't be used (Permission denied): make it a directory that this user may write, "
            "or choose another with -d"
        )
    assert contents(data) == before


def test_a_directory_that_can_not_be_made_is_named(tmp_path: Path, ports: Ports) -> None:
    data = tmp_path / "theirs" / "data"
    data.parent.mkdir()
    with read_only(data.parent):
        said = complaint(options(ports, data), preexec_fn=respect_permissions)
    assert said.startswith(f"data directory {data} can't be used (Permission denied)")


def change_identity(data: Path, **fields: object) -> None:
    """As another release, or another node, would have written it."""
    path = data / "identity"
    identity = json.loads(path.read_text()) | fields
    del identity["checksum"]
    checksum = f"{zlib.crc32(json.dumps(identity, sort_keys=True).encode()):08x}"
    path.write_text(json.dumps({**identity, "checksum": checksum}))


def test_a_directory_of_a_newer_format_is_left_to_the_newer_release(data: Path, ports: Ports) -> None:
    change_identity(data, format_version=3, what_only_it_knows="something")
    before = contents(data)
    assert complaint(options(ports, data)) == (
        f"data directory {data} has format 3, and this release knows formats up to 2: start it with the newer release "
        "that wrote it"
    )
    assert contents(data) == before


def test_a_directory_of_another_node_is_left_to_it(data: Path, ports: Ports) -> None:
    before = contents(data)
    assert complaint(options(ports, data, "-i", "2")) == (
        f"data directory {data} belongs to node 1, and this is node 2: start it with -i 1, or choose another directory "
        "with -d"
    )
    assert contents(data) == before


def test_a_directory_of_another_node_is_left_to_it_even_by_who_wants_to_join(
    tmp_path: Path, data: Path, ports: Ports, free_port: Callable[[], int]
) -> None:
    before = contents(data)
    with running((free_port(), free_port()), tmp_path / "other") as other:
        peer = f"127.0.0.1:{other.arguments[other.arguments.index('-r') + 1]}"
        assert "belongs to node 1" in complaint(options(ports, data, "-i", "2", "-p", peer))
    assert contents(data) == before


def test_a_directory_with_a_damaged_identity_is_left_as_it_is(data: Path, ports: Ports) -> None:
    path = data / "identity"
    path.write_bytes(path.read_bytes().replace(b'"node_id": 1', b'"node_id": 2'))
    before = contents(data)
    assert complaint(options(ports, data)).startswith(f"data directory {data}: the file identity is damaged (")
    assert contents(data) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"checksum": "00000000"}'])
def test_a_directory_with_an_identity_that_is_none_is_left_as_it_is(data: Path, ports: Ports, content: bytes) -> None:
    (data / "identity").write_bytes(content)
    before = contents(data)
    assert complaint(options(ports, data)).startswith(f"data directory {data}: the file identity is damaged (")
    assert contents(data) == before


def test_a_directory_that_lost_its_identity_is_left_as_it_is(data: Path, ports: Ports) -> None:
    (data / "identity").unlink()
    before = contents(data)
    assert complaint(options(ports, data)).startswith(f"data directory {data} has raft and kv but no identity")
    assert contents(data) == before


def test_a_directory_with_somebody_else_s_files_is_named_and_left_as_it_is(tmp_path: Path, ports: Ports) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    assert complaint(options(ports, tmp_path)) == (
        f"data directory {tmp_path} has things in it that are not Meteora's (thesis.txt): choose an empty one with -d"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_directory_that_is_empty_but_for_what_a_file_system_keeps_there_is_usable(
    tmp_path: Path, ports: Ports
) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / ".hidden").touch()
    with running(ports, tmp_path):
        assert put(ports[1], b"key", b"value")["state"] == "OK"


@pytest.mark.parametrize("more", [[], ["-p", "127.0.0.1:1"]], ids=["", "-p"])
@pytest.mark.parametrize("lost", [["raft"], ["raft", "kv"]], ids=" and ".join)
@pytest.mark.parametrize("is_emptied", [False, True], ids=["gone", "emptied"])
def test_a_directory_that_lost_its_log_is_not_started_as_if_it_were_new(
    data: Path, ports: Ports, lost: list[str], more: list[str], is_emptied: bool
) -> None:
    # A node that has forgotten what it voted for and acknowledged could undo both.
    for name in lost:
        shutil.rmtree(data / name)
        if is_emptied:
            (data / name).mkdir()
    before = contents(data)
    assert complaint(options(ports, data, *more)) == (
        f"data directory {data} is of a member, but its log, raft/, is gone, and with it what the node has promised: "
        "let it join anew: meteora leave -i 1 at another member, then start it with -p and an empty directory"
    )
    assert contents(data) == before


def test_a_directory_of_a_removed_node_says_what_happened_and_what_to_do(data: Path, ports: Ports) -> None:
    change_identity(data, removed=True)
    before = contents(data)
    cluster_id = json.loads((data / "identity").read_text())["cluster_id"]
    assert complaint(options(ports, data)) == (
        f"node 1 was removed from cluster {cluster_id:016x}; to join it anew, start it with -p and the Raft address of "
        "a member: its old state is then set aside, nothing is deleted; to start a new cluster, choose another data "
        f"directory than {data}"
    )
    assert contents(data) == before


def test_a_directory_of_a_removed_node_is_not_set_aside_by_who_can_not_listen(data: Path, ports: Ports) -> None:
    change_identity(data, removed=True)
    before = contents(data)
    with taken(ports[1], "127.0.0.1"):
        complaint(options(ports, data, "-p", "127.0.0.1:1"))
    assert contents(data) == before


@pytest.mark.parametrize("more", [["-p", "127.0.0.1:1"], ["-i", "2"]], ids=["joining", "another id"])
def test_a_directory_of_a_cluster_that_is_not_quite_created_does_not_become_another(
    data: Path, ports: Ports, more: list[str]
) -> None:
    # As if the node had been killed after the cluster's first entry and before it was said to exist.
    change_identity(data, cluster_id=0)
    assert complaint(options(ports, data, *more)) == (
        f"data directory {data} is of node 1, which was stopped while it created a cluster of its own: start it with "
        "-i 1 and without -p or --initial-cluster to go on with that, or choose another directory with -d"
    )
    assert_usable(ports, data)


# Damaged databases


@pytest.fixture(scope="module")
def of_a_node_that_was_killed(tmp_path_factory: pytest.TempPathFactory, ports: Ports) -> Path:
    """A data directory with `key` at `value`, whose log is not in table files yet. Tests get copies."""
    data = tmp_path_factory.mktemp("killed") / "data"
    with running(ports, data) as node:
        for number in range(3):
            put(ports[1], b"%d" % number, b"value")
        put(ports[1], b"key", b"value")
        node.kill()
    return data


@pytest.fixture
def killed_data(tmp_path: Path, of_a_node_that_was_killed: Path) -> Path:
    """The data directory of a node that was killed, with `key` at `value`."""
    return shutil.copytree(of_a_node_that_was_killed, tmp_path / "data")


@contextmanager
def damaged(data: Path, pattern: str) -> Iterator[Path]:
    """One byte in the middle of the longest of these files is another one."""
    path = max(data.glob(pattern), key=lambda each: each.stat().st_size)
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :])
    yield path
    path.write_bytes(whole)


@pytest.mark.parametrize("pattern", ["raft/*.sst", "raft/MANIFEST-*", "raft/CURRENT", "kv/*.sst", "kv/MANIFEST-*"])
def test_a_damaged_file_of_a_database_is_named_and_the_rest_is_kept(data: Path, ports: Ports, pattern: str) -> None:
    with damaged(data, pattern) as path:
        identity = (data / "identity").read_bytes()
        said = complaint(options(ports, data))
        assert str(path.parent) in said
        assert "Corruption" in said or "corrupt" in said.lower()
        assert "meteora leave" in said or "restore" in said.lower()
        assert (data / "identity").read_bytes() == identity
    assert_usable(ports, data)


@pytest.mark.parametrize("pattern", ["raft/*.log", "raft/watermark"])
def test_a_damaged_log_does_not_pass_for_one_that_ends_early(killed_data: Path, ports: Ports, pattern: str) -> None:
    with damaged(killed_data, pattern):
        assert str(killed_data / "raft") in complaint(options(ports, killed_data))
    assert_usable(ports, killed_data)


# Disks that fail


def put_until_one_fails(stub: KvServiceStub) -> tuple[int, grpc.RpcError]:
    """The keys are 0, 1, and so on: how many were acknowledged, and the error of the next one."""
    for number in range(2 * FILE_BYTES // VALUE_BYTES):
        try:
            stub.Put(kv_pb2.PutReq(key=b"%d" % number, value=bytes(VALUE_BYTES)), timeout=EXIT_SECONDS)
        except grpc.RpcError as error:
            return number, error
    raise AssertionError("all were acknowledged")


def test_a_disk_that_fails_stops_the_node_and_what_was_acknowledged_is_there_after_it(
    tmp_path: Path, ports: Ports
) -> None:
    # From some size on, files can't be written any more. (A full disk fails in the same way.)
    data = tmp_path / "data"
    with running(ports, data) as node, grpc.insecure_channel(f"127.0.0.1:{ports[1]}") as channel:
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
        acknowledged, error = put_until_one_fails(KvServiceStub(channel))
        assert dict(error.trailing_metadata())["meteora-outcome"] == "unknown"
        assert node.wait() == REFUSED
        (line,) = [line for line in node.output.splitlines() if " INFO " not in line]
        assert line.startswith(f"{PREFIX}{data / 'raft'}: IO error: ")
        assert "File too large" in line
        assert line.endswith("Check the disk, then start the node again.")
    assert acknowledged > 0
    with running(ports, data), grpc.insecure_channel(f"127.0.0.1:{ports[1]}") as channel:
        stub = KvServiceStub(channel)
        for number in range(acknowledged):
            reply = stub.Get(kv_pb2.GetReq(key=b"%d" % number), timeout=EXIT_SECONDS)
            assert reply.value == bytes(VALUE_BYTES)


# Joining


def test_the_id_of_a_live_member_is_refused_with_the_ways_out(
    tmp_path: Path, ports: Ports, free_port: Callable[[], int]
) -> None:
    mine = (free_port(), free_port())
    with running(ports, tmp_path / "1"):
        peer = f"127.0.0.1:{ports[0]}"
        assert complaint(options(mine, tmp_path / "2", "-i", "1", "-p", peer)) == (
            f"the cluster at {peer} refuses this node: node id 1 belongs to the member at {peer}: choose another id "
            "(-i), or, if that node or its data is lost for good, remove it first: meteora leave -i 1"
        )
        assert delete(ports[1], b"key")["state"] == "OK"
        # The first of the ways out.
        with running(mine, tmp_path / "2", "-i", "2", "-p", peer):
            assert put(mine[1], b"key", b"value")["state"] == "OK"


def test_a_kv_address_is_not_where_nodes_join(tmp_path: Path, ports: Ports, free_port: Callable[[], int]) -> None:
    with running(ports, tmp_path / "1"):
        peer = f"127.0.0.1:{ports[1]}"
        assert complaint(options((free_port(), free_port()), tmp_path / "2", "-i", "2", "-p", peer)) == (
            f"what answers at {peer} lets no nodes join: it takes the Raft address of a member, not its KV address"
        )
