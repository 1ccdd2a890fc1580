"""The address that a server listens on.

Rule: two servers on one port are an error, and an early one. So SO_REUSEPORT is never set, and the port is taken before
anything listens on it: a node must not join a cluster under an address that is somebody else's.
"""

import errno
import socket
from typing import Final

from meteora.errors import AddressInUse

BACKLOG: Final = 1024
"""Connections that wait to be accepted: clients of a whole cluster, when a node comes back."""

_KEEPALIVE: Final = (
    # A client that loses its power does not close its connections. They are asked after a minute of silence, and
    # given up after another half of one.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", None), 60),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", None), 10),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", None), 3),
)
"""Connections inherit these from the socket that they were accepted on."""

_HINTS: Final = {
    errno.EADDRINUSE: "it is in use by another process; stop that one, or choose another port",
    errno.EACCES: "this user may not use that port; choose one from 1024 upwards",
    errno.EADDRNOTAVAIL: "it is no address of this host; choose one that is, or 0.0.0.0 for all of them",
}


def bind(host: str, port: int) -> socket.socket:
    """A socket that has the address, on which nothing listens yet; port 0 takes any free one.

    Raises `AddressInUse` with the reason and what to do about it.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise refusal(host, port, _HINTS[errno.EADDRNOTAVAIL]) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _refusal_of(host, port, error) from error
    return listener


def listen(listener: socket.socket, host: str, port: int) -> None:
    """Lets clients connect to a socket of `bind`. Raises `AddressInUse` if somebody was faster."""
    for level, option, value in _KEEPALIVE:
        if option is not None:
            listener.setsockopt(level, option, value)
    listener.setblocking(False)
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        raise _refusal_of(host, port, error) from error


def address_of(host: str, port: int) -> str:
    """host:port, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def refusal(host: str, port: int, reason: str) -> AddressInUse:
    """The error for an address that can't be listened on."""
    return AddressInUse(f"can't listen on {address_of(host, port)}: {reason}")


def _refusal_of(host: str, port: int, error: OSError) -> AddressInUse:
    return refusal(host, port, _HINTS.get(error.errno or 0, error.strerror or str(error)))
