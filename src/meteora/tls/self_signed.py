"""A certificate of a node's own making, for a first try: it encrypts, and proves nothing to who does not have it."""

import ipaddress
import os
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography import x509

VALIDITY: Final = timedelta(days=365)

RENEWAL: Final = timedelta(days=60)
"""One that ends sooner is replaced when the node is started: before the log would tell of it."""


def self_signed_files(folder: Path, service: str, hosts: Iterable[str]) -> tuple[Path, Path]:
    """The files of a certificate for these hosts, and of its key: those that are there, or new ones. Blocks.

    Raises `OSError`.
    """
    cert, key = folder / f"{service}-cert.pem", folder / f"{service}-key.pem"
    # What is no ASCII can't be in a certificate as it stands.
    names = sorted({host for host in hosts if host and host.isascii()})
    if not (_is_good(cert, names) and _fit(cert, key)):
        folder.mkdir(mode=0o700, exist_ok=True)
        cert_pem, key_pem = _make(service, names)
        _write(key, key_pem)
        _write(cert, cert_pem)
    return cert, key


def _is_good(cert: Path, names: list[str]) -> bool:
    from cryptography import x509  # noqa: PLC0415  only who wants this loads it

    try:
        found = x509.load_pem_x509_certificate(cert.read_bytes())
    except (OSError, ValueError):
        return False
    extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    borne = {str(each.value) for each in extension.value}
    return borne >= set(names) and found.not_valid_after_utc - datetime.now(UTC) > RENEWAL


def _fit(cert: Path, key: Path) -> bool:
    """They may not, after a crash while they were made."""
    try:
        # Nobody is to be asked for a password.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (OSError, ValueError):
        return False
    return True


def _make(service: str, names: list[str]) -> tuple[bytes, bytes]:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"meteora {service}")])
    now = datetime.now(UTC)
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of other hosts may be behind.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectAlternativeName(map(_general_name, names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    key_pem = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(encoding), key_pem


def _general_name(host: str) -> "x509.GeneralName":
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: Path, data: bytes) -> None:
    """Readable by this user only, and never seen half-written."""
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    new.replace(path)
