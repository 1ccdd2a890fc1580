"""How a client's gRPC channels are set up, whichever of the two clients they belong to."""

from typing import Final

KEEPALIVE_SECONDS: Final = 2
"""A connection on which nothing came for this long is pinged, and given up if the answer takes as long again. Both
together are shorter than the default deadline, so that a connection whose other end is gone without a word costs a
request some time and not its success."""

RECONNECT_SECONDS: Final = 1
"""The longest pause between two attempts to connect; gRPC's own choice of two minutes is for services on other
continents."""

CONNECT_SECONDS: Final = 2
"""How long connecting may take: a first packet that is lost is sent again after one second."""

CHANNEL_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_SECONDS * 1000),
    # What counts in the end: without it a ping may stay unanswered for a minute, whatever keepalive_timeout_ms says.
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_SECONDS * 1000),
    # A connection that broke while nobody used it is better found before the next request than by it.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", CONNECT_SECONDS * 1000),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_SECONDS * 1000),
    # How long a value may be is for the servers to say.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Nodes are reached directly, whatever http_proxy says about the rest of the world.
    ("grpc.enable_http_proxy", 0),
    # Channels to one address otherwise share a connection, and with it the pauses between attempts to connect.
    ("grpc.use_local_subchannel_pool", 1),
    # This client alone decides what is tried again.
    ("grpc.enable_retries", 0),
    # No look-up of settings in DNS for each connection.
    ("grpc.service_config_disable_resolution", 1),
)
