"""Requests that came by HTTP/2."""

import asyncio
from functools import partial
from typing import Final

from meteora.http2 import Headers, Route, ServerStream, StreamEnded, encode_headers
from meteora.web.application import WebApplication, crowded
from meteora.web.messages import BODY_SECONDS, WRITE_SECONDS, Request, Response, text_response

_HOST: Final = b"host"


class _Refused(Exception):
    """The request is answered without having been looked at."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class Http2Gateway:
    """Leads streams of HTTP/2 to a web application."""

    def __init__(self, application: WebApplication) -> None:
        self._application = application

    def route(self, headers: Headers) -> Route:
        """Where the headers of a request lead: an `Endpoint`'s route."""
        return Route(partial(self._opened, headers), refuse=_refuse)

    def _opened(self, headers: Headers, stream: ServerStream) -> None:
        task = self._application.run(self._serve(headers, stream))
        stream.on_ended = task.cancel
        task.add_done_callback(partial(_let_go, stream))

    async def _serve(self, headers: Headers, stream: ServerStream) -> None:
        try:
            request = await self._request(headers, stream)
            response = await self._application.respond(request)
            await self._send(stream, response, is_head=request.method == "HEAD")
        except _Refused as refused:
            await self._send(stream, refused.response, is_head=False)
        except StreamEnded:
            pass  # The client has gone.

    async def _request(self, headers: Headers, stream: ServerStream) -> Request:
        fields = dict(headers)
        regular = [header for header in headers if not header[0].startswith(b":")]
        if b":authority" in fields and _HOST not in fields:
            regular.append((_HOST, fields[b":authority"]))
        method, target = fields[b":method"].decode("latin-1"), fields[b":path"].decode("latin-1")
        body = await self._body(stream, method, target)
        return Request(
            method=method,
            target=target,
            headers=regular,
            body=body,
            peer=stream.peer,
            certificate=stream.certificate,
        )

    async def _body(self, stream: ServerStream, method: str, target: str) -> bytes:
        """Raises `_Refused` if it is too long, or does not come, and `StreamEnded`."""
        application, body = self._application, bytearray()
        max_bytes = application.body_bytes(method, target)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while (data := await stream.read()) is not None:
                    if len(body) + len(data) > max_bytes:
                        raise _Refused(application.too_long(method, target))
                    if not application.take_in(len(data)):
                        raise _Refused(crowded())
                    body += data
        except TimeoutError:
            raise _Refused(text_response(408, f"the body did not come within {BODY_SECONDS:g} s")) from None
        finally:
            application.let_go(len(body))
        return bytes(body)

    async def _send(self, stream: ServerStream, response: Response, *, is_head: bool) -> None:
        head = [(b":status", b"%d" % response.status), *response.head()]
        is_short = is_head or not response.body
        stream.send_headers(encode_headers(head), is_end=is_short)
        if not is_short:
            stream.send(response.body, is_end=True)
            await _drained(stream)


def _refuse(stream: ServerStream, reason: str) -> None:
    response = text_response(503, reason)
    stream.send_headers(encode_headers([(b":status", b"503"), *response.head()]))
    stream.send(response.body, is_end=True)


async def _drained(stream: ServerStream) -> None:
    """Raises `StreamEnded`, also if the client reads too slowly."""
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            await stream.drained()
    except TimeoutError:
        raise StreamEnded("the client does not read", 0) from None
    finally:
        if stream.ending is not None:
            stream.on_ended = None


def _let_go(stream: ServerStream, _: "asyncio.Task[None]") -> None:
    stream.on_ended = None
    if not stream.is_local_done and stream.ending is None:
        # It was cancelled, or the client did not read: there is no end to be sent any more.
        stream.abandon()
