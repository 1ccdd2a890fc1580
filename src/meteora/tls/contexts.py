"""How TLS is spoken, at both ends.

TLS 1.2 with forward secrecy and authenticated encryption only, as HTTP/2 asks for (RFC 9113, 9.2.2), or 1.3. There are
no tickets, and so no session outlives the context that it began with: by new certificates everybody is looked at again.
"""

import ssl
from collections.abc import Sequence
from typing import Final

HTTP2: Final = "h2"
"""What a client of ours speaks inside, by its name in ALPN. gRPC's servers insist on being told."""

HTTP1: Final = "http/1.1"

_CIPHERS_OF_1_2: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


def server_context(ca_pem: str | None, alpn: Sequence[str]) -> ssl.SSLContext:
    """For who is connected to: with a CA, who connects must show a certificate that it has signed.

    `alpn`: what is spoken inside, the best first. Who asks for nothing of that is taken by what he says then.

    Raises `ssl.SSLError` for a CA that is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    context.set_alpn_protocols(list(alpn))
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    if ca_pem is not None:
        context.load_verify_locations(cadata=ca_pem)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(ca_pem: str | None, *, checks_address: bool) -> ssl.SSLContext:
    """For who connects: without a CA anybody is trusted, and the address is not looked at, either.

    Raises `ssl.SSLError` for a CA that is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context)
    context.set_alpn_protocols([HTTP2])
    context.check_hostname = checks_address and ca_pem is not None
    if ca_pem is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=ca_pem)
    return context


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS_OF_1_2)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
