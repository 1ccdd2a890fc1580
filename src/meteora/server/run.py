"""The process: one event loop, two signals, one node."""

import asyncio
import gc
import signal
import sys
from collections.abc import Sequence

import uvloop

from meteora.config import NodeConfig
from meteora.errors import InternalError
from meteora.observability.logs import configure, get_logger
from meteora.raft.errors import RaftError
from meteora.server import core_files, file_handles
from meteora.server.assembly import Server
from meteora.server.service_manager import READY, STOPPING, ServiceManager

YOUNG_OBJECTS = 50_000
"""Containers that are allocated, and not freed, between two looks for garbage in cycles.

A request makes none that stays; but a few hundred requests under way are a few thousand objects, and with Python's own
700 they were looked through again and again: 9 of the 33 microseconds that a write took above HTTP."""

SWITCH_SECONDS = 0.0001
"""How long a thread that has come back from the disk waits for a busy event loop. With Python's own 5 ms each round of
the log spent most of its time waiting for its turn: 13,600 puts a second in the median of 8 runs, and 15,300 with this,
in turns on one node."""

_log = get_logger("config")


def run(config: NodeConfig, warnings: Sequence[str] = ()) -> None:
    """Run a node until it is told to stop, or is removed from its cluster.

    `warnings` are what is to be logged of how it was configured. Raises a `MeteoraError` if the node can't start, or
    can't go on.
    """
    configure(config.log_level, config.log_format, config.node_id)
    for warning in warnings:
        _log.warning(warning)
    core_files.write_none()
    file_handles.raise_limit()
    # What is loaded by now stays, and need not be looked through ever again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    sys.setswitchinterval(SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve(config))
        except RaftError as error:
            raise InternalError(
                f"the node stopped, because what must hold does not: {error}. Its data is kept; please report this"
            ) from error


async def _serve(config: NodeConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    manager = ServiceManager()
    pings = asyncio.create_task(manager.stay_alive())
    try:
        while await _serve_once(Server(config), stop, manager):
            pass
    finally:
        pings.cancel()
        await asyncio.wait((pings,))


async def _serve_once(server: Server, stop: asyncio.Event, manager: ServiceManager) -> bool:
    """Serve until `stop`, or until the node can't go on. True if it is to be started again."""
    starting, stopped = asyncio.create_task(server.start()), asyncio.create_task(stop.wait())
    try:
        # A node that waits to be let into a cluster is still starting.
        await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            return False
        await starting
        manager.tell(READY)
        await server.run_until(stopped)
        if stop.is_set():
            manager.tell(STOPPING)
        return await server.stop() and not stop.is_set()
    finally:
        for task in (starting, stopped):
            task.cancel()
        await asyncio.wait((starting, stopped))
