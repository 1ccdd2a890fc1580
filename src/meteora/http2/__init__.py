"""HTTP/2 on asyncio, for both ends of a connection (RFC 9113): what carries all that Meteora sends and is asked.

`frames` is the form on the wire; `headers` is header compression, with what makes it cheap; `stream` is one request and
its response; `connection` is what both ends have in common, `server` and `client` what they have not; `bounds` is what
all clients together may have.

Rules of this room:

- It knows nothing of gRPC, nor of anything else that travels in its streams.
- What a peer may make this end keep is bounded, each by a constant with a name; who oversteps is cut off, with the
  reason.
- What is done once for each frame is written for speed, and stands in one place: `Connection._take_frames`.

It is here, and not a library's, because it was measured: an application that does nothing answers 55,000 requests a
second on a server in native code, which has to hand each of them to a task of the event loop, and 315,000 on a loop
that takes frames as they come; and a request that wakes no thread is answered sooner.
"""

from meteora.http2.bounds import Bounds
from meteora.http2.client import ClientConnection, ClientStream, connect
from meteora.http2.headers import Header, Headers, encode_headers
from meteora.http2.server import Endpoint, OtherConnection, Route, ServerStream
from meteora.http2.stream import StreamEnded

__all__ = [
    "Bounds",
    "ClientConnection",
    "ClientStream",
    "Endpoint",
    "Header",
    "Headers",
    "OtherConnection",
    "Route",
    "ServerStream",
    "StreamEnded",
    "connect",
    "encode_headers",
]
