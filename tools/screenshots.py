"""Takes the pictures of the status page that the documentation shows: what `make screenshots` calls.

Three nodes run on this machine for half a minute under a light load, and Chromium looks at the leader's page.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from meteora.client import Client

ROOT = Path(__file__).resolve().parent.parent
METEORA = Path(sys.executable).with_name("meteora")
ENDPOINTS = [f"127.0.0.1:{port}" for port in (5001, 5002, 5003)]

LOAD_SECONDS = 60.0

PICTURES = {
    "status-light.png": ((1120, 760), []),
    "status-dark.png": ((1120, 760), ["--blink-settings=preferredColorScheme=0"]),
    "status-phone.png": ((500, 1100), []),
}
"""By the name: size of the window, and options."""


def start(node_id: int, folder: Path) -> "subprocess.Popen[bytes]":
    """One node; the second and third join the first."""
    ports = ["-r", str(7000 + node_id), "-k", str(5000 + node_id)]
    command = [str(METEORA), "start", "-i", str(node_id), "-a", "127.0.0.1", *ports, "-d", str(folder / str(node_id))]
    peer = [] if node_id == 1 else ["-p", "127.0.0.1:7001"]
    with (folder / f"{node_id}.log").open("wb") as log:
        return subprocess.Popen([*command, *peer], stdout=log, stderr=log)


def work(number: int, stopped: threading.Event) -> None:
    """Puts and gets, a little more of them as time goes on, until it is stopped."""
    began_at = time.monotonic()
    with Client(ENDPOINTS) as client:
        while not stopped.wait(0.01 / (1 + (time.monotonic() - began_at) % 20 / 5)):
            client.put(f"key{number}", b"value")
            client.get(f"key{number}")


def leader() -> str:
    """The KV address of the leader, once there is one and all are voters."""
    with Client(ENDPOINTS) as client:
        while True:
            status = client.status()
            if len(status.members) == len(ENDPOINTS) and status.leader_id:
                return ENDPOINTS[status.leader_id - 1]
            time.sleep(0.2)


def take(address: str, folder: Path) -> None:
    """All pictures of one node's page."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not installed: on Debian, apt-get install chromium")
    for name, ((width, height), options) in PICTURES.items():
        picture = folder / name
        common = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=3000"]
        size = f"--window-size={width},{height}"
        command = [chromium, *common, *options, size, f"--screenshot={picture}", f"http://{address}/"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        print(f"{picture.name}: {picture.stat().st_size // 1024} KiB", flush=True)


def main() -> None:
    """Starts the nodes, loads them, takes the pictures, and stops all again."""
    parser = argparse.ArgumentParser(description="Takes the pictures of the status page in docs/images.")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images", help="where the pictures go")
    parser.add_argument("--seconds", type=float, default=LOAD_SECONDS, help="of load before they are taken")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    stopped, nodes = threading.Event(), []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for node_id in (1, 2, 3):
                nodes.append(start(node_id, Path(folder)))
            address = leader()
            workers = [threading.Thread(target=work, args=(number, stopped)) for number in range(3)]
            for worker in workers:
                worker.start()
            try:
                time.sleep(options.seconds)
                take(address, options.folder)
            finally:
                stopped.set()
                for worker in workers:
                    worker.join()
        finally:
            for node in nodes:
                node.terminate()
            for node in nodes:
                node.wait()


if __name__ == "__main__":
    main()
