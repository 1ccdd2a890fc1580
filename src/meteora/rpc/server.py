"""What the rest of Meteora knows of a gRPC server."""

import abc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

import grpc

from meteora.observability.histogram import CallCounts
from meteora.rpc.direct import Direct
from meteora.rpc.method import Handler
from meteora.web import WebApplication


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """How near a server is to its bounds, and what they have cost its clients since it was made."""

    requests: int = 0
    """Under way."""
    held_bytes: int = 0
    """Of what clients have sent half of, and of what they don't read."""
    refused_connections: int = 0
    refused_requests: int = 0
    given_up: int = 0
    """Connections and requests that had to make room for others."""


class RpcServer(grpc.aio.Server):
    """Serves standard servicers on one address, from `start` to `stop`, once.

    A `grpc.aio.Server` to what registers services; but its address is given when it is created, and it is for a caller
    who stays, so nobody waits for its termination.
    """

    @abc.abstractmethod
    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Serves what these handlers know. Only before `start`."""

    @abc.abstractmethod
    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Serves these methods, by their names. Only before `start`."""

    @abc.abstractmethod
    def add_direct_methods(self, service_name: str, methods: Mapping[str, Direct]) -> None:
        """Serves these methods directly where that will do. Their handlers must be registered. Only before `start`."""

    @abc.abstractmethod
    def serve_web(self, application: WebApplication) -> bool:
        """Serves this beside gRPC, if this kind of server can: whether it does. Only before `start`."""

    @property
    def call_counts(self) -> Mapping[str, CallCounts]:
        """What became of the calls of each method, by its path; empty where nobody counts."""
        return {}

    @property
    def connection_counts(self) -> Mapping[str, int]:
        """Connections that are open, by the version of HTTP; empty where nobody counts."""
        return {}

    @property
    def pressure(self) -> Pressure:
        """How near it is to its bounds; nothing where nobody counts."""
        return Pressure()

    @property
    @abc.abstractmethod
    def port(self) -> int:
        """The port: once it is bound, the real one where 0 was asked for."""

    @abc.abstractmethod
    def bind(self) -> None:
        """Takes the port, without letting clients connect yet. `start` does this, if it wasn't done.

        For whoever must know that the address is his before he tells others. Raises `AddressInUse`.
        """

    @abc.abstractmethod
    async def start(self) -> None:
        """Returns when clients can call. Raises `AddressInUse`, which says what to do."""

    @abc.abstractmethod
    async def stop(self, grace_seconds: float | None) -> None:
        """Takes no more calls; gives those that run `grace_seconds`, and then cancels them. None is no grace.

        Nothing is left when it returns. May be called at any time, and again.
        """

    def add_insecure_port(self, address: str) -> NoReturn:
        """Not offered: the address is given when the server is created."""
        raise NotImplementedError

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> NoReturn:
        """Not offered: the address is given when the server is created."""
        raise NotImplementedError

    async def wait_for_termination(self, timeout: float | None = None) -> NoReturn:  # noqa: ASYNC109  grpcio's
        """Not offered: a server ends when it is told to."""
        raise NotImplementedError
