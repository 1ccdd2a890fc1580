"""Unary calls as plain HTTP requests, by the Connect protocol (connectrpc.com/docs/protocol): for curl and browsers.

A method's path is the same as for gRPC. The request is a message in JSON, or in protobuf's own form; so is the
response, or, where the call fails, the error in JSON with an HTTP status that fits. What gRPC has in trailers comes in
headers that begin with `trailer-`.

Rules:

- A handler can't tell such a call from one of gRPC.
- What a page of somebody else could make a browser send is refused: see `_refuse_foreign_pages`.
- Long messages are read and written on a thread: a mebibyte of JSON takes a loop's time that others wait for. What is
  compressed is long: two kibibytes may unpack to all that is taken. It is one thread for all, because each keeps the
  loop from running for as long as base64 takes: with six, probes waited a second for as many large values.
"""

import json
import zlib
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError, Message

from meteora.http2 import Header, Headers, ServerStream
from meteora.rpc.context import CallContext
from meteora.rpc.method import Method
from meteora.rpc.running import Running, stopping
from meteora.rpc.status import MAX_DETAILS_CHARACTERS, OK, CallFailed, number_of
from meteora.tls import PeerCertificate
from meteora.web import Request, Response, WebApplication
from meteora.web.browsers import is_foreign_page

JSON: Final = b"application/json"
PROTO: Final = b"application/proto"

THREAD_BYTES: Final = 4 * 1024
"""Messages that are longer are read and written on a thread: JSON takes some 2.5 us a byte where fields are short."""

MAX_OBJECTS: Final = 16_384
"""In JSON, with the lists: several times what the largest batch has. Each takes some 6 us, however short it is."""

_NAMES_BYTES: Final = 64 * 1024
"""For the names of fields, in JSON."""

_HTTP_STATUSES: Final = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

_OF_HTTP: Final = frozenset([b"connection", b"host", b"keep-alive", b"te", b"transfer-encoding", b"upgrade"])
_MAX_TIMEOUT_DIGITS: Final = 10
_MAX_GRPC_TIMEOUT: Final = 10**8
_GZIP_WINDOW_BITS: Final = 31
"""zlib's way to say that it is gzip's format, and no other."""


@dataclass(frozen=True, slots=True, eq=False)
class _Client:
    """What a call asks of its stream, if it has none."""

    peer: tuple[str, int] | None
    certificate: PeerCertificate | None


class ConnectCall(CallContext):
    """A unary call whose response is kept, for who sends it."""

    __slots__ = ("leading", "response")

    def __init__(self, method: Method, request: Request, headers: Headers, running: Running) -> None:
        stream = cast(ServerStream, _Client(request.peer, request.certificate))
        super().__init__(
            method,
            stream,
            headers,
            max_message_bytes=running.max_message_bytes,
            running=running.calls,
            admission=running.admission,
            loop=running.loop,
        )
        self.leading: Headers = []
        self.response: Any = None

    def start(self, metadata: Headers) -> None:
        """Keeps the headers of the response."""
        self._is_plain = False
        self._has_started = True
        self.leading = metadata

    async def answer(self, response: Any) -> None:
        """Keeps the response, if the handler left the status at OK, and ends the call."""
        self.response = response
        self.finish()

    def _end(self, code: int, details: str) -> None:
        self._has_ended = True
        self._status = code
        self._status_details = details

    @property
    def failure(self) -> CallFailed | None:
        """How the call failed; None if it didn't."""
        return None if self._status == OK else CallFailed(_CODES[self._status], self._status_details)

    @property
    def headers(self) -> Headers:
        """Metadata of the response, before and behind it."""
        return [*self.leading, *((b"trailer-" + name, value) for name, value in self._trailers)]


class ConnectMethod:
    """One method."""

    def __init__(self, method: Method, input_type: type[Message], running: Running, thread: Executor) -> None:
        """`thread`: for long messages."""
        self._method = method
        self._input_type = input_type
        self._running = running
        self._thread = thread

    async def serve(self, request: Request) -> Response:
        """A handler of `WebApplication`."""
        kind = (request.header(b"content-type") or b"").partition(b";")[0].strip().lower()
        if kind not in {JSON, PROTO}:
            return Response(415, [(b"accept-post", JSON + b", " + PROTO)])
        try:
            _refuse_foreign_pages(request)
            if self._running.is_stopping:
                raise stopping()
            headers = _call_headers(request)
        except CallFailed as failure:
            return _error(failure, [])
        call = ConnectCall(self._method, request, headers, self._running)
        await self._run(call, request, kind)
        if (failed := call.failure) is not None:
            return _error(failed, call.headers)
        body = await self._apart(call.response.ByteSize(), _written, call.response, kind)
        return Response(200, [(b"content-type", kind), (b"cache-control", b"no-store"), *call.headers], body)

    async def _run(self, call: ConnectCall, request: Request, kind: bytes) -> None:
        try:
            call.begin()
            call.admit(self._longest_bytes(request))
            message = await self._apart(self._longest_bytes(request), self._read, request, kind)
            call.admit(max(len(request.body), message.ByteSize()))
            await call.answer(await call.method.behaviour(message, call))
        except BaseException as error:
            if not call.fail(error):
                raise
        finally:
            call.leave()

    async def _apart(self, size_bytes: int, function: Any, *arguments: Any) -> Any:
        """What the function returns, called on the thread if it has much to do."""
        if size_bytes <= THREAD_BYTES:
            return function(*arguments)
        return await self._running.loop.run_in_executor(self._thread, partial(function, *arguments))

    def _longest_bytes(self, request: Request) -> int:
        """How long its body may be, once it is decompressed."""
        return len(request.body) if _encoding(request) == b"identity" else self._running.max_message_bytes

    def _read(self, request: Request, kind: bytes) -> Message:
        limit = self._running.max_message_bytes
        body = _decoded(request, longest_body_bytes(limit) if kind == JSON else limit)
        message = self._input_type()
        try:
            if kind == JSON:
                _check_objects(body)
                json_format.Parse(body, message)
            else:
                message.ParseFromString(body)
        except (json_format.ParseError, DecodeError, RecursionError, ValueError) as error:
            raise _invalid(f"the body is no {message.DESCRIPTOR.full_name}: {error}") from error
        if message.ByteSize() > limit:
            raise _too_long(limit)
        return message


