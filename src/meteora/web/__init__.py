"""Plain HTTP on a port that also speaks gRPC: requests, responses, and the routes between them.

`messages` is what a request and a response are; `application` finds who answers, and keeps the rules that hold for all;
`over_http2` brings requests here that came by HTTP/2, and `meteora.http1` those that came by HTTP/1.1.

Rules of this room:

- A handler is given a request whole, and is told nothing of the version of HTTP.
- What a client may make this end keep is bounded, each by a constant with a name; and who reads too slowly is cut off.
- A request to look (GET, HEAD) changes nothing: browsers send those for any page that asks them to.
"""

from meteora.web.application import Handler, WebApplication
from meteora.web.messages import Request, Response, text_response
from meteora.web.over_http2 import Http2Gateway

__all__ = ["Handler", "Http2Gateway", "Request", "Response", "WebApplication", "text_response"]
