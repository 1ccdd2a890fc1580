"""The processes of the systems: started, looked at and ended. Whoever starts one ends it, whatever happens.

Linux only: memory is read from /proc.
"""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self

FIRST_PORT: Final = 15_000
LAST_PORT: Final = 19_999
"""Below what the system gives to outgoing connections, and apart from those of the tests."""

STOP_SECONDS: Final = 20.0
"""How long a process may take to stop before it is killed."""

ASK_AGAIN_SECONDS: Final = 0.02


class NotReady(Exception):
    """A system did not come up, or did not do what was waited for, in time."""


class ServerProcess:
    """One process of a system, with its output in a file."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        """Starts nothing yet."""
        self.command = list(command)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Starts it; it may take a while until it serves."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        return self

    @property
    def is_running(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    @property
    def memory_mib(self) -> float:
        """What it has in memory now. Raises `NotReady` if it does not run."""
        status = (self._proc() / "status").read_text()
        kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(kibibytes) / 1024

    @property
    def handles(self) -> int:
        """The files and sockets that it has open now. Raises `NotReady` if it does not run."""
        return len(list((self._proc() / "fd").iterdir()))

    def _proc(self) -> Path:
        if self._process is None or not self.is_running:
            raise NotReady(f"{self.command[0]} is not running:\n{self.last_words()}")
        return Path(f"/proc/{self._process.pid}")

    def last_words(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""

    def kill(self) -> None:
        """`kill -9`, and waits until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def tell_to_stop(self) -> None:
        """SIGTERM."""
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGTERM)

    def wait_or_kill(self) -> None:
        """Waits until it has stopped, and kills it if it doesn't."""
        if self._process is None:
            return
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


def stop_all(processes: Sequence[ServerProcess]) -> None:
    """Stops them, all at once."""
    for process in processes:
        process.tell_to_stop()
    for process in processes:
        process.wait_or_kill()


_next_port = FIRST_PORT


def free_port() -> int:
    """A port of the loopback interface that nothing listens on, another one at each call until all were given."""
    global _next_port  # noqa: PLW0603 - so that no port is given twice in a row
    for _ in range(LAST_PORT - FIRST_PORT + 1):
        port = _next_port
        _next_port = FIRST_PORT if port == LAST_PORT else port + 1
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise NotReady(f"no free port from {FIRST_PORT} to {LAST_PORT}")


def wait_until(condition: Callable[[], bool], what: str, timeout_seconds: float) -> float:
    """Asks until it is true, and returns after how many seconds it was. Raises `NotReady` if that takes too long."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > timeout_seconds:
            raise NotReady(f"{what}: not within {timeout_seconds:.0f} s")
        time.sleep(ASK_AGAIN_SECONDS)
    return time.monotonic() - start
