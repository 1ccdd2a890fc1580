"""Certificates for tests: an authority of its own for each that asks for one, and what it has signed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

from meteora.tls import TlsFiles

LONG_AGO = datetime.now(UTC) - timedelta(days=30)
YESTERDAY = datetime.now(UTC) - timedelta(days=1)
SOON = datetime.now(UTC) + timedelta(days=5)

UNREADABLE_NAMES = b"\x30\x06\x82\x04ab\xff\xfe"
"""A subjectAltName with a name that is no UTF-8."""


class Pair(NamedTuple):
    """A certificate, and its key."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates, and keeps them in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca)

    def issue(
        self,
        name: str,
        *hosts: str,
        common_name: str | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Pair:
        """Files named `name`, for these hosts. One that is there already is replaced at once, as an operator would."""
        issued = self._authority.issue_cert(
            *(hosts or ("localhost", "127.0.0.1")), common_name=common_name, not_before=not_before, not_after=not_after
        )
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        for path, content in (
            (pair.key, issued.private_key_pem.bytes()),
            (pair.cert, b"".join(blob.bytes() for blob in issued.cert_chain_pems)),
        ):
            new = path.with_suffix(".new")
            new.touch(mode=0o600)
            new.write_bytes(content)
            new.replace(path)
        return pair

    def files(self, name: str, *hosts: str, asks: bool = True, prefix: str = "--", **validity: datetime) -> TlsFiles:
        """What a port is given: a certificate of this authority; if it `asks`, clients must have one of it, too."""
        pair = self.issue(name, *hosts, **validity)
        return TlsFiles(pair.cert, pair.key, self.ca if asks else None, prefix)


def self_signed(folder: Path, alternative_names: bytes) -> Pair:
    """A certificate that nobody else has signed, with these in it as they stand."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node9")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(LONG_AGO)
        .not_valid_after(SOON)
        .add_extension(
            x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, alternative_names), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    pair = Pair(folder / "odd.pem", folder / "odd.key")
    pair.cert.write_bytes(certificate.public_bytes(encoding))
    pair.key.write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return pair
