"""What a request and a response are, whatever brought them."""

from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Final
from urllib.parse import parse_qs, urlsplit

from meteora.tls import PeerCertificate

Headers = list[tuple[bytes, bytes]]
"""Names in lower case, and values."""

BODY_SECONDS: Final = 30.0
"""For the whole body of a request to come."""

WRITE_SECONDS: Final = 30.0
"""For a client to read what it was sent, so that there is room for more."""

MAX_QUERY_FIELDS: Final = 64
"""In one address; no page of ours has a tenth of them."""

PLAIN: Final = b"text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, whole."""

    method: str
    target: str
    """Path and query, as they were sent."""
    headers: Headers
    body: bytes = b""
    peer: tuple[str, int] | None = None
    """Host and port of the client."""
    certificate: PeerCertificate | None = None
    """What the client has shown, and was verified; None if there is no TLS, or it has shown none."""

    @property
    def path(self) -> str:
        """Without the query, as it was sent. Empty if it can't be told."""
        return path_of(self.target)

    @property
    def query(self) -> dict[str, list[str]]:
        """The values under each name; empty if they make no sense."""
        try:
            query = urlsplit(self.target).query
            return parse_qs(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
        except ValueError:
            return {}

    def header(self, name: bytes) -> bytes | None:
        """The last value of a header; None if there is none."""
        return dict(self.headers).get(name)


@dataclass(slots=True)
class Response:
    """One response."""

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""

    def head(self) -> Headers:
        """All headers that are to be sent, but for those that are about the connection."""
        # A browser is never to guess that what we send is a page or a script.
        safe = (b"x-content-type-options", b"nosniff")
        length = (b"content-length", b"%d" % len(self.body))
        return [(b"date", formatdate(usegmt=True).encode()), safe, *self.headers, length]


def text_response(status: int, text: str, *headers: tuple[bytes, bytes]) -> Response:
    """A response for people, who are told something of one line or more."""
    return Response(status, [(b"content-type", PLAIN), (b"cache-control", b"no-store"), *headers], f"{text}\n".encode())


def path_of(target: str) -> str:
    """The path in the target of a request. Empty if there is none."""
    try:
        return urlsplit(target).path
    except ValueError:
        return ""
