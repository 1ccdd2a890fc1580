"""What gRPC says of a node that it can't connect to, in plain words.

Pure: only texts come in, so that whoever calls nodes can say it alike, whatever it calls them with.
"""

import re
from typing import Final

_TLS: Final = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not accepted: it is not signed by the CA that was given "
    "(--cacert), or it has expired",
    "Hostname Verification Check failed": "its certificate is for another host: connect to it by a name that is in its "
    "certificate, or say which one is by --server-name",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "CERTIFICATE_REQUIRED": "it wants a certificate from who connects (--cert, --key)",
    "TSI_DATA_CORRUPTED": "it refused the certificate that it was shown, or was shown none (--cert, --key)",
    "Cannot check peer": "it does not speak HTTP/2",
}
"""By what gRPC's details hold."""

_FAREWELL: Final = re.compile(r"GOAWAY received; Error code: 12; Debug Text: (.*?)\)*$", re.DOTALL)
"""Code 12 is INADEQUATE_SECURITY: said by a node, and only before it has taken anything."""


def why_not_connected(details: str) -> str | None:
    """Why there is no connection, for users, by what gRPC says; None if it speaks of something else."""
    for mark, meaning in _TLS.items():
        if mark in details:
            return f"can't be connected to: {meaning}"
    if (farewell := _FAREWELL.search(details)) is not None:
        return f"can't be connected to: {farewell[1]}"
    if details.startswith("failed to connect to all addresses"):
        return f"can't be connected to: {details.rpartition(': ')[2]}"
    if details.startswith("errors resolving"):
        return f"its name can't be looked up: {details.rpartition(': ')[2].rstrip(']')}"
    return None
