"""The text of addresses: host:port, with an IPv6 host in brackets.

Pure. What a person or another node wrote is checked here, once; everywhere else an endpoint is a string that parsed.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from meteora.errors import ConfigurationError

_HOST_AND_PORT: Final = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<name>[^\s\[\]:/,@]+)):(?P<port>[0-9]{1,5})")

MAX_PORT: Final = 65_535

MAX_HOST_CHARACTERS: Final = 253
"""A name has no more. The members' addresses are in their record, and in every reply: they must not be of any length.
"""


class Address(NamedTuple):
    """Where something listens. The host is without brackets; text has them where they are needed."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """The address that `text` means. Raises `ConfigurationError` if it is not host:port or [IPv6]:port."""
    host = text.strip().rpartition(":")[0].strip("[]")
    if len(host) > MAX_HOST_CHARACTERS:
        raise ConfigurationError(
            f"what begins with {text[:20]!r} is not an address: a host has at most {MAX_HOST_CHARACTERS} characters"
        )
    match = _HOST_AND_PORT.fullmatch(text.strip())
    if match is None or not 1 <= int(match["port"]) <= MAX_PORT:
        raise ConfigurationError(f"{text!r} is not an address: expected host:port or [IPv6]:port, port 1-{MAX_PORT}")
    if match["ipv6"] is not None and not is_ipv6(match["ipv6"]):
        raise ConfigurationError(f"{text!r} is not an address: {match['ipv6']!r} is not an IPv6 address")
    return Address(match["ipv6"] or match["name"], int(match["port"]))


def parse_endpoints(endpoints: str | Sequence[str]) -> tuple[str, ...]:
    """The endpoints in `endpoints`: one string with commas, or several strings. Each is kept once, in order.

    Raises `ConfigurationError` if there is none, or if one does not parse.
    """
    texts = endpoints.split(",") if isinstance(endpoints, str) else endpoints
    parsed = tuple(dict.fromkeys(str(parse_address(text)) for text in texts if text.strip()))
    if not parsed:
        raise ConfigurationError("no endpoint is given: expected host:port, several of them with commas between")
    return parsed


def is_ipv6(host: str) -> bool:
    """Whether `host`, without brackets, is an IPv6 address."""
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def is_wildcard(host: str) -> bool:
    """Whether `host` means every interface of its machine, and so nothing on another machine."""
    return host in {"0.0.0.0", "::"}


def reachable_endpoint(advertised: str, answered_by: str) -> str | None:
    """The endpoint at which `advertised` can be reached from here; None if it is no address at all.

    A node that advertises 0.0.0.0 has not said which host it is on. The one guess that can be right is the host that
    is known to run a node: the one that the answer came from.
    """
    try:
        address = parse_address(advertised)
    except ConfigurationError:
        return None
    if is_wildcard(address.host):
        return str(Address(parse_address(answered_by).host, address.port))
    return str(address)
