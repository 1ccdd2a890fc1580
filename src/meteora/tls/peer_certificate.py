"""Who the other end of a connection is, by the certificate that it has shown and that was verified."""

import ipaddress
import ssl
import time
from collections.abc import Iterable
from typing import NamedTuple, cast

from meteora.tls.counters import Refusal
from meteora.tls.failure import TlsFailure

_Names = Iterable[tuple[str, str]]


class PeerCertificate(NamedTuple):
    """What a verified certificate says of its owner."""

    common_name: str | None
    """The CN of its subject; None if it has none."""
    alternative_names: tuple[str, ...]
    """The names and addresses in its subjectAltName."""

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, the common name first."""
        return tuple(dict.fromkeys((*([self.common_name] if self.common_name else ()), *self.alternative_names)))

    def bears_one_of(self, names: Iterable[str]) -> bool:
        """Whether one of its names is among these, to the letter but for upper and lower case.

        A wildcard in a certificate is a name like any other here: it has to be listed as it stands.
        """
        listed = {name.lower() for name in names}
        return any(name.lower() in listed for name in self.names)


def peer_certificate(connection: ssl.SSLObject) -> PeerCertificate | None:
    """Of the other end; None if it has shown none, or none was asked for.

    Raises `TlsFailure` for one that can't be read, or has expired: at the latter OpenSSL does not look when a session
    of TLS 1.2 is resumed.
    """
    try:
        found = connection.getpeercert()
    except ValueError as error:
        raise TlsFailure(Refusal.UNTRUSTED_CERTIFICATE, "the names in this certificate can't be read") from error
    if not found:
        return None
    if ssl.cert_time_to_seconds(cast(str, found["notAfter"])) < time.time():
        raise TlsFailure(Refusal.EXPIRED_CERTIFICATE, "this certificate has expired")
    subject = cast("Iterable[_Names]", found.get("subject", ()))
    common_names = [value for part in subject for key, value in part if key == "commonName"]
    alternative = cast("Iterable[tuple[str, object]]", found.get("subjectAltName", ()))
    # A name of a directory is no text, and nothing that could be listed.
    names = [(kind, value) for kind, value in alternative if isinstance(value, str)]
    return PeerCertificate(
        common_names[0] if common_names else None,
        tuple(_usual(value) if kind == "IP Address" else value for kind, value in names),
    )


def _usual(address: str) -> str:
    """An IP address as people write it: OpenSSL writes all of an IPv6 address out."""
    try:
        return str(ipaddress.ip_address(address.strip()))
    except ValueError:
        return address
