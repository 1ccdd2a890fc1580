"""What orchestrators and load balancers ask: `/livez`, `/readyz`, `/health`, `/version`.

Alive is a process that need not be restarted: its event loop runs, its disk answers, and the node has not failed. A
majority that is gone is no reason to restart anybody. Ready is a node that answers: it knows a leader, and has applied
what was committed when it was asked.
"""

import asyncio
import json
import platform
from collections.abc import Awaitable, Callable
from typing import Final

import meteora
from meteora.errors import RequestError
from meteora.node.node import Node
from meteora.web import Request, Response, WebApplication, text_response

READY_SECONDS: Final = 1.0
"""For the cluster to confirm that this node is up to date: Kubernetes gives a probe one second by default, and a leader
that is there answers in milliseconds."""

STUCK_DISK_SECONDS: Final = 30.0
"""A write to the log that takes longer is none that will end."""

Check = Callable[[], Awaitable[str]]
"""Gives what is wrong; empty if nothing is."""


class Probes:
    """Answers for one node."""

    def __init__(self, node: Node, cluster_id: int) -> None:
        self._node = node
        self._cluster_id = cluster_id
        self._loop = asyncio.get_running_loop()
        self._catching_up: asyncio.Task[str] | None = None
        """Shared by all who ask at the same time."""

    def add_to(self, application: WebApplication) -> None:
        """Serves them."""
        alive: dict[str, Check] = {"node": self._node_check, "disk": self._disk_check}
        ready: dict[str, Check] = {**alive, "leader": self._leader_check, "read-index": self._read_index_check}
        application.add("GET", "/livez", lambda request: _probe(request, "livez", alive))
        application.add("GET", "/readyz", lambda request: _probe(request, "readyz", ready))
        application.add("GET", "/health", lambda _: self._health(ready))
        application.add("GET", "/version", self._version)

    async def stop(self) -> None:
        """Leaves nothing behind."""
        if self._catching_up is not None:
            self._catching_up.cancel()
            await asyncio.wait([self._catching_up])

    # Checks

    async def _node_check(self) -> str:
        # That anything is answered shows that the loop runs.
        return "the node has failed: see its log" if self._node.failed.done() else ""

    async def _disk_check(self) -> str:
        seconds = self._node.log_write_seconds
        return f"a write to the log has taken {seconds:.0f} s so far" if seconds > STUCK_DISK_SECONDS else ""

    async def _leader_check(self) -> str:
        return "" if self._node.leader_id else "no leader is known"

    async def _read_index_check(self) -> str:
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = self._loop.create_task(self._catch_up())
        # Who goes takes the others' answer with it otherwise.
        return await asyncio.shield(self._catching_up)

    async def _catch_up(self) -> str:
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._node.catch_up(self._loop.time() + READY_SECONDS)
        except (RequestError, TimeoutError):
            return f"not applied up to a confirmed index within {READY_SECONDS:g} s"
        return ""

    # Answers

    async def _health(self, checks: dict[str, Check]) -> Response:
        """As etcd's."""
        reasons = [reason for reason in [await check() for check in checks.values()] if reason]
        health = {"health": "false" if reasons else "true", "reason": "; ".join(reasons)}
        return json_response(503 if reasons else 200, health)

    async def _version(self, _: Request) -> Response:
        return json_response(
            200,
            {
                "version": meteora.__version__,
                "python": platform.python_version(),
                "node_id": str(self._node.node_id),
                "cluster_id": f"{self._cluster_id:016x}",
            },
        )


def json_response(status: int, value: object) -> Response:
    """A response for programs."""
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    return Response(status, headers, json.dumps(value).encode() + b"\n")


async def _probe(request: Request, name: str, checks: dict[str, Check]) -> Response:
    """As Kubernetes' own: a line for each check if `verbose` is asked for, or one fails."""
    results = {check: await ask() for check, ask in checks.items()}
    is_well = not any(results.values())
    if is_well and "verbose" not in request.query:
        return text_response(200, "ok")
    lines = [f"[-]{check} failed: {wrong}" if wrong else f"[+]{check} ok" for check, wrong in results.items()]
    lines.append(f"{name} check {'passed' if is_well else 'failed'}")
    return text_response(200 if is_well else 503, "\n".join(lines))
