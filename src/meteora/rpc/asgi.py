"""The ASGI application: finds the method for a request, or says why there is none.

Rule: what is no gRPC request is answered in HTTP's terms, what is one in gRPC's; the connection lives on either way.
"""

from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc

from meteora.rpc.call import Scope, Send, send_status
from meteora.rpc.direct import Direct, DirectMethod
from meteora.rpc.framing import Receive
from meteora.rpc.metadata import MetadataValue, decode_metadata
from meteora.rpc.method import Handler, Method, method_of, methods_of
from meteora.rpc.running import Running, stopping
from meteora.rpc.serving import serve_streaming, serve_unary
from meteora.rpc.status import CallFailed, Header, number_of, status_headers

_USUAL_CONTENT_TYPES: Final = frozenset([b"application/grpc", b"application/grpc+proto"])


@dataclass(slots=True)
class CallDetails:
    """What a generic handler is asked about: a `grpc.HandlerCallDetails`."""

    method: str
    invocation_metadata: tuple[tuple[str, MetadataValue], ...]


class Application:
    """Serves what is registered. `max_message_bytes` is the longest request taken, compressed or not."""

    def __init__(self, max_message_bytes: int) -> None:
        self.running = Running(max_message_bytes)
        self._methods: dict[str, Method] = {}
        self._direct: dict[str, DirectMethod] = {}
        self._generic_handlers: list[grpc.GenericRpcHandler] = []

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """As `grpc.aio.Server`."""
        self._generic_handlers.extend(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """As `grpc.aio.Server`."""
        self._methods.update(methods_of(service_name, method_handlers))

    def add_direct_methods(self, service_name: str, methods: Mapping[str, Direct]) -> None:
        """As `meteora.rpc.server.RpcServer`."""
        for name, direct in methods.items():
            path = f"/{service_name}/{name}"
            self._direct[path] = DirectMethod(self._methods[path], direct, self.running)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Serves one request. Not asynchronous itself, because that would cost each call a coroutine more."""
        headers = dict(scope["headers"])
        path = scope["path"]
        method = self._methods.get(path)
        if (
            method is None
            or headers.get(b"content-type") not in _USUAL_CONTENT_TYPES
            or headers.get(b"te") != b"trailers"
            or scope.get("method") != "POST"
            or self.running.is_stopping
        ):
            return self._look_closer(scope, headers, receive, send)
        direct = self._direct.get(path)
        if direct is not None:
            return direct.serve(scope, headers, receive, send)
        return self._serve(method, scope, headers, receive, send)

    def _serve(
        self, method: Method, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> Coroutine[Any, Any, None]:
        context = self.running.context(method, scope, headers, receive, send)
        if method.request_streaming or method.response_streaming:
            return serve_streaming(context)
        return serve_unary(context)

    async def _look_closer(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        """Serves, or refuses, what is not obviously a call of a registered method."""
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
        elif scope["method"] != "POST":
            await _refuse(send, 405, "gRPC calls are POST requests", (b"allow", b"POST"))
        elif not _is_grpc(headers.get(b"content-type", b"")):
            await _refuse(send, 415, "the content type of gRPC calls is application/grpc")
        elif "http.response.trailers" not in scope["extensions"]:
            await _refuse(send, 400, "gRPC calls have the header te: trailers")
        else:
            await self._serve_or_fail(scope, headers, receive, send)

    async def _serve_or_fail(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        try:
            method = self._find(scope)
        except CallFailed as failure:
            await send_status(send, status_headers(number_of(failure.code), failure.details))
        else:
            await self._serve(method, scope, headers, receive, send)

    def _find(self, scope: Scope) -> Method:
        """The method for a request, those of generic handlers included. Raises `CallFailed` if there is none."""
        if self.running.is_stopping:
            raise stopping()
        path = scope["path"]
        if path in self._methods:
            return self._methods[path]
        details = CallDetails(path, decode_metadata(scope["headers"]))
        offers = (generic.service(details) for generic in self._generic_handlers)
        handler = next((offer for offer in offers if offer is not None), None)
        if handler is None:
            raise CallFailed(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        return method_of(path, handler)


def _is_grpc(content_type: bytes) -> bool:
    """Whether it is application/grpc, with or without the name of an encoding, in any case, with any parameters."""
    essence = content_type.partition(b";")[0].strip().lower()
    return essence == b"application/grpc" or essence.startswith(b"application/grpc+")


async def _refuse(send: Send, status: int, reason: str, *headers: Header) -> None:
    """Answers what is no gRPC request."""
    text = (b"content-type", b"text/plain; charset=utf-8")
    await send({"type": "http.response.start", "status": status, "headers": [text, *headers]})
    await send({"type": "http.response.body", "body": f"{reason}\n".encode()})
