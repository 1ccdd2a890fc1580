"""Requests that can't be read, on grpcio: by itself it answers UNKNOWN, as if the handler had failed, and logs that.

Rule: what is no request ends its call as it does on our own host, and no handler ever sees it.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import grpc

from meteora.rpc.method import Handler, method_of
from meteora.rpc.status import CallFailed

_Readable = Callable[[Any, Any], Awaitable[tuple[Any, Any]]]
"""From what grpcio calls a handler with to what the handler is called with."""

FACTORIES: Final[dict[tuple[bool, bool], Callable[..., Handler]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
"""By whether requests stream, and whether responses do."""


def with_readable_requests(handler: Handler) -> Handler:
    """The handler, but that a call ends with INTERNAL at a request that can't be read.

    One that is not asynchronous stays as it is: such are only the methods that nobody implemented.
    """
    behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    if not (inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour)):
        return handler
    parse = method_of("", handler).parse

    def deserialize(message: bytes) -> Any:
        try:
            return parse(message)
        except CallFailed as failure:
            return failure

    return FACTORIES[handler.request_streaming, handler.response_streaming](
        _called_with(behaviour, _readable_stream if handler.request_streaming else _readable_request),
        request_deserializer=deserialize,
        response_serializer=handler.response_serializer,
    )


def _called_with(behaviour: Callable[[Any, Any], Any], readable: _Readable) -> Callable[[Any, Any], Any]:
    """The behaviour as grpcio calls it: what it is called with is made `readable` before."""

    async def call(request: Any, context: Any) -> Any:
        return await behaviour(*await readable(request, context))

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        async with aclosing(behaviour(*await readable(request, context))) as responses:
            async for response in responses:
                yield response

    return stream if inspect.isasyncgenfunction(behaviour) else call


async def _readable_request(request: Any, context: Any) -> tuple[Any, Any]:
    return await _ensured(request, context), context


async def _readable_stream(requests: Any, context: Any) -> tuple[Any, Any]:
    return _each_ensured(requests, context), _StreamContext(context)


async def _each_ensured(requests: Any, context: Any) -> AsyncIterator[Any]:
    async for request in requests:
        yield await _ensured(request, context)


async def _ensured(request: Any, context: Any) -> Any:
    """The request; the end of the call if there is none."""
    if isinstance(request, CallFailed):
        await context.abort(request.code, request.details)
    return request


class _StreamContext:
    """grpcio's context of a call whose requests stream, for handlers that read them from it."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def read(self) -> Any:
        """The next request; `grpc.aio.EOF` when the client has sent all."""
        return await _ensured(await self._context.read(), self._context)


# For those who ask whether they were given a context.
grpc.aio.ServicerContext.register(_StreamContext)
