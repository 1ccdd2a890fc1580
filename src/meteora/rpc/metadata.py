"""Metadata to HTTP headers and back.

Rules of the protocol: keys are lower-case; values are printable ASCII, except under keys that end in `-bin`, where they
are bytes and travel in base64; what HTTP/2 and gRPC themselves say in headers is no metadata.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import grpc

from meteora.http2 import Header
from meteora.rpc.status import CallFailed

MetadataValue = str | bytes

_KEY: Final = re.compile(r"[0-9a-z_.-]+")
_VALUE: Final = re.compile(rb"[\x20-\x7e]*")
_BINARY_SUFFIX: Final = "-bin"

_HTTP_HEADERS: Final = {b"connection", b"content-length", b"content-type", b"host", b"te", b"transfer-encoding"}
_REQUEST_HEADERS: Final = {b"grpc-accept-encoding", b"grpc-encoding", b"grpc-message-type", b"grpc-timeout"}
_STATUS_HEADERS: Final = {b"grpc-status", b"grpc-message"}
_NOT_RECEIVED: Final = _HTTP_HEADERS | _REQUEST_HEADERS
_NOT_SENT: Final = _NOT_RECEIVED | _STATUS_HEADERS


class Metadatum(NamedTuple):
    """One entry of the metadata: a pair to whoever unpacks it, as in grpcio."""

    key: str
    value: MetadataValue


def decode_metadata(headers: Iterable[Header]) -> tuple[Metadatum, ...]:
    """The metadata among the headers of a request. Raises `CallFailed` for base64 that is none."""
    return tuple(metadatum for header in headers if header[0] not in _NOT_RECEIVED for metadatum in _decode(*header))


def encode_metadata(metadata: Iterable[tuple[str, MetadataValue]]) -> list[Header]:
    """The headers for a response. Raises `ValueError` for what can't be sent as metadata."""
    return [_encode(key, value) for key, value in metadata]


def _decode(name: bytes, value: bytes) -> Iterator[Metadatum]:
    key = name.decode("ascii")
    if not key.endswith(_BINARY_SUFFIX):
        yield Metadatum(key, value.decode("latin-1"))
        return
    # Senders may join the values of one key by commas, which base64 doesn't contain.
    for part in value.split(b","):
        yield Metadatum(key, _decode_base64(key, part.strip()))


def _decode_base64(key: str, value: bytes) -> bytes:
    try:
        # Senders leave the padding out, or don't.
        return base64.b64decode(value.rstrip(b"=") + b"=" * (-len(value.rstrip(b"=")) % 4), validate=True)
    except binascii.Error:
        detail = f"Error parsing '{key}' metadata: illegal base64 encoding"
        raise CallFailed(grpc.StatusCode.INTERNAL, detail) from None


def _encode(key: str, value: MetadataValue) -> Header:
    name = key.encode("ascii", "replace")
    if not _KEY.fullmatch(key) or name in _NOT_SENT:
        raise ValueError(f"{key!r} can't be a key of metadata")
    encoded = value.encode() if isinstance(value, str) else value
    if key.endswith(_BINARY_SUFFIX):
        return name, base64.b64encode(encoded).rstrip(b"=")
    if not _VALUE.fullmatch(encoded):
        raise ValueError(f"the value of metadata {key!r} is not printable ASCII; other bytes need a key ending in -bin")
    return name, encoded
