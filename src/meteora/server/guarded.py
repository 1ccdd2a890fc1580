"""A server whose methods are called only by who may: what stands between the services and their callers.

Rule: what is not named here needs the role root. So a service that is added later is closed until somebody has thought
about it. The key-value service is open here, because it looks at each key itself; and so is the peers' service, because
who is a peer is not a matter of users (docs/users-and-roles.md tells what protects it).
"""

import asyncio
import inspect
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from enum import Enum
from typing import Any, Final

import grpc

from meteora.errors import RequestError
from meteora.observability.histogram import CallCounts
from meteora.rpc import Direct, Pressure, RpcServer
from meteora.server.access import Gate, authorization_of
from meteora.server.deadlines import deadline_of
from meteora.server.statuses import abort
from meteora.web import WebApplication


class Needs(Enum):
    """What a caller must be."""

    NOTHING = "nothing"
    LOGIN = "a login"
    ROOT = "the role root"


_OF_USERS: Final = "meteora.auth.AuthService"

_SERVICES: Final = {
    "meteora.kv.KvService": Needs.NOTHING,
    "meteora.peer.PeerService": Needs.NOTHING,
    "grpc.health.v1.Health": Needs.NOTHING,
    "grpc.reflection.v1alpha.ServerReflection": Needs.LOGIN,
}

_METHODS: Final = {
    "/meteora.auth.AuthService/Authenticate": Needs.NOTHING,
    "/meteora.auth.AuthService/AuthStatus": Needs.NOTHING,
    # Whose, is looked at there.
    "/meteora.auth.AuthService/UserGet": Needs.LOGIN,
    "/meteora.auth.AuthService/RoleGet": Needs.LOGIN,
    "/meteora.raft.RaftService/Status": Needs.LOGIN,
    "/meteora.raft.RaftService/NodeStatus": Needs.LOGIN,
}


def needs_of(service: str, method: str) -> Needs:
    """What who calls a method must be."""
    return _METHODS.get(f"/{service}/{method}") or _SERVICES.get(service, Needs.ROOT)


class GuardedServer(RpcServer):
    """Another server, with a gate before what is registered here. It is started and stopped as that one."""

    def __init__(self, server: RpcServer, gate: Gate, *, timeout_seconds: float, is_of_members: bool) -> None:
        """`is_of_members`: the server is the one by which members talk to one another."""
        self._is_of_members = is_of_members
        self._server = server
        self._gate = gate
        self._timeout_seconds = timeout_seconds

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Nothing is done: generated code registers the same by `add_registered_method_handlers`, which names it."""

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> None:
        """Serves these methods to who may call them."""
        guarded = {name: self._guarded(service_name, name, handler) for name, handler in method_handlers.items()}
        self._server.add_registered_method_handlers(service_name, guarded)

    def add_direct_methods(self, service_name: str, methods: Mapping[str, Direct]) -> None:
        """They see to it themselves who may call them."""
        self._server.add_direct_methods(service_name, methods)

    def serve_web(self, application: WebApplication) -> bool:
        """As the server's own; that is open to everybody: metrics, probes. Calls in JSON are guarded as others."""
        return self._server.serve_web(application)

    @property
    def call_counts(self) -> Mapping[str, CallCounts]:
        """Those of the server."""
        return self._server.call_counts

    @property
    def connection_counts(self) -> Mapping[str, int]:
        """Those of the server."""
        return self._server.connection_counts

    @property
    def pressure(self) -> Pressure:
        """That of the server."""
        return self._server.pressure

    @property
    def port(self) -> int:
        """That of the server."""
        return self._server.port

    def bind(self) -> None:
        """As the server's own."""
        self._server.bind()

    async def start(self) -> None:
        """As the server's own."""
        await self._server.start()

    async def stop(self, grace_seconds: float | None) -> None:
        """As the server's own."""
        await self._server.stop(grace_seconds)

    def _guarded(self, service: str, method: str, handler: Any) -> Any:
        needs = needs_of(service, method)
        if needs is Needs.NOTHING:
            return handler
        behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

        async def call(request: Any, context: Any) -> Any:
            await self._admit(context, service, needs)
            response = behaviour(request, context)
            return await response if inspect.isawaitable(response) else response

        async def stream(request: Any, context: Any) -> Any:
            await self._admit(context, service, needs)
            async with aclosing(behaviour(request, context)) as responses:
                async for response in responses:
                    yield response

        is_generator = inspect.isasyncgenfunction(behaviour)
        return _FACTORIES[handler.request_streaming, handler.response_streaming](
            stream if is_generator else call, handler.request_deserializer, handler.response_serializer
        )

    async def _admit(self, context: "grpc.aio.ServicerContext[Any, Any]", service: str, needs: Needs) -> None:
        # That users were enabled may not be known here yet. Who asks to change them waits for that anyway; others, as
        # for a backup of what this node has, need not.
        if not self._gate.users.is_enabled and service != _OF_USERS:
            return
        deadline = deadline_of(context, self._timeout_seconds, asyncio.get_running_loop().time())
        try:
            await self._gate.admit(
                authorization_of(context),
                deadline,
                is_root_needed=needs is Needs.ROOT,
                takes_members=self._is_of_members,
            )
        except RequestError as error:
            await abort(context, error)


_FACTORIES: Final = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
