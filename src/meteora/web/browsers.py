"""Which requests a browser was made to send by the page of somebody else.

A browser names the page in `origin` whenever it sends a POST. Whoever sends none is no browser. A page of another site
has another origin than the host that it asks; one that has got here by a name that it lets lead to this address (DNS
rebinding) has the same, so for browsers the host must be an address, or localhost, which are nobody's to give away.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from meteora.web.messages import Request


def is_foreign_page(request: Request) -> bool:
    """Whether a page sent the request that does not come from here."""
    origin = request.header(b"origin")
    if origin is None:
        return request.header(b"sec-fetch-site") not in {None, b"same-origin", b"none"}
    host = (request.header(b"host") or b"").decode("latin-1").lower()
    try:
        named = urlsplit(origin.decode("latin-1").lower())
        return named.netloc != host or not _is_nobodys(named.hostname or "")
    except ValueError:
        return True


def _is_nobodys(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
