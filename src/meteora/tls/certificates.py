"""The certificates of one port: read and checked at the start, and read again when their files change.

Invariants:

- What is in use is whole: certificate, key and CA were read together and fit one another. A new set that is not, or
  that is still being written, leaves the old one in use.
- A connection that is open is never touched by a change; each new one uses what is current.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from meteora.errors import ConfigurationError
from meteora.observability.logs import get_logger
from meteora.tls.contexts import HTTP2, client_context, server_context
from meteora.tls.counters import TlsCounters

POLL_SECONDS: Final = 1.0
"""Between looks at the files. A change is taken up at the second look that finds the same."""

EXPIRY_WARNING: Final = timedelta(days=30)
"""A certificate that ends within this time is told of."""

EXPIRY_LOOKS: Final = timedelta(days=1)
"""Between looks at that."""

_OTHERS: Final = 0o007

_log = get_logger("tls")


class TlsFiles(NamedTuple):
    """Where the certificates of a port are, and by which options that was said."""

    cert: Path
    """The chain: the certificate itself, then those that lead to the CA, if there are any between."""
    key: Path
    ca: Path | None
    """By whom those at the other end must be signed; None if they need not show anything."""
    prefix: str
    """Of the names of the options: `--` or `--peer-`."""

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file of them."""
        return (self.cert, self.key) if self.ca is None else (self.cert, self.key, self.ca)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What was read at one time."""

    server: ssl.SSLContext = field(repr=False)
    client: ssl.SSLContext = field(repr=False)
    cert_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    ca_pem: bytes | None = field(repr=False)
    starts_at: datetime
    expires_at: datetime


class Certificates:
    """What is in use at one port; `watch` keeps that current."""

    def __init__(self, files: TlsFiles, *, alpn: Sequence[str] = (HTTP2,), checks_address: bool = True) -> None:
        """Reads them; blocks. Raises `ConfigurationError`, which names the option and the file.

        `alpn`: what the port speaks, the best first. `checks_address`: whether who is connected to must bear the name
        or address that was dialled.
        """
        self.files = files
        self.counters = TlsCounters()
        self._alpn = tuple(alpn)
        self._checks_address = checks_address
        self._tried = _fingerprint(files)
        self._changed_to: object = None
        self._failure = ""
        """Why what was tried last can't be used."""
        self.current = self._load()
        self._warn_of_key_mode()
        self._note_expiry()

    async def watch(self) -> None:
        """Takes up changes, until it is cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                loaded = await asyncio.to_thread(self._look)
            except Exception:  # noqa: BLE001  a bug in what reads files must not be the end of looking at them
                _log.exception("certificates can't be looked at", cert=self.files.cert)
                continue
            if loaded is not None:
                self.current = loaded
                self.counters.reloads += 1
                _log.info("new certificates are in use", cert=self.files.cert, expires=f"{loaded.expires_at:%Y-%m-%d}")
                self._note_expiry()
            elif datetime.now(UTC) >= self._next_expiry_look:
                self._note_expiry()

    def _look(self) -> Loaded | None:
        """What is new, once it has stood still for a look; None if nothing is, or it can't be used."""
        found = _fingerprint(self.files)
        if found == self._tried and not self._failure:
            self._changed_to = None
            return None
        if found != self._changed_to:
            self._changed_to = found
            return None
        try:
            loaded = self._load()
        except ConfigurationError as error:
            loaded, cause = None, str(error)
        else:
            cause = ""
        if _fingerprint(self.files) != found:
            return None  # It was still being written.
        is_news = (found, cause) != (self._tried, self._failure)
        # What has failed is tried again: that a file may be read now is not to be seen by its fingerprint.
        self._tried, self._failure = found, cause
        if loaded is not None:
            self._warn_of_key_mode()
        elif is_news:
            self.counters.failed_reloads += 1
            _log.error("new certificates can't be used: the old ones stay in use", cause=cause)
        return loaded

    def _load(self) -> Loaded:
        files = self.files
        cert_pem, key_pem = self._read("cert-file", files.cert), self._read("key-file", files.key)
        ca_pem = None if files.ca is None else self._read("trusted-ca-file", files.ca)
        starts_at, expires_at = self._validity(cert_pem)
        # What is no ASCII are comments.
        server, client = self._contexts(None if ca_pem is None else ca_pem.decode("ascii", errors="ignore"))
        for context in (server, client):
            self._load_chain(context)
        return Loaded(
            server=server,
            client=client,
            cert_pem=cert_pem,
            key_pem=key_pem,
            ca_pem=ca_pem,
            starts_at=starts_at,
            expires_at=expires_at,
        )

    def _read(self, option: str, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise self._unusable(option, path, f"can't be read: {error.strerror}") from error

    def _validity(self, cert_pem: bytes) -> tuple[datetime, datetime]:
        """From when until when all of the chain is valid."""
        # Takes longer to load than a command of ours to run, and only who speaks TLS needs it.
        from cryptography import x509  # noqa: PLC0415

        try:
            chain = x509.load_pem_x509_certificates(cert_pem)
        except ValueError as error:
            raise self._unusable(
                "cert-file", self.files.cert, "holds no certificate in PEM that can be read"
            ) from error
        return max(each.not_valid_before_utc for each in chain), min(each.not_valid_after_utc for each in chain)

    def _contexts(self, ca_pem: str | None) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        try:
            return server_context(ca_pem, self._alpn), client_context(ca_pem, checks_address=self._checks_address)
        except (ssl.SSLError, ValueError) as error:
            assert self.files.ca is not None
            raise self._unusable(
                "trusted-ca-file", self.files.ca, "holds no certificate in PEM that can be read"
            ) from error

    def _load_chain(self, context: ssl.SSLContext) -> None:
        files = self.files
        try:
            context.load_cert_chain(files.cert, files.key, password=_no_password)
        except _Encrypted:
            raise self._unusable(
                "key-file", files.key, "is encrypted: a node has nobody to ask for the password"
            ) from None
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                problem = f"does not belong to {files.prefix}cert-file {files.cert}"
            else:
                problem = f"can't be used with {files.prefix}cert-file {files.cert}: {_words(error)}"
            raise self._unusable("key-file", files.key, problem) from error
        except OSError as error:
            raise self._unusable("key-file", files.key, f"can't be read: {error.strerror}") from error

    def _unusable(self, option: str, path: Path, problem: str) -> ConfigurationError:
        return ConfigurationError(f"{self.files.prefix}{option} {path} {problem}")

    def _warn_of_key_mode(self) -> None:
        try:
            mode = self.files.key.stat().st_mode & 0o777
        except OSError:
            return  # It is gone again: the next look finds that.
        if mode & _OTHERS:
            _log.warning("others on this host can read a key: chmod o-rwx it", key=self.files.key, mode=f"{mode:03o}")

    def _note_expiry(self) -> None:
        now, loaded = datetime.now(UTC), self.current
        self._next_expiry_look = now + EXPIRY_LOOKS
        self.counters.expires_at = loaded.expires_at
        warn: Callable[..., None] = _log.warning
        where = {"cert": self.files.cert, "expires": f"{loaded.expires_at:%Y-%m-%d %H:%M}Z"}
        if loaded.expires_at <= now:
            warn("a certificate has expired: others will refuse it, replace the file", **where)
        elif loaded.expires_at - now < EXPIRY_WARNING:
            warn("a certificate expires soon: replace the file, it is re-read", **where)
        if loaded.starts_at > now:
            warn("a certificate is not valid yet", cert=self.files.cert, starts=f"{loaded.starts_at:%Y-%m-%d %H:%M}Z")


class _Encrypted(Exception):
    """The key asks for a password."""


def _no_password() -> NoReturn:
    """Called by OpenSSL, which would ask on the terminal otherwise."""
    raise _Encrypted


def _words(error: ssl.SSLError) -> str:
    return (error.reason or "").lower().replace("_", " ") or "it holds no key in PEM that can be read"


def _fingerprint(files: TlsFiles) -> object:
    """Differs when a file was written or replaced."""
    return tuple(map(_state_of, files.all))


def _state_of(path: Path) -> object:
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
