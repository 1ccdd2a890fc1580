"""Runs a cluster of three nodes on this machine until Ctrl-C: what `make cluster` calls.

The nodes keep their data in .cluster, so that the next run goes on where this one stopped; that is why they are not
told to leave the cluster when they stop. A node that fails by itself stops the others, and its own last words say why;
one that was told to leave, or was killed, doesn't: what the others do then is worth seeing.

The nodes run in sessions of their own: the Ctrl-C of a terminal goes to every process of a session at once, and a
node that hears it twice would stop less gently.
"""

import argparse
import asyncio
import shlex
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
METEORA = Path(sys.executable).with_name("meteora")
NODE_IDS = (1, 2, 3)

STOP_SECONDS = 15
"""How long the nodes may take to stop before they are killed: more than a leader needs to hand over."""


def command(node_id: int, folder: Path) -> list[str]:
    """The command line of one node."""
    ports = ["-r", str(7000 + node_id), "-k", str(5000 + node_id)]
    start = [str(METEORA), "start", "-i", str(node_id), "-a", "0.0.0.0", *ports]
    data = ["-d", str(folder / str(node_id) / "data")]
    return [*start, *data] if node_id == NODE_IDS[0] else [*start, *data, "-p", f"0.0.0.0:{7000 + NODE_IDS[0]}"]


async def stop(processes: list[Process]) -> None:
    """Stops those that still run, and kills those that don't in time."""
    running = [process for process in processes if process.returncode is None]
    for process in running:
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await asyncio.gather(*(process.wait() for process in running))
    except TimeoutError:
        print(f"Not all nodes stopped within {STOP_SECONDS} s: killing them.", flush=True)
        for process in running:
            if process.returncode is None:
                process.kill()


async def watch(processes: list[Process], folder: Path, asked_to_stop: asyncio.Event) -> int:
    """Waits for a failure, for all to end, or to be asked to stop. The exit status of it all."""
    asked = asyncio.create_task(asked_to_stop.wait())
    ends = {asyncio.create_task(each.wait()): node_id for node_id, each in zip(NODE_IDS, processes, strict=True)}
    while ends and not asked.done():
        done, _ = await asyncio.wait({asked, *ends}, return_when=asyncio.FIRST_COMPLETED)
        for end in done & ends.keys():
            node_id, status = ends.pop(end), end.result()
            if status > 0:
                print(f"Node {node_id} failed with status {status}: stopping the others.", flush=True)
                return 1
            cause = f"was ended by {signal.Signals(-status).name}" if status else "has ended"
            print(f"Node {node_id} {cause}; the others go on. To start it again, in another terminal:", flush=True)
            print(f"  {shlex.join(command(node_id, folder))}", flush=True)
    return 0


async def run(folder: Path) -> int:
    """Starts the nodes, watches and stops them."""
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    processes: list[Process] = []
    try:
        for node_id in NODE_IDS:
            process = await asyncio.create_subprocess_exec(*command(node_id, folder), start_new_session=True)
            processes.append(process)
        introduce(processes)
        return await watch(processes, folder, asked_to_stop)
    finally:
        await stop(processes)


def introduce(processes: list[Process]) -> None:
    """Says where the nodes are, and what may be done with them."""
    print("Three nodes; Ctrl-C stops them.", flush=True)
    for node_id, process in zip(NODE_IDS, processes, strict=True):
        addresses = f"KV 127.0.0.1:{5000 + node_id}, Raft 127.0.0.1:{7000 + node_id}"
        print(f"  node {node_id}: {addresses}, process {process.pid}", flush=True)
    print("Try, in another terminal:", flush=True)
    print("  .venv/bin/meteora put -a 127.0.0.1:5002 hello world", flush=True)
    print(f"  kill -9 {processes[0].pid}", flush=True)
    print("  .venv/bin/meteora get -a 127.0.0.1:5003 hello", flush=True)


def main() -> int:
    """The exit status: 1 if a node failed."""
    parser = argparse.ArgumentParser(description="Runs a cluster of three nodes on this machine until Ctrl-C.")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cluster", help="where the nodes keep their data")
    return asyncio.run(run(parser.parse_args().folder))


if __name__ == "__main__":
    sys.exit(main())
