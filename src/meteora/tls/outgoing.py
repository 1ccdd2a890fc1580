"""Whom this node trusts when it connects to a peer.

With a list of allowed names, the peer's certificate must bear one of them, and where it is does not matter: addresses
change. Without one, it must bear the name or the address that was dialled. And in both cases it is signed by the CA.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from meteora.addresses import is_wildcard
from meteora.tls.certificates import Certificates
from meteora.tls.counters import Refusal
from meteora.tls.failure import TlsFailure
from meteora.tls.layer import Inside, TlsLayer

_THIS_HOST: Final = "localhost"
"""The name that who is at 0.0.0.0 must bear: that is no address to connect to from anywhere else."""


class OutgoingTls:
    """Connects to peers, and shows them this node's certificate."""

    def __init__(self, certificates: Certificates, *, allowed_names: Sequence[str] = ()) -> None:
        self._certificates = certificates
        self.allowed_names = tuple(allowed_names)

    def new_layer(self, host: str, inside: Inside) -> tuple[TlsLayer, "asyncio.Future[None]"]:
        """For a connection to `host`, and what is done once that is open; it raises `TlsFailure` if it fails before."""
        dialling = _Dialling(self, inside)
        name = _THIS_HOST if is_wildcard(host) else host
        return TlsLayer(self._certificates.current.client, dialling, name), dialling.done

    def ensure_allowed(self, layer: TlsLayer) -> None:
        """Raises `TlsFailure` unless it bears a name that is allowed."""
        certificate = layer.certificate
        if self.allowed_names and (certificate is None or not certificate.bears_one_of(self.allowed_names)):
            names = ", ".join(certificate.names) if certificate else "none"
            raise TlsFailure(
                Refusal.NAME_NOT_ALLOWED, f"the names in its certificate are not among --peer-allowed-names: {names}"
            )


class _Dialling:
    """What a connection is told by, and asks."""

    is_server = False

    def __init__(self, tls: OutgoingTls, inside: Inside) -> None:
        self._tls = tls
        self._inside = inside
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def began(self, layer: TlsLayer) -> None:
        """Nothing is done."""

    def opened(self, layer: TlsLayer) -> asyncio.BaseProtocol:
        self._tls.ensure_allowed(layer)
        if not self.done.done():
            self.done.set_result(None)
        return self._inside()

    def failed(self, layer: TlsLayer, failure: TlsFailure) -> None:  # noqa: ARG002  a keeper's signature
        if not self.done.done():
            self.done.set_exception(failure)

    def gone(self, layer: TlsLayer) -> None:
        """Nothing is done."""

    def farewell(self, said: bytes, reason: str) -> bytes:  # noqa: ARG002  likewise
        return b""
