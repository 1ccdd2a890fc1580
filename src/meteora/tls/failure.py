"""Why there is no connection, by what OpenSSL says, in words that help.

Pure: only its errors come in.
"""

import ssl
from typing import Final

from meteora.tls.counters import Refusal

_EXPIRED: Final = frozenset({9, 10})
"""OpenSSL's codes: not yet valid, and not any more."""

_OF_ANOTHER_HOST: Final = frozenset({62, 64})
"""Likewise: the name, or the address, is not in the certificate. Only who connects to a peer asks for that."""

_REFUSALS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (Refusal.NO_CERTIFICATE, "it has shown no certificate"),
    "UNSUPPORTED_PROTOCOL": (Refusal.VERSION, "it speaks no version of TLS from 1.2 on"),
    "VERSION_TOO_LOW": (Refusal.VERSION, "it speaks no version of TLS from 1.2 on"),
    "TLSV1_ALERT_PROTOCOL_VERSION": (Refusal.VERSION, "it speaks no version of TLS that this end does"),
    "NO_SHARED_CIPHER": (Refusal.CIPHER, "it knows no cipher that this end takes"),
    "WRONG_VERSION_NUMBER": (Refusal.PLAINTEXT, "it does not speak TLS there"),
    # What newer releases of OpenSSL say in place of the reason.
    "RECORD_LAYER_FAILURE": (Refusal.OTHER, "what it says is no TLS, or was changed on the way"),
    "HTTP_REQUEST": (Refusal.PLAINTEXT, "it does not speak TLS there"),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": (Refusal.NO_CERTIFICATE, "it wants a certificate, and was shown none"),
}

_HINT: Final = "; put that into its subjectAltName, or one of its names into --peer-allowed-names"

_OF_CERTIFICATES: Final = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")


class TlsFailure(ConnectionError):
    """There is no connection, or no more, by what TLS found. It says why, for people."""

    def __init__(self, refusal: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.refusal = refusal


def failure_of(error: ssl.SSLError) -> TlsFailure:
    """What OpenSSL found, and in words that help."""
    if isinstance(error, ssl.SSLCertVerificationError):
        refusal = Refusal.EXPIRED_CERTIFICATE if error.verify_code in _EXPIRED else Refusal.UNTRUSTED_CERTIFICATE
        hint = _HINT if error.verify_code in _OF_ANOTHER_HOST else ""
        return TlsFailure(refusal, f"its certificate is not accepted: {error.verify_message.rstrip('.')}{hint}")
    if isinstance(error, ssl.SSLZeroReturnError):
        return TlsFailure(Refusal.DISCONNECTED, "it hung up during the handshake")
    reason = error.reason or ""
    if reason in _REFUSALS:
        return TlsFailure(*_REFUSALS[reason])
    _, is_alert, alert = reason.partition("_ALERT_")
    if is_alert and any(word in alert for word in _OF_CERTIFICATES):
        return TlsFailure(Refusal.REFUSED_BY_CLIENT, f"it refused the certificate of this end: {_spaced(alert)}")
    if is_alert:
        return TlsFailure(Refusal.REFUSED_BY_CLIENT, f"it ended the handshake: {_spaced(alert)}")
    return TlsFailure(Refusal.OTHER, f"TLS failed: {_spaced(reason) or 'no reason is known'}")


def _spaced(reason: str) -> str:
    return reason.lower().replace("_", " ")
