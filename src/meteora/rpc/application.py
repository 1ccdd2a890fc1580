"""Finds the method for a request, or says why there is none.

Rule: what is no gRPC request is answered in HTTP's terms, what is one in gRPC's; the connection lives on either way.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import grpc

from meteora.http2 import Header, Headers, Route, ServerStream, encode_headers
from meteora.rpc.call import send_status
from meteora.rpc.direct import Direct, DirectMethod
from meteora.rpc.metadata import MetadataValue, decode_metadata, encode_metadata
from meteora.rpc.method import Handler, Method, method_of, methods_of
from meteora.rpc.running import Running, stopping
from meteora.rpc.serving import serve_streaming, serve_unary
from meteora.rpc.status import CallFailed, number_of, status_headers

_EXHAUSTED: Final = number_of(grpc.StatusCode.RESOURCE_EXHAUSTED)

_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")


@dataclass(slots=True)
class CallDetails:
    """What a generic handler is asked about: a `grpc.HandlerCallDetails`."""

    method: str
    invocation_metadata: tuple[tuple[str, MetadataValue], ...]


class Application:
    """Serves what is registered. `max_message_bytes` is the longest request taken, compressed or not."""

    def __init__(
        self,
        max_message_bytes: int,
        *,
        reserved_services: Collection[str] = (),
        refusal_metadata: Sequence[tuple[str, str]] = (),
    ) -> None:
        """`reserved_services` are served although there are too many requests; others' are refused, and told this."""
        self._reserved = frozenset(reserved_services)
        self._refusal_headers = encode_metadata(refusal_metadata)
        self.running = Running(max_message_bytes, self._refusal_headers)
        self._methods: dict[str, Method] = {}
        self._direct: dict[str, DirectMethod] = {}
        self._generic_handlers: list[grpc.GenericRpcHandler] = []
        self.route_other: Callable[[Headers], Route] | None = None
        """Where requests lead that are none of gRPC's. Without it they are refused."""

    @property
    def methods(self) -> Mapping[str, Method]:
        """What is registered by name, by the path."""
        return self._methods

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

    def route(self, request: Headers) -> Route:
        """Where the headers of a request lead: an `Endpoint`'s route."""
        fields = dict(request)
        is_call = fields[b":method"] == b"POST" and _is_grpc(fields.get(b"content-type", b""))
        if not is_call and self.route_other is not None:
            return self.route_other(request)
        if fields[b":method"] != b"POST":
            return _refusal(405, "gRPC calls are POST requests", (b"allow", b"POST"))
        if not _is_grpc(fields.get(b"content-type", b"")):
            return _refusal(415, "the content type of gRPC calls is application/grpc")
        if fields.get(b"te") != b"trailers":
            return _refusal(400, "gRPC calls have the header te: trailers")
        path = fields[b":path"].decode("latin-1")
        headers = [header for header in request if not header[0].startswith(b":")]
        opened = partial(self._serve, path, headers)
        direct = self._direct.get(path)
        route = Route(opened) if direct is None else direct.route(headers, opened)
        is_reserved = path[1:].partition("/")[0] in self._reserved
        return route._replace(refuse=partial(self._refuse, path), is_reserved=is_reserved)

    def _refuse(self, path: str, stream: ServerStream, reason: str) -> None:
        """Ends a call of which nothing was done."""
        if path in self._methods and not stream.is_opened:
            self._methods[path].counts.count(_EXHAUSTED)
        send_status(stream, status_headers(_EXHAUSTED, reason) + self._refusal_headers)

    def _serve(self, path: str, headers: Headers, stream: ServerStream) -> None:
        try:
            method = self._find(path, headers)
        except CallFailed as failure:
            send_status(stream, status_headers(number_of(failure.code), failure.details))
            return
        context = self.running.context(method, stream, headers)
        is_streaming = method.request_streaming or method.response_streaming
        self.running.serve(stream, serve_streaming(context) if is_streaming else serve_unary(context))

    def _find(self, path: str, headers: Headers) -> Method:
        """The method at a path, those of generic handlers included. Raises `CallFailed` if there is none."""
        if self.running.is_stopping:
            raise stopping()
        if path in self._methods:
            return self._methods[path]
        details = CallDetails(path, decode_metadata(headers))
        offers = (generic.service(details) for generic in self._generic_handlers)
        handler = next((offer for offer in offers if offer is not None), None)
        if handler is None:
            raise CallFailed(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        return method_of(path, handler)


def _is_grpc(content_type: bytes) -> bool:
    """Whether it is application/grpc, with or without the name of an encoding, in any case, with any parameters."""
    essence = content_type.partition(b";")[0].strip().lower()
    return essence == b"application/grpc" or essence.startswith(b"application/grpc+")


def _refusal(status: int, reason: str, *headers: Header) -> Route:
    """Answers what is no gRPC request."""
    block = encode_headers([(b":status", b"%d" % status), _TEXT, *headers])
    text = f"{reason}\n".encode()

    def refuse(stream: ServerStream) -> None:
        stream.send_headers(block)
        stream.send(text, is_end=True)

    return Route(refuse)
