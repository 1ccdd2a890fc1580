"""One request whose answer is a stream: whom to ask until one begins to answer.

Pure. What has begun is never gone on with elsewhere: another node's state is another one.
"""

from collections.abc import Iterator, Sequence

from meteora.client.fate import Failure, Fate
from meteora.errors import NotApplied, Overloaded, RequestError


class StreamAttempts:
    """All attempts of one request. To be iterated over: the endpoints to ask, until one has begun to answer."""

    def __init__(self, method_name: str, endpoints: Sequence[str]) -> None:
        self._method_name = method_name
        self._endpoints = endpoints
        self._reasons: dict[str, str] = {}
        self._is_overloaded = False
        self.has_begun = False
        """Whether anything has come."""

    def __iter__(self) -> Iterator[str]:
        """The endpoints to ask, in this order. Raises what they all came to."""
        yield from self._endpoints
        raise self._given_up()

    def failed(self, endpoint: str, failure: Failure) -> None:
        """An attempt failed. Raises a `RequestError` if no other would help."""
        if failure.fate is Fate.REFUSED:
            raise failure.error(f"the {self._method_name} was refused: {failure.reason}")
        if self.has_begun:
            raise NotApplied(f"the {self._method_name} ended before it was whole ({endpoint}: {failure.reason})")
        self._is_overloaded = failure.fate is Fate.OVERLOADED
        self._reasons[endpoint] = failure.reason

    def _given_up(self) -> RequestError:
        asked = "; ".join(f"{endpoint}: {reason}" for endpoint, reason in self._reasons.items())
        kind = Overloaded if self._is_overloaded else NotApplied
        return kind(f"nobody served the {self._method_name} ({asked})")
