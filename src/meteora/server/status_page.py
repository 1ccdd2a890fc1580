"""The page at `/`, and `/status.json`, which it asks every two seconds.

What is answered there is found out once a second at most, however many look, and not at all while nobody does. It
shows what this node sees; the other members' own progress they are asked for. No key and no value is in it, so it is
open to all who reach the port, as `/metrics` is.
"""

import asyncio
import hashlib
import json
import time
from importlib.resources import files
from typing import Any, Final

import meteora
from meteora.node import Member, Node
from meteora.pb.raft_pb2 import NodeStatusReply, Role
from meteora.server.alarms import View, alarms
from meteora.server.peer_statuses import PeerStatuses
from meteora.server.recent import SAMPLE_SECONDS, RecentWork, Sample, known_matches
from meteora.transport.outgoing import GrpcTransport
from meteora.web import Handler, Request, Response, WebApplication

FRESH_SECONDS: Final = 1.0
"""For so long the same is answered to everybody."""

_FILES: Final = {
    "/": ("index.html", b"text/html; charset=utf-8"),
    "/status.css": ("status.css", b"text/css; charset=utf-8"),
    "/status.js": ("status.js", b"text/javascript; charset=utf-8"),
    "/favicon.svg": ("favicon.svg", b"image/svg+xml"),
}
"""By the path: in the folder `page`."""

_SAFE: Final = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
"""Nothing but what this node serves is run or shown, and no other site's page holds this one."""


class StatusPage:
    """Serves one node's page, and keeps what its plots show."""

    def __init__(
        self, node: Node, cluster_id: int, transport: GrpcTransport, recent: RecentWork, peers: PeerStatuses
    ) -> None:
        self._node = node
        self._cluster_id = cluster_id
        self._transport = transport
        self._recent = recent
        self._peers = peers
        self._looking: asyncio.Task[bytes] | None = None
        """Shared by all who ask within `FRESH_SECONDS`."""
        self._looked_at = 0.0
        self._sampling = asyncio.create_task(self._sample())

    def add_to(self, application: WebApplication) -> None:
        """Serves the page and what it needs."""
        for path, (name, content_type) in _FILES.items():
            application.add("GET", path, _file(name, content_type))
        application.add("GET", "/status.json", self._serve)

    async def stop(self) -> None:
        """Leaves nothing behind."""
        tasks = [self._sampling, *([self._looking] if self._looking is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._peers.close()

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            self._recent.take()
            await self._peers.close_unused()

    async def _serve(self, _: Request) -> Response:
        now = asyncio.get_running_loop().time()
        looking = self._looking
        if looking is None or (looking.done() and (now - self._looked_at > FRESH_SECONDS or _has_failed(looking))):
            self._looked_at = now
            looking = self._looking = asyncio.create_task(self._look())
        # Who goes takes the others' answer with it otherwise.
        body = await asyncio.shield(looking)
        return Response(200, [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), *_SAFE], body)

    # What is to be seen

    async def _look(self) -> bytes:
        # Where they are by what they say themselves, if they have moved.
        members, links = self._node.members.by_id, self._transport.links
        answers = await self._peers.ask({each: link.address for each, link in links.items() if each in members})
        return json.dumps(self._seen(answers), separators=(",", ":")).encode()

    def _seen(self, answers: dict[int, NodeStatusReply | None]) -> dict[str, Any]:
        node, status, samples = self._node, self._node.status(), list(self._recent.samples)
        unreachable = {each: why for each, answer in answers.items() if (why := self._why_unreachable(each, answer))}
        return {
            "now": time.time(),
            "version": meteora.__version__,
            "cluster_id": f"{self._cluster_id:016x}",
            "node_id": str(node.node_id),
            "leader_id": str(status.leader_id),
            "term": status.term,
            "alarms": alarms(View(node=node, unreachable=unreachable, samples=samples)),
            "members": [
                self._member(each, member, answers.get(each), unreachable)
                for each, member in sorted(node.members.by_id.items())
            ],
            "sample_seconds": SAMPLE_SECONDS,
            "samples": [_sample_row(each) for each in samples],
            "events": [{"at": each.at, "text": each.text} for each in node.events.newest_first()],
        }

    def _why_unreachable(self, member: int, answer: NodeStatusReply | None) -> str:
        link = self._transport.links.get(member)
        if link is not None and not link.is_connected:
            return "can't be reached"
        return "is connected, and silent" if answer is None else ""

    def _member(
        self, node_id: int, member: Member, answer: NodeStatusReply | None, unreachable: dict[int, str]
    ) -> dict[str, Any]:
        link = self._transport.links.get(node_id)
        source = self._node.status() if node_id == self._node.node_id else answer
        applied = None if source is None else source.applied_index
        return {
            # As text: a number of JavaScript has 53 bits.
            "id": str(node_id),
            "role": self._role(node_id, answer),
            "kv_address": member.kv_address,
            "raft_address": member.raft_address,
            "applied_index": applied,
            "commit_index": None if source is None else source.commit_index,
            "lag": self._lag(node_id, applied),
            "round_trip_seconds": None if link is None else link.round_trip_seconds(),
            "state": "differs" if node_id in self._node.differing else unreachable.get(node_id, "ok"),
        }

    def _lag(self, node_id: int, applied: int | None) -> int | None:
        """What a member has yet to get, if this node leads and knows it; else what it has yet to apply."""
        status = self._node.status()
        match_index = known_matches(self._node).get(node_id)
        if match_index is not None:
            return max(status.last_index - match_index, 0)
        return None if applied is None else max(status.commit_index - applied, 0)

    def _role(self, node_id: int, answer: NodeStatusReply | None) -> str:
        status = self._node.status()
        if node_id == status.leader_id:
            return "leader"
        if node_id in status.configuration.learners:
            return "learner"
        if node_id == status.node_id:
            return status.role.value
        if answer is None:
            return "voter"
        # One that was cut off may still think that it leads.
        says = Role.FOLLOWER if answer.role == Role.LEADER else answer.role
        return Role.Name(says).lower().replace("_", "-")


def _has_failed(task: asyncio.Task[bytes]) -> bool:
    return task.cancelled() or task.exception() is not None


def _sample_row(sample: Sample) -> list[float | None]:
    """Its numbers in the order that status.js knows; times in milliseconds."""
    times = (sample.request_p50, sample.request_p99, sample.disk_p99)
    return [
        round(sample.at, 1),
        round(sample.requests, 1),
        round(sample.writes, 1),
        *(None if each is None else round(each * 1000, 3) for each in times),
    ]


def _file(name: str, content_type: bytes) -> Handler:
    """A handler for one file of the page."""
    body = (files("meteora.server") / "page" / name).read_bytes()
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'.encode()
    headers = [(b"content-type", content_type), (b"cache-control", b"no-cache"), (b"etag", tag), *_SAFE]

    async def serve(request: Request) -> Response:
        known = request.header(b"if-none-match") or b""
        if tag in known:
            return Response(304, headers)
        return Response(200, headers, body)

    return serve
