"""gRPC on h2corn, an HTTP/2 server in native code that runs inside the event loop: the fast one.

Rules: the event loop, its signals, stderr and the socket are ours. h2corn gets a listening socket and the application.
"""

import asyncio
import socket
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import grpc
import h2corn
from h2corn._lib import prepare_tls

from meteora.observability.logs import get_logger
from meteora.rpc import listener
from meteora.rpc.asgi import Application
from meteora.rpc.direct import Direct
from meteora.rpc.method import Handler
from meteora.rpc.server import RpcServer

FLUSH_SECONDS: Final = 1.0
"""How long a server that stops waits for handlers that it cancelled, and for clients to take their answers."""

MAX_STREAMS: Final = 1024
"""Calls at a time on one connection. A client with more of them waits by itself."""

MAX_RESETS: Final = 200
"""Calls that a client may cancel on one connection in ten seconds. What cancels more is taken for an attack ("rapid
reset", CVE-2023-44487), and the connection is closed: the client's other calls on it end with UNAVAILABLE. h2corn's own
choice, which can't be set; a test notices if it changes. Our clients try what was lost in this way again."""

STREAM_WINDOW_BYTES: Final = 4 << 20
CONNECTION_WINDOW_BYTES: Final = 16 << 20
"""What a client may have sent that no handler has asked for yet, in one call and in all calls of its connection. Room
for large values over long lines; and a call that doesn't read leaves three quarters to the others."""

CONFIG: Final = h2corn.Config(
    grpc=True,
    lifespan="off",
    # The loop's thread does the work; one more carries the bytes.
    runtime_threads=1,
    # Nothing is logged per request.
    access_log=False,
    # A clock's reading and a name that no gRPC client looks at.
    server_header="off",
    date_header=False,
    # Addresses are those of connections: nobody stands before us who could say otherwise.
    proxy_headers=False,
    max_concurrent_streams=MAX_STREAMS,
    h2_initial_stream_window_size=STREAM_WINDOW_BYTES,
    h2_initial_connection_window_size=CONNECTION_WINDOW_BYTES,
    timeout_graceful_shutdown=FLUSH_SECONDS,
    # Idle connections stay, as with other gRPC servers: clients keep them for their next call. TCP finds the dead ones.
    timeout_keep_alive=0,
)

_log = get_logger("rpc")


class H2cornServer(RpcServer):
    """An `RpcServer` on h2corn."""

    def __init__(self, host: str, port: int, max_message_bytes: int, config: h2corn.Config = CONFIG) -> None:
        self._host = host
        self._port = port
        self._application = Application(max_message_bytes)
        self._server = h2corn.Server(cast(Any, self._application), config)
        self._tls = prepare_tls(config)
        self._listener: socket.socket | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port: once it is bound, the real one where 0 was asked for."""
        return self._port

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Serves what these handlers know. Only before `start`."""
        self._application.add_generic_rpc_handlers(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Serves these methods, by their names. Only before `start`."""
        self._application.add_registered_method_handlers(service_name, method_handlers)

    def add_direct_methods(self, service_name: str, methods: Mapping[str, Direct]) -> None:
        """Serves these methods directly where that will do; their handlers are registered. Only before `start`."""
        self._application.add_direct_methods(service_name, methods)

    def bind(self) -> None:
        """Takes the port. Raises `AddressInUse`."""
        if self._listener is None:
            self._listener = listener.bind(self._host, self._port)
            self._port = self._listener.getsockname()[1]

    async def start(self) -> None:
        """Returns when clients can call. Raises `AddressInUse`."""
        self.bind()
        assert self._listener is not None
        self._application.running.loop = asyncio.get_running_loop()
        listener.listen(self._listener, self._host, self._port)
        self._serving = asyncio.create_task(self._serve(self._listener.detach()), name="h2corn")
        self._listener = None
        await self._server.wait_started()

    async def stop(self, grace_seconds: float | None) -> None:
        """Takes no more calls; gives those that run `grace_seconds`, and then cancels them. None is no grace."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._serving is not None:
            await self._application.running.stop(grace_seconds or 0.0)
            self._server.shutdown()
            await asyncio.wait([self._serving])

    async def _serve(self, descriptor: int) -> None:
        """Runs until `shutdown`; the descriptor is closed then."""
        try:
            # Not `Server.serve`: that one prints a banner to stderr, which can't be turned off. This is what the
            # workers of `h2corn.serve` run. h2corn's version is pinned for it, and a test notices if it prints.
            await self._server._serve_worker_fds([descriptor], prepared_tls=self._tls)  # noqa: SLF001
        except Exception:  # noqa: BLE001  if it could not even start, whoever waits for that is told of it as well
            _log.exception("HTTP/2 server failed", address=listener.address_of(self._host, self._port))
