"""What became of the TLS connections of one port, in numbers; whoever exports metrics reads them."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Refusal(StrEnum):
    """Why a connection did not come about, or was not let in."""

    PLAINTEXT = "plaintext"
    """The other end does not speak TLS."""
    VERSION = "version"
    """It speaks no version that is taken."""
    CIPHER = "cipher"
    """There is no way to encrypt that both ends know."""
    NO_CERTIFICATE = "no-certificate"
    """It has shown none."""
    EXPIRED_CERTIFICATE = "expired-certificate"
    """Expired, or not valid yet."""
    UNTRUSTED_CERTIFICATE = "untrusted-certificate"
    """Not signed by the CA, or not for this purpose."""
    NAME_NOT_ALLOWED = "name-not-allowed"
    """Signed by the CA, but with no name that is on the list."""
    REFUSED_BY_CLIENT = "refused-by-client"
    """The other end did not like what it was shown."""
    TIMEOUT = "timeout"
    """It took too long."""
    CROWDED_OUT = "crowded-out"
    """Too many were under way, and this one had been for longest."""
    DISCONNECTED = "disconnected"
    """It hung up on the way, as probes do that only look whether a port is open."""
    OTHER = "other"


@dataclass(slots=True)
class TlsCounters:
    """The numbers of one port since the node was started."""

    handshakes: int = 0
    """That were done: connections that were let in."""
    refused: Counter[Refusal] = field(default_factory=Counter)
    """Those that were not, by the reason."""
    reloads: int = 0
    """How often changed certificates were taken into use."""
    failed_reloads: int = 0
    """How often they could not be, and the old ones stayed."""
    expires_at: datetime | None = None
    """When the first certificate of this port's own chain ends."""
