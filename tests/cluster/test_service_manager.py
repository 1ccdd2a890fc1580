"""What systemd is told by a node that it started."""

import socket
from collections.abc import Callable
from pathlib import Path

from tests.cluster.processes import NodeProcess


def test_a_node_says_when_it_is_ready_alive_and_stopping(tmp_path: Path, free_port: Callable[[], int]) -> None:
    arguments = ["-r", str(free_port()), "-k", str(free_port()), "-d", str(tmp_path / "data")]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(20)
        node = NodeProcess(
            arguments, tmp_path / "log", NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="20000000"
        )
        try:
            node.start()
            assert [listener.recv(100) for _ in range(2)] == [b"WATCHDOG=1", b"READY=1"]
            # Not a moment sooner.
            assert "serving" in node.output
            assert node.stop() == 0
            listener.setblocking(False)
            assert listener.recv(100) == b"STOPPING=1"
        finally:
            node.end()
