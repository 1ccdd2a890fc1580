"""gRPC on our own HTTP/2, within the event loop: no thread is woken for a call, and only the long way has tasks."""

import asyncio
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc

from meteora.http1 import Http1Gateway
from meteora.http2 import Bounds, Endpoint
from meteora.observability.histogram import CallCounts
from meteora.rpc import listener
from meteora.rpc.application import Application
from meteora.rpc.connect import add_connect_methods
from meteora.rpc.direct import Direct
from meteora.rpc.method import Handler
from meteora.rpc.server import Pressure, RpcServer
from meteora.tls import IncomingTls
from meteora.web import Http2Gateway, WebApplication

FLUSH_SECONDS: Final = 1.0
"""How long a server that stops waits for handlers that it cancelled, and for clients to take their answers."""


class Http2Server(RpcServer):
    """An `RpcServer` on our own HTTP/2."""

    def __init__(
        self,
        host: str,
        port: int,
        max_message_bytes: int,
        tls: IncomingTls | None = None,
        bounds: Bounds | None = None,
        *,
        reserved_services: Collection[str] = (),
        refusal_metadata: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._host = host
        self._port = port
        self._application = Application(
            max_message_bytes, reserved_services=reserved_services, refusal_metadata=refusal_metadata
        )
        self._endpoint = Endpoint(self._application.route, tls, bounds)
        self._listener: socket.socket | None = None
        self._web: WebApplication | None = None
        self._http1: Http1Gateway | None = None
        self._thread = ThreadPoolExecutor(1, "json")
        self._is_started = False

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

    def serve_web(self, application: WebApplication) -> bool:
        """Serves this beside gRPC, by HTTP/1.1 and HTTP/2. Only before `start`."""
        self._web = application
        self._application.route_other = Http2Gateway(application).route
        self._http1 = Http1Gateway(application)
        self._endpoint.open_other = self._http1.open
        return True

    @property
    def call_counts(self) -> Mapping[str, CallCounts]:
        """What became of the calls of each method, by its path."""
        return {path: method.counts for path, method in self._application.methods.items()}

    @property
    def connection_counts(self) -> Mapping[str, int]:
        """Connections that are open, by the version of HTTP."""
        of_http1 = 0 if self._http1 is None else len(self._http1.connections)
        return {"1.1": of_http1, "2": len(self._endpoint.connections) - of_http1}

    @property
    def pressure(self) -> Pressure:
        """How near it is to its bounds, and what that has cost."""
        endpoint = self._endpoint
        return Pressure(
            requests=sum(endpoint.requests),
            held_bytes=endpoint.held.total,
            refused_connections=endpoint.refused_connections,
            refused_requests=endpoint.refused_requests,
            given_up=endpoint.held.let_go,
        )

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
        if self._web is not None:
            add_connect_methods(self._web, self._application.methods, self._application.running, self._thread)
        listener.listen(self._listener, self._host, self._port)
        await self._endpoint.start(self._listener, backlog=listener.BACKLOG)
        # The endpoint closes it from now on.
        self._listener = None
        self._is_started = True

    async def stop(self, grace_seconds: float | None) -> None:
        """Takes no more calls; gives those that run `grace_seconds`, and then cancels them. None is no grace."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._is_started:
            await self._application.running.stop(grace_seconds or 0.0)
            if self._web is not None:
                self._web.stop()
            await self._endpoint.stop(FLUSH_SECONDS)
            await self._application.running.wait_for_end()
            if self._web is not None:
                await self._web.wait_for_end()
                await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
