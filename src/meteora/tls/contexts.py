"""How TLS is spoken, at both ends.

TLS 1.2 with forward secrecy and authenticated encryption only, as HTTP/2 asks for (RFC 9113, 9.2.2), or 1.3. Sessions
are never resumed: who comes again is looked at again, by the certificates that are in use then.
"""

import ssl
from typing import Final

ALPN_PROTOCOLS: Final = ("h2",)
"""What is spoken inside, as both ends are told in the handshake. Who states nothing is taken by what he says then."""

_CIPHERS_OF_1_2: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


def server_context(ca_pem: str | None) -> ssl.SSLContext:
    """For who is connected to: with a CA, who connects must show a certificate that it has signed.

    Raises `ssl.SSLError` for a CA that is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
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
    context.check_hostname = checks_address and ca_pem is not None
    if ca_pem is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=ca_pem)
    return context


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS_OF_1_2)
    context.set_alpn_protocols(list(ALPN_PROTOCOLS))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
