"""How a client speaks TLS, and whether it does."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import grpc

from meteora.addresses import parse_endpoints
from meteora.errors import ConfigurationError

_HTTP: Final = "http://"
_HTTPS: Final = "https://"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """Whom a client trusts, and what it shows. The files are read once, when the client is made."""

    ca_file: str | Path | None = None
    """The certificate, in PEM, of who has signed those of the servers; None: of one that is known to everybody."""
    cert_file: str | Path | None = None
    """The client's own certificate, in PEM, with what leads from it to its CA; for servers that ask for one."""
    key_file: str | Path | None = None
    """The key of that, in PEM. Both or neither."""
    server_name: str | None = None
    """The name that the servers' certificates must bear; None: the host of the endpoint that is connected to."""


class Target(NamedTuple):
    """The endpoints, each host:port, and how to connect to them."""

    endpoints: tuple[str, ...]
    credentials: grpc.ChannelCredentials | None
    """None: in the clear."""
    options: tuple[tuple[str, str], ...]
    """Of each channel, besides those that all have."""


def target_of(endpoints: str | Sequence[str], tls: TlsConfig | None) -> Target:
    """Where to connect to, and how: by TLS if there is a `tls`, or if the endpoints begin with https://.

    Raises `ConfigurationError` for endpoints that make no sense or contradict each other, and for files that can't be
    read, or are no pair.
    """
    texts = endpoints.split(",") if isinstance(endpoints, str) else list(endpoints)
    texts = [text.strip() for text in texts]
    schemes = {_scheme_of(text) for text in texts if text}
    if {_HTTP, _HTTPS} <= schemes or (_HTTPS in schemes and "" in schemes and tls is None):
        raise ConfigurationError("some endpoints are to be reached by TLS and some are not: write https:// before all")
    if _HTTP in schemes and tls is not None:
        raise ConfigurationError("an endpoint begins with http://, which is no TLS: write https://, or leave TLS out")
    plain = parse_endpoints([text.removeprefix(_scheme_of(text)).rstrip("/") for text in texts])
    if tls is None and _HTTPS in schemes:
        tls = TlsConfig()
    if tls is None:
        return Target(plain, None, ())
    options = (("grpc.ssl_target_name_override", tls.server_name),) if tls.server_name else ()
    return Target(plain, _credentials(tls), options)


def _scheme_of(text: str) -> str:
    return next((scheme for scheme in (_HTTP, _HTTPS) if text.startswith(scheme)), "")


def _credentials(tls: TlsConfig) -> grpc.ChannelCredentials:
    if (tls.cert_file is None) != (tls.key_file is None):
        given, missing = ("key", "certificate") if tls.cert_file is None else ("certificate", "key")
        raise ConfigurationError(f"a client's {given} is given without its {missing}: TLS needs both")
    ca, cert, key = _path(tls.ca_file), _path(tls.cert_file), _path(tls.key_file)
    contents = [None if path is None else _read(path) for path in (ca, key, cert)]
    _check(ca, cert, key)
    return grpc.ssl_channel_credentials(*contents)


def _path(file: str | Path | None) -> Path | None:
    return Path(file) if file else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error


def _check(ca: Path | None, cert: Path | None, key: Path | None) -> None:
    """Raises `ConfigurationError` for what gRPC would only call a failed connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if ca is not None:
            context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise ConfigurationError(f"{ca} holds no certificate in PEM that can be read") from error
    try:
        if cert is not None:
            context.load_cert_chain(cert, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            f"{key} is not the key of the certificate in {cert}, or one of them is not in PEM, or the key is encrypted"
        ) from error
