"""Who answers which request.

Rule: whatever a handler does, there is a response; an error of ours is logged here, and told to the client as no more
than that.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from meteora.observability.logs import get_logger
from meteora.web.messages import Request, Response, path_of, text_response

Handler = Callable[[Request], Awaitable[Response]]

MAX_REQUESTS: Final = 1024
"""That are answered at one time, by all connections: so many calls, and so many that only look. Neither takes places
from the other, or a node on which calls wait for a leader would fail its probes."""

MAX_BODIES_BYTES: Final = 64 << 20
"""Of all requests that are not whole yet. One that goes beyond is told so."""

_log = get_logger("web")


class WebApplication:
    """What is served on one port. `max_body_bytes` is the longest body of a request that is taken."""

    def __init__(self, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes
        self.bodies_bytes = 0
        """Of requests that are not whole yet."""
        self._handlers: dict[str, dict[str, Handler]] = {}
        """By path and method."""
        self._answered = [0, 0]
        """At this moment: those that look, and calls."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Lets `handler` answer such requests. One for GET answers HEAD as well."""
        self._handlers.setdefault(path, {})[method] = handler

    def body_bytes(self, method: str, target: str) -> int:
        """The longest body that is taken there."""
        return self.max_body_bytes if method == "POST" and "POST" in self._handlers.get(path_of(target), ()) else 0

    def too_long(self, method: str, target: str) -> Response:
        """The response to a request with a longer one."""
        limit = self.body_bytes(method, target)
        return self._refusal(method, path_of(target)) or text_response(413, f"a body has at most {limit} bytes here")

    def take_in(self, count: int) -> bool:
        """So many bytes of a body have come: whether there is room for them. Who took them in calls `let_go` later."""
        if self.bodies_bytes + count > MAX_BODIES_BYTES:
            return False
        self.bodies_bytes += count
        return True

    def let_go(self, count: int) -> None:
        """So many bytes belong to a request that is whole now, or of no use."""
        self.bodies_bytes -= count

    async def respond(self, request: Request) -> Response:
        """The response to a request. Never raises, unless it is cancelled."""
        is_call = request.method == "POST"
        self._answered[is_call] += 1
        try:
            return await self._find(request, self._answered[is_call])(request)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return text_response(503, "the request was cancelled by the server")
        except Exception:  # noqa: BLE001  whatever it is, the client is not to wait for ever
            _log.exception("a request failed", method=request.method, path=request.path)
            return text_response(500, "an error of the server: see its log")
        finally:
            self._answered[is_call] -= 1

    def _find(self, request: Request, count: int) -> Handler:
        """Who answers, if so many are answered."""
        if self._is_stopping:
            return _constant(text_response(503, "the server is stopping"))
        if count > MAX_REQUESTS:
            return _constant(text_response(503, f"more than {MAX_REQUESTS} requests at a time: try again later"))
        refusal = self._refusal(request.method, request.path)
        return _constant(refusal) if refusal else self._handlers[request.path][_asked(request.method)]

    def _refusal(self, method: str, path: str) -> Response | None:
        """None if somebody answers there."""
        handlers = self._handlers.get(path)
        if handlers is None:
            return text_response(404, "there is nothing here")
        if _asked(method) not in handlers:
            allowed = ", ".join(sorted({*handlers, *(["HEAD"] if "GET" in handlers else [])}))
            return text_response(405, f"only {allowed} here", (b"allow", allowed.encode()))
        return None

    # Tasks

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs what answers one request. Its owner cancels it if the client goes."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a request was left without an answer", cause=repr(error))

    def stop(self) -> None:
        """Takes no more requests."""
        self._is_stopping = True

    async def wait_for_end(self) -> None:
        """Returns when nothing is left of any request. For when all connections have ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)


def crowded() -> Response:
    """For a request whose body there is no room for."""
    return text_response(503, "too many requests are coming in: try again later")


def _asked(method: str) -> str:
    return "GET" if method == "HEAD" else method


def _constant(response: Response) -> Handler:
    async def answer(_: Request) -> Response:
        return response

    return answer
