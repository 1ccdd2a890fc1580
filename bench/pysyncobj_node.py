"""One node of PySyncObj, which is a library: the user's program is the node, here this process.

It has a journal, and PySyncObj writes it without ever calling fsync, so a power cut may lose what was acknowledged:
less than what Meteora and etcd do. The program that writes runs on the leader, which is its best place.

`python -m bench.pysyncobj_node FOLDER SELF OTHER...` obeys lines on its standard input, and answers each by a line:
`role` by leader, follower or none; `run {...}`, with the fields of a `program.Task`, by findings.
"""

import asyncio
import json
import sys
from pathlib import Path

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf
from pysyncobj.batteries import ReplDict

from bench.program import Findings, Task, drive, to_line


class WriteFailed(Exception):
    """PySyncObj said that a write was not done."""


def start(folder: Path, own: str, others: list[str]) -> tuple[SyncObj, ReplDict]:
    """A node with a replicated dictionary, all settings as by default but for the files."""
    store = ReplDict()
    conf = SyncObjConf(journalFile=str(folder / "journal"), fullDumpFile=str(folder / "dump"))
    return SyncObj(own, others, conf=conf, consumers=[store]), store


async def run(store: ReplDict, task: Task) -> Findings:
    """Writes by callbacks, which come on PySyncObj's own thread, and wakes the tasks that wait."""
    loop = asyncio.get_running_loop()

    def put(key: bytes, value: bytes) -> asyncio.Future[None]:
        done: asyncio.Future[None] = loop.create_future()

        def settle(reason: object) -> None:
            if done.done():
                return
            if reason == FAIL_REASON.SUCCESS:
                done.set_result(None)
            else:
                done.set_exception(WriteFailed(f"reason {reason}"))

        store.set(key, value, callback=lambda _, reason: loop.call_soon_threadsafe(settle, reason))
        return done

    return await drive(put, task)


def role(node: SyncObj) -> str:
    """What it is now."""
    if not node.isReady():
        return "none"
    return "leader" if node._isLeader() else "follower"  # noqa: SLF001 - its only way to tell without a full status


def main() -> None:
    """Obeys until the standard input ends."""
    folder, own, *others = sys.argv[1:]
    node, store = start(Path(folder), own, others)
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        print(role(node) if word == "role" else to_line(asyncio.run(run(store, Task(**json.loads(rest))))), flush=True)
    node.destroy()


if __name__ == "__main__":
    main()
