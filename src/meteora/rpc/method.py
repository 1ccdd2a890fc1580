"""What is registered under a path: how to read requests, whom to call, how to write responses."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc

from meteora.observability.histogram import CallCounts
from meteora.rpc.status import CallFailed

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
"""In quotes, because only type checkers know that it is generic."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service."""

    path: str
    behaviour: Callable[[Any, Any], Any]
    """Takes the request, or an iterator of them, and the context. Gives an awaitable of the response; where responses
    stream, an asynchronous iterator of them, or an awaitable of nothing for whoever writes to the context."""
    request_streaming: bool
    response_streaming: bool
    deserialize: Callable[[bytes], Any]
    serialize: Callable[[Any], bytes]
    counts: CallCounts = field(default_factory=CallCounts, compare=False)
    """What became of its calls."""

    def parse(self, message: bytes) -> Any:
        """The request in a message. Raises `CallFailed` if there is none in it."""
        try:
            return self.deserialize(message)
        except Exception as error:  # what a deserializer raises is its own business
            raise CallFailed(grpc.StatusCode.INTERNAL, f"Exception deserializing request! {error}") from error


def method_of(path: str, handler: Handler) -> Method:
    """The method that grpcio's generated code describes by `handler`."""
    behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    return Method(
        path=path,
        behaviour=behaviour if handler.response_streaming else _awaited(behaviour),
        request_streaming=handler.request_streaming,
        response_streaming=handler.response_streaming,
        deserialize=handler.request_deserializer or bytes,
        serialize=handler.response_serializer or bytes,
    )


def methods_of(service_name: str, handlers: Mapping[str, Handler]) -> dict[str, Method]:
    """The methods of a service by their paths."""
    paths = {f"/{service_name}/{name}": handler for name, handler in handlers.items()}
    return {path: method_of(path, handler) for path, handler in paths.items()}


def _awaited(behaviour: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The behaviour, made asynchronous if it isn't.

    Generated base classes refuse what nobody implemented by plain methods. One that blocks would block the loop.
    """
    if inspect.iscoroutinefunction(behaviour):
        return behaviour

    async def call(request: Any, context: Any) -> Any:
        response = behaviour(request, context)
        return await response if inspect.isawaitable(response) else response

    return call
