"""Runs a cluster of three nodes on this machine until Ctrl-C: what `make cluster` calls.

The nodes keep their data in .cluster, so that the next run goes on where this one stopped; that is why they are not
told to leave the cluster when they stop. A node that fails stops the others, and its own last words say why; one that
ends well, because it was told to leave, doesn't.

The nodes run in sessions of their own: the Ctrl-C of a terminal goes to every process of a session at once, and a
node that hears it twice would stop less gently.
"""

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
METEORA = Path(sys.executable).with_name("meteora")
NODE_IDS = (1, 2, 3)

STOP_SECONDS = 15
"""How long the nodes may take to stop before they are killed: more than a leader needs to hand over."""


def command(node_id: int) -> list[str]:
    """The command line of one node."""
    ports = ["-r", str(7000 + node_id), "-k", str(5000 + node_id)]
    start = [str(METEORA), "start", "-i", str(node_id), "-a", "0.0.0.0", *ports]
    data = ["-d", str(ROOT / ".cluster" / str(node_id) / "data")]
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


async def watch(processes: list[Process], asked_to_stop: asyncio.Event) -> int:
    """Waits for a failure, for all to end, or to be asked to stop. The exit status of it all."""
    asked = asyncio.create_task(asked_to_stop.wait())
    ends = {asyncio.create_task(each.wait()): node_id for node_id, each in zip(NODE_IDS, processes, strict=True)}
    while ends and not asked.done():
        done, _ = await asyncio.wait({asked, *ends}, return_when=asyncio.FIRST_COMPLETED)
        for end in done & ends.keys():
            node_id, status = ends.pop(end), end.result()
            if status != 0:
                print(f"Node {node_id} failed with status {status}: stopping the others.", flush=True)
                return 1
            print(f"Node {node_id} has ended; the others go on.", flush=True)
    return 0


async def main() -> int:
    """Starts the nodes, watches and stops them."""
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    print("Three nodes: 127.0.0.1:5001, 127.0.0.1:5002 and 127.0.0.1:5003. Ctrl-C stops them. Try:", flush=True)
    print("  .venv/bin/meteora put -a 127.0.0.1:5002 hello world", flush=True)
    print("  .venv/bin/meteora get -a 127.0.0.1:5003 hello", flush=True)
    processes: list[Process] = []
    try:
        for node_id in NODE_IDS:
            process = await asyncio.create_subprocess_exec(*command(node_id), start_new_session=True)
            processes.append(process)
        return await watch(processes, asked_to_stop)
    finally:
        await stop(processes)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
