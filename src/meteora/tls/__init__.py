"""TLS: certificates that are re-read when they change, and a layer between a socket and a protocol of ours.

`certificates` has what one port was given, checked, and made into contexts (`contexts`); `self_signed` makes some for a
first try. `layer` is one connection, `incoming` and `outgoing` decide who may come in and whom this end trusts;
`failure` says why there is no connection, and `counters` how often.

Rule: no key, and nothing that is made of one, is ever part of a message, a log line or a `repr`.
"""

from meteora.tls.certificates import Certificates, TlsFiles
from meteora.tls.counters import Refusal, TlsCounters
from meteora.tls.failure import TlsFailure
from meteora.tls.incoming import IncomingTls
from meteora.tls.layer import TlsLayer
from meteora.tls.outgoing import OutgoingTls
from meteora.tls.peer_certificate import PeerCertificate

__all__ = [
    "Certificates",
    "IncomingTls",
    "OutgoingTls",
    "PeerCertificate",
    "Refusal",
    "TlsCounters",
    "TlsFailure",
    "TlsFiles",
    "TlsLayer",
]