def longest_body_bytes(max_message_bytes: int) -> int:
    """The longest body that is taken for messages of that length: in JSON, bytes are base64, with room for names."""
    return max_message_bytes * 4 // 3 + _NAMES_BYTES


def add_connect_methods(
    application: WebApplication, methods: Mapping[str, Method], running: Running, thread: Executor
) -> None:
    """Serves those of the methods that are unary, and described by a proto file, as plain HTTP requests, too.

    `thread` reads and writes long messages, one at a time.
    """
    pool = descriptor_pool.Default()
    for path, method in methods.items():
        if method.request_streaming or method.response_streaming:
            continue
        try:
            described = pool.FindMethodByName(path.removeprefix("/").replace("/", "."))
        except KeyError:
            continue
        input_type = message_factory.GetMessageClass(described.input_type)
        application.add("POST", path, ConnectMethod(method, input_type, running, thread).serve)


def _check_objects(body: bytes) -> None:
    """Raises `ValueError` unless the JSON in `body` is an object, without too many in it."""
    if not body.lstrip().startswith(b"{"):
        raise ValueError("it is no object")
    if body.count(b"{") + body.count(b"[") > MAX_OBJECTS:
        raise ValueError(f"it has more than {MAX_OBJECTS} objects and lists")


def _refuse_foreign_pages(request: Request) -> None:
    """Raises `CallFailed` for what the page of another site has made a browser send."""
    if is_foreign_page(request):
        raise CallFailed(
            grpc.StatusCode.PERMISSION_DENIED,
            "a page of another site, or under a name that may be anybody's, can't call this: browsers are served at "
            "an IP address or localhost",
        )


def _call_headers(request: Request) -> Headers:
    """The headers that a call of gRPC would have come with. Raises `CallFailed`."""
    version = request.header(b"connect-protocol-version")
    if version not in {None, b"1"}:
        raise _invalid("connect-protocol-version must be 1")
    headers = [header for header in request.headers if not _is_of_protocol(header[0])]
    timeout = request.header(b"connect-timeout-ms")
    if timeout is not None:
        if not timeout.isdigit() or len(timeout) > _MAX_TIMEOUT_DIGITS:
            raise _invalid("connect-timeout-ms must be a number of at most 10 digits")
        milliseconds = int(timeout)
        is_long = milliseconds >= _MAX_GRPC_TIMEOUT
        headers.append((b"grpc-timeout", b"%dS" % (milliseconds // 1000) if is_long else b"%dm" % milliseconds))
    return headers


def _is_of_protocol(name: bytes) -> bool:
    return name in _OF_HTTP or name.startswith((b"accept", b"connect-", b"content-", b"grpc-", b":"))


def _encoding(request: Request) -> bytes:
    return (request.header(b"content-encoding") or b"identity").lower()


def _decoded(request: Request, max_bytes: int) -> bytes:
    """The body, decompressed. Raises `CallFailed`."""
    encoding = _encoding(request)
    if encoding == b"identity":
        return request.body
    if encoding != b"gzip":
        raise CallFailed(grpc.StatusCode.UNIMPLEMENTED, "unknown content-encoding: gzip and identity are supported")
    decompressor = zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        body = decompressor.decompress(request.body, max_bytes + 1)
    except zlib.error as error:
        raise _invalid(f"the body is no gzip: {error}") from error
    if len(body) > max_bytes:
        raise _too_long(max_bytes)
    if not decompressor.eof or decompressor.unused_data:
        raise _invalid("the body is not one whole gzip stream")
    return body


def _written(message: Message, kind: bytes) -> bytes:
    if kind == PROTO:
        return message.SerializeToString()
    return (json_format.MessageToJson(message, indent=None) + "\n").encode()


def _error(failure: CallFailed, headers: list[Header]) -> Response:
    error = {"code": _name(failure.code), "message": failure.details[:MAX_DETAILS_CHARACTERS]}
    body = json.dumps(error, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    kept = [(b"content-type", JSON), (b"cache-control", b"no-store"), *headers]
    return Response(_HTTP_STATUSES[_CODES[number_of(failure.code)]], kept, body)


def _name(code: grpc.StatusCode) -> str:
    # Connect writes it with one l.
    return "canceled" if code is grpc.StatusCode.CANCELLED else code.name.lower()


def _invalid(reason: str) -> CallFailed:
    return CallFailed(grpc.StatusCode.INVALID_ARGUMENT, reason)


def _too_long(max_bytes: int) -> CallFailed:
    return CallFailed(grpc.StatusCode.RESOURCE_EXHAUSTED, f"a message has at most {max_bytes} bytes here")
