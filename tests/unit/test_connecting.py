import pytest

from meteora.connecting import why_not_connected


@pytest.mark.parametrize(
    ("details", "why"),
    [
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused",
            "can't be connected to: Connection refused",
        ),
        (
            "errors resolving a:1: [field:hostname lookup error:address lookup failed for a:1: Domain name not found]",
            "its name can't be looked up: Domain name not found",
        ),
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Ssl handshake failed "
            "(TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"
            "CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate",
            "can't be connected to: its certificate is not accepted: it is not signed by the CA that was given "
            "(--cacert), or it has expired",
        ),
        (
            "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:127.0.0.1:1: Failed parsing HTTP/2 "
            "(Expected SETTINGS frame as the first frame, got frame type 7)",
            "can't be connected to: it speaks TLS only: connect by https://, or give the certificate of its CA by "
            "--cacert",
        ),
        (
            "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:127.0.0.1:1: Handshake read failed "
            "(Endpoint closing)",
            "can't be connected to: it hung up, or did not answer, when it was spoken to by TLS",
        ),
    ],
)
def test_what_grpc_says_of_its_insides_is_left_out(details: str, why: str) -> None:
    assert why_not_connected(details) == why


def test_of_anything_else_nothing_is_known() -> None:
    assert why_not_connected("no leader: a majority of the members can't be reached") is None
