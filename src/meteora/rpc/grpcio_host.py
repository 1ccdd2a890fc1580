"""gRPC on grpcio's own asynchronous server: slower by far, and there in case that the other one is ever in the way."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import grpc

from meteora.http2 import Bounds
from meteora.rpc import listener
from meteora.rpc.direct import Direct
from meteora.rpc.grpcio_requests import with_readable_requests
from meteora.rpc.grpcio_tls import credentials_of, with_allowed_names
from meteora.rpc.method import Handler
from meteora.rpc.server import RpcServer
from meteora.tls import IncomingTls
from meteora.web import WebApplication

OPTIONS: Final = (
    # Two servers on one port are an error.
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", -1),
    # Connections are pinged after a minute of silence and given up after another half of one, as a client that loses
    # its power does not close them.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 30_000),
    # Clients may ping as often as they like: peers do, to notice within seconds that a node is dead.
    ("grpc.http2.max_ping_strikes", 0),
)


class _Calls(grpc.aio.ServerInterceptor):
    """Stands before each call: what its requests are is looked at, and the tasks of those that run are known.

    grpcio cancels them when it stops, but does not wait for their end.
    """

    def __init__(self, tls: IncomingTls | None) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self._tls = tls

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Called by grpcio in the task that goes on to serve the call."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        readable = with_readable_requests(handler)
        return readable if self._tls is None else with_allowed_names(readable, self._tls)


class GrpcioServer(RpcServer):
    """An `RpcServer` on `grpc.aio`."""

    def __init__(
        self,
        host: str,
        port: int,
        max_message_bytes: int,
        tls: IncomingTls | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._max_requests = None if bounds is None else bounds.max_requests
        self._options = (*OPTIONS, ("grpc.max_receive_message_length", max_message_bytes))
        self._generic_handlers: list[grpc.GenericRpcHandler] = []
        self._method_handlers: list[tuple[str, Mapping[str, Handler]]] = []
        self._reservation: socket.socket | None = None
        self._calls = _Calls(tls)
        self._server: grpc.aio.Server | None = None

    def serve_web(self, application: WebApplication) -> bool:  # noqa: ARG002  there is no way to
        """False: grpcio's server speaks gRPC only."""
        return False

    @property
    def port(self) -> int:
        """The port: once it is bound, the real one where 0 was asked for."""
        return self._port

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Serves what these handlers know. Only before `start`."""
        self._generic_handlers.extend(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Serves these methods, by their names. Only before `start`."""
        self._method_handlers.append((service_name, method_handlers))

    def add_direct_methods(self, service_name: str, methods: Mapping[str, Direct]) -> None:
        """Nothing is done: grpcio knows no short way, and their handlers serve them as well."""

    def bind(self) -> None:
        """Takes the port. Raises `AddressInUse`."""
        if self._reservation is None:
            self._reservation = listener.bind(self._host, self._port)
            self._port = self._reservation.getsockname()[1]

    async def start(self) -> None:
        """Returns when clients can call. Raises `AddressInUse`."""
        self.bind()
        # Created here and no sooner, because grpcio never frees one that was not started.
        server = grpc.aio.server(
            handlers=self._generic_handlers,
            interceptors=[self._calls],
            options=self._options,
            maximum_concurrent_rpcs=self._max_requests,
        )
        for service_name, method_handlers in self._method_handlers:
            server.add_registered_method_handlers(service_name, method_handlers)
        try:
            # Binds a socket of its own, which it can because nothing listens on the reserved one.
            self._add_port(server, listener.address_of(self._host, self._port))
        except RuntimeError as error:
            raise listener.refusal(self._host, self._port, str(error)) from error
        finally:
            self._release()
        await server.start()
        self._server = server

    def _add_port(self, server: grpc.aio.Server, address: str) -> None:
        if self._tls is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, credentials_of(self._tls))

    async def stop(self, grace_seconds: float | None) -> None:
        """Takes no more calls; gives those that run `grace_seconds`, and then cancels them. None is no grace."""
        self._release()
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace_seconds)
            if self._calls.tasks:
                await asyncio.wait(self._calls.tasks)

    def _release(self) -> None:
        if self._reservation is not None:
            self._reservation.close()
            self._reservation = None
