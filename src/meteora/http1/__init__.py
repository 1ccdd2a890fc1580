"""HTTP/1.1 on asyncio, for browsers, probes and curl, on the port where everything else speaks HTTP/2 (RFC 9112).

h11 knows the protocol; `connection` brings it together with a socket and the clock.

Rules of this room:

- What a client may make this end keep is bounded, each by a constant with a name.
- A client that stands still half-way is cut off, with a reason where it can still be told one.
"""

from meteora.http1.connection import Http1Connection, Http1Gateway

__all__ = ["Http1Connection", "Http1Gateway"]
