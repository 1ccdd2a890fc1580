"""gRPC: hosts standard grpcio servicers on our own HTTP/2, many times as fast as grpcio's server.

`application` finds what is called and `serving` calls it, or `direct` where there is a shorter way; `running` knows
what is under way, and `admission` how much memory that takes; `call` and `context` are one call, from within and as its
handler sees it; `framing`, `metadata`, `deadline` and `status` are the protocol. `http2_host` puts that on
`meteora.http2`; `grpcio_host` serves the same servicers by grpcio itself, where `grpcio_requests` refuses what can't be
read. `server` is what others know of either. `outgoing` is a call from this end, and `channel` makes such calls for
grpcio's generated stubs. `connect` serves unary calls as plain HTTP requests.

Rule: a servicer can't tell the hosts apart, and neither can a client that keeps to the protocol.
"""

from collections.abc import Collection, Sequence
from typing import assert_never

from meteora.config import RpcServerKind
from meteora.http2 import Bounds
from meteora.rpc.connect import longest_body_bytes
from meteora.rpc.context import each_request
from meteora.rpc.direct import Direct
from meteora.rpc.framing import frame
from meteora.rpc.grpcio_host import GrpcioServer
from meteora.rpc.http2_host import Http2Server
from meteora.rpc.server import Pressure, RpcServer
from meteora.tls import IncomingTls

__all__ = [
    "Bounds",
    "Direct",
    "Pressure",
    "RpcServer",
    "create_rpc_server",
    "each_request",
    "frame",
    "longest_body_bytes",
]


def create_rpc_server(
    kind: RpcServerKind,
    host: str,
    port: int,
    *,
    max_message_bytes: int,
    tls: IncomingTls | None = None,
    bounds: Bounds | None = None,
    reserved_services: Collection[str] = (),
    refusal_metadata: Sequence[tuple[str, str]] = (),
) -> RpcServer:
    """A server for one address, of the kind that was chosen, that takes requests up to `max_message_bytes`.

    With `tls`, it takes those clients only who are let in by that. Beyond `bounds` it refuses: all but a few requests
    of `reserved_services`; the others are told `refusal_metadata`. grpcio knows but the number of requests of all that.
    """
    match kind:
        case "http2":
            return Http2Server(
                host,
                port,
                max_message_bytes,
                tls,
                bounds,
                reserved_services=reserved_services,
                refusal_metadata=refusal_metadata,
            )
        case "grpcio":
            return GrpcioServer(host, port, max_message_bytes, tls, bounds)
        case _:
            assert_never(kind)
