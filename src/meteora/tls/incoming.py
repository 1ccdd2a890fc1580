"""Who is let in at one port: handshakes under way, the list of allowed names, what is counted and told."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from meteora.observability.logs import OnceLog, get_logger
from meteora.tls.certificates import Certificates
from meteora.tls.counters import Refusal, TlsCounters
from meteora.tls.failure import TlsFailure
from meteora.tls.layer import Inside, TlsLayer
from meteora.tls.peer_certificate import PeerCertificate

MAX_HANDSHAKES: Final = 256
"""Under way at one time, or refused and yet to read why. One more cuts off the one that has been for longest: who is
honest is done in a moment."""

TOLD_AGAIN_SECONDS: Final = 60.0
"""Between log lines about the same host being refused for the same reason."""

Farewell = Callable[[bytes, str], bytes]
"""From what was said first, and a reason, to what tells it to who said it."""

_log = get_logger("tls")


class IncomingTls:
    """What one port asks of those who connect to it."""

    def __init__(self, certificates: Certificates, *, service: str, allowed_names: Sequence[str] = ()) -> None:
        """`service`: what listens there, for the log. `allowed_names`: those who connect need one, if there are any."""
        self.certificates = certificates
        self.allowed_names = tuple(allowed_names)
        self._service = service
        self._under_way: dict[TlsLayer, None] = {}
        self._refusals = OnceLog(_log, again_after_seconds=TOLD_AGAIN_SECONDS)

    @property
    def counters(self) -> TlsCounters:
        """What became of those who came."""
        return self.certificates.counters

    @property
    def handshakes(self) -> int:
        """How many are under way, or refused and yet to read why."""
        return len(self._under_way)

    def new_layer(self, inside: Inside, farewell: Farewell) -> TlsLayer:
        """For a connection that was just accepted; `farewell` is for who is not let in."""
        return TlsLayer(self.certificates.current.server, _Entrance(self, inside, farewell))

    def stop(self) -> None:
        """Cuts off all that are not done yet."""
        for layer in tuple(self._under_way):
            layer.fail(Refusal.DISCONNECTED, "this node stops")
            layer.abort()

    def began(self, layer: TlsLayer) -> None:
        """One more is under way."""
        if len(self._under_way) >= MAX_HANDSHAKES:
            self.make_room(f"more than {MAX_HANDSHAKES} handshakes at a time")
        self._under_way[layer] = None

    def make_room(self, reason: str) -> None:
        """Cuts off the one that has been under way for longest, of which there must be one."""
        longest = next(iter(self._under_way))
        longest.fail(Refusal.CROWDED_OUT, reason)
        # It may have failed before, and been left a moment to read why.
        longest.abort()
        self.gone(longest)

    def ensure_allowed(self, certificate: PeerCertificate | None) -> None:
        """Raises `TlsFailure` unless it bears a name that is allowed."""
        if not self.allowed_names:
            return
        if certificate is None or not certificate.bears_one_of(self.allowed_names):
            names = ", ".join(certificate.names) if certificate else "none"
            raise TlsFailure(Refusal.NAME_NOT_ALLOWED, f"the names in this certificate are not allowed here: {names}")

    def opened(self, layer: TlsLayer) -> None:
        """It was let in."""
        self.gone(layer)
        self.counters.handshakes += 1

    def gone(self, layer: TlsLayer) -> None:
        """Its handshake is under way no more, nor what is said after one that has failed."""
        self._under_way.pop(layer, None)

    def refused(self, peer: object, failure: TlsFailure) -> None:
        """Counts it, and tells of it now and then. Who only looks whether the port is open is no news."""
        self.counters.refused[failure.refusal] += 1
        if failure.refusal is not Refusal.DISCONNECTED:
            host = peer[0] if isinstance(peer, tuple) else peer
            self._refusals.warning(
                "TLS connection refused",
                (host, failure.refusal),
                service=self._service,
                host=host,
                reason=failure.refusal,
                detail=str(failure),
            )


class _Entrance:
    """What a connection is told by, and asks."""

    is_server = True

    def __init__(self, tls: IncomingTls, inside: Inside, farewell: Farewell) -> None:
        self._tls = tls
        self._inside = inside
        self.farewell = farewell

    def began(self, layer: TlsLayer) -> None:
        self._tls.began(layer)

    def opened(self, layer: TlsLayer) -> asyncio.BaseProtocol:
        self._tls.ensure_allowed(layer.certificate)
        self._tls.opened(layer)
        return self._inside()

    def failed(self, layer: TlsLayer, failure: TlsFailure) -> None:
        self._tls.refused(layer.peer, failure)

    def gone(self, layer: TlsLayer) -> None:
        self._tls.gone(layer)
