"""What gRPC says of a node that it can't connect to, in plain words.

Pure: only texts come in, so that whoever calls nodes can say it alike, whatever it calls them with.
"""

from typing import Final

_TLS: Final = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not accepted: it is not signed by the CA that was given "
    "(--cacert), or it has expired",
    "Hostname Verification Check failed": "its certificate is for another host: connect to it by a name that is in its "
    "certificate, or say which one is by --server-name",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "CERTIFICATE_REQUIRED": "it wants a certificate from who connects (--cert, --key)",
    "TSI_DATA_CORRUPTED": "it refused the certificate that it was shown, or was shown none (--cert, --key)",
    "Expected SETTINGS frame as the first frame, got frame type 7": "it speaks TLS only: connect by https://, or give "
    "the certificate of its CA by --cacert",
    "Handshake read failed": "it hung up, or did not answer, when it was spoken to by TLS",
    "Cannot check peer": "it speaks TLS, but not HTTP/2 in it",
}
"""By what gRPC's details hold."""


def why_not_connected(details: str) -> str | None:
    """Why there is no connection, for users, by what gRPC says; None if it speaks of something else."""
    for mark, meaning in _TLS.items():
        if mark in details:
            return f"can't be connected to: {meaning}"
    if details.startswith("failed to connect to all addresses"):
        return f"can't be connected to: {details.rpartition(': ')[2]}"
    if details.startswith("errors resolving"):
        return f"its name can't be looked up: {details.rpartition(': ')[2].rstrip(']')}"
    return None
