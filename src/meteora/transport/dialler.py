"""Connects to peers, in the clear or by TLS: for the streams of Raft, and for the rarer calls between nodes."""

import asyncio
from typing import TYPE_CHECKING, Final, cast

from meteora.addresses import parse_address
from meteora.errors import ConfigurationError
from meteora.http2 import ClientConnection, connect
from meteora.rpc.channel import Http2Channel
from meteora.tls import OutgoingTls
from meteora.transport.channel import KEEPALIVE_SECONDS, MAX_MESSAGE_BYTES, why_unreachable

if TYPE_CHECKING:
    import grpc

CONNECT_SECONDS: Final = 10.0
"""To look up the name, connect, and shake hands, for who has no deadline of his own."""


class Dialler:
    """Makes connections to the Raft addresses of other nodes; with `tls`, to those whom that trusts."""

    def __init__(self, tls: OutgoingTls | None = None) -> None:
        self._tls = tls

    async def connect(self, address: str) -> ClientConnection:
        """A connection to `address` (host:port). Raises `ConnectionError`, which says why there is none."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                connection = await connect(*parse_address(address), self._tls)
        except TimeoutError as error:
            raise ConnectionError(f"can't be connected to: no answer within {CONNECT_SECONDS:g} s") from error
        except ConfigurationError as error:
            raise ConnectionError(f"can't be connected to: {error}") from error
        except (OSError, ValueError) as error:  # The latter for a name that can't be one.
            raise ConnectionError(why_unreachable(error)) from error
        connection.ping_after(KEEPALIVE_SECONDS)
        return connection

    def open_channel(self, address: str) -> "grpc.aio.Channel":
        """A channel of its own to the node at `address`, for the stubs of its services."""
        channel = Http2Channel(lambda: self.connect(address), address, max_message_bytes=MAX_MESSAGE_BYTES)
        # It is one to the stubs of the methods that nodes call.
        return cast("grpc.aio.Channel", channel)
