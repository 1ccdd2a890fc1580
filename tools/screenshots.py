"""Takes the pictures of the status page that the documentation shows: what `make screenshots` calls.

Three nodes run on this machine for two minutes under a light load, and Chromium looks at the leader's page. What
else the machine does meanwhile shows in the plots.
"""

import argparse
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from meteora.client import Client
from meteora.errors import MeteoraError
from tools.chromium import Chromium

ROOT = Path(__file__).resolve().parent.parent

LOAD_SECONDS = 112.0
"""Nearly as long as the plots of two minutes are."""

START_SECONDS = 60.0

PICTURES = {
    "status-light.png": ("light", 1120),
    "status-dark.png": ("dark", 1120),
    "status-phone.png": ("light", 375),
}
"""By the name: the colours, and the width of the page."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def start(node_id: int, kv_port: int, raft_port: int, peer_port: int, folder: Path) -> "subprocess.Popen[bytes]":
    """One node; all but the first join that."""
    ports = ["-a", "127.0.0.1", "-r", str(raft_port), "-k", str(kv_port)]
    peer = [] if raft_port == peer_port else ["-p", f"127.0.0.1:{peer_port}"]
    command = [sys.executable, "-m", "meteora", "start", "-i", str(node_id), *ports, "-d", str(folder / str(node_id))]
    with (folder / f"{node_id}.log").open("wb") as log:
        return subprocess.Popen([*command, *peer], stdout=log, stderr=log)


def work(number: int, endpoints: list[str], stopped: threading.Event) -> None:
    """Puts and gets, a little more of them as time goes on, until it is stopped."""
    began_at = time.monotonic()
    with Client(endpoints) as client:
        while not stopped.wait(0.01 / (1 + (time.monotonic() - began_at) % 20 / 5)):
            client.put(f"key{number}", b"value")
            client.get(f"key{number}")


def leader(endpoints: list[str]) -> str:
    """The KV address of the leader, once there is one and all are voters."""
    deadline = time.monotonic() + START_SECONDS
    with Client(endpoints) as client:
        while time.monotonic() < deadline:
            try:
                status = client.status()
            except MeteoraError:
                continue  # It has waited by itself.
            voters = [member for member in status.members if member.is_voter]
            if len(voters) == len(endpoints) and status.leader_id:
                return endpoints[status.leader_id - 1]
            time.sleep(0.2)
    raise SystemExit(f"the nodes were no cluster within {START_SECONDS:g} s")


def take(browser: Chromium, address: str, folder: Path) -> None:
    """All pictures of one node's page."""
    for name, (scheme, width) in PICTURES.items():
        browser.resize(width, 600)
        browser.prefer(scheme)
        browser.open(f"http://{address}/")
        browser.wait_until("document.querySelectorAll('#members tr').length === 3")
        browser.resize(width, browser.evaluate("document.documentElement.scrollHeight"))
        picture = folder / name
        picture.write_bytes(browser.picture())
        print(f"{picture.name}: {picture.stat().st_size // 1024} KiB", flush=True)


def load_and_take(endpoints: list[str], seconds: float, folder: Path) -> None:
    """Pictures of the leader after `seconds` of load."""
    address, stopped = leader(endpoints), threading.Event()
    workers = [threading.Thread(target=work, args=(number, endpoints, stopped)) for number in range(3)]
    # Its start would show in the plots.
    with Chromium() as browser:
        for worker in workers:
            worker.start()
        try:
            time.sleep(seconds)
            take(browser, address, folder)
        finally:
            stopped.set()
            for worker in workers:
                worker.join()


def main() -> None:
    """Starts the nodes, loads them, takes the pictures, and stops all again."""
    parser = argparse.ArgumentParser(description="Takes the pictures of the status page in docs/images.")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images", help="where the pictures go")
    parser.add_argument("--seconds", type=float, default=LOAD_SECONDS, help="of load before they are taken")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    ports, nodes = free_ports(6), []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for node_id in (1, 2, 3):
                raft_port, kv_port = ports[2 * node_id - 2 : 2 * node_id]
                nodes.append(start(node_id, kv_port, raft_port, ports[0], Path(folder)))
            load_and_take([f"127.0.0.1:{port}" for port in ports[1::2]], options.seconds, options.folder)
        finally:
            for node in nodes:
                node.terminate()
            for node in nodes:
                node.wait()


if __name__ == "__main__":
    main()
