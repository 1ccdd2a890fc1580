import pytest

from meteora.addresses import Address, parse_address, parse_endpoints, reachable_endpoint
from meteora.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:5000", Address("localhost", 5000)),
        (" 10.0.0.1:1 ", Address("10.0.0.1", 1)),
        ("[::1]:65535", Address("::1", 65_535)),
        ("[fe80::1%eth0]:5000", Address("fe80::1%eth0", 5000)),
        ("node-1.example.org:5000", Address("node-1.example.org", 5000)),
    ],
)
def test_an_address_is_parsed(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "localhost", ":5000", "localhost:", "localhost:0", "localhost:65536", "localhost:http", "localhost:-1"),
        *("::1:5000", "[::1]", "[::1:5000", "[zz]:5000", "[]:5000", "http://a:5000", "a b:5000", "a:1:2", "a:٣"),
    ],
)
def test_what_is_no_address_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["h" * 254 + ":5000", "[fe80::1%" + "h" * 246 + "]:5000"])
def test_a_host_that_is_longer_than_any_name_is_refused_and_quoted_in_part(text: str) -> None:
    with pytest.raises(ConfigurationError, match="at most 253 characters") as caught:
        parse_address(text)
    assert len(str(caught.value)) < 200
    assert parse_address("h" * 253 + ":5000")


@pytest.mark.parametrize("text", ["localhost:5000", "[::1]:5000"])
def test_the_text_of_an_address_parses_to_it(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    ("endpoints", "parsed"),
    [
        ("a:1", ("a:1",)),
        ("a:1,b:2", ("a:1", "b:2")),
        (" a:1 , b:2 ,", ("a:1", "b:2")),
        (["b:2", "a:1", "b:2"], ("b:2", "a:1")),
    ],
)
def test_endpoints_are_kept_once_and_in_order(endpoints: str | list[str], parsed: tuple[str, ...]) -> None:
    assert parse_endpoints(endpoints) == parsed


@pytest.mark.parametrize("endpoints", ["", " , ", []])
def test_no_endpoint_at_all_is_refused(endpoints: str | list[str]) -> None:
    with pytest.raises(ConfigurationError, match="no endpoint"):
        parse_endpoints(endpoints)


@pytest.mark.parametrize(
    ("advertised", "answered_by", "reachable"),
    [
        ("10.0.0.2:5000", "10.0.0.1:5001", "10.0.0.2:5000"),
        ("0.0.0.0:5000", "10.0.0.1:5001", "10.0.0.1:5000"),
        ("[::]:5000", "[::1]:5001", "[::1]:5000"),
        ("[::]:5000", "localhost:5001", "localhost:5000"),
        ("", "10.0.0.1:5001", None),
        ("nonsense", "10.0.0.1:5001", None),
    ],
)
def test_a_node_that_advertises_every_interface_is_looked_for_where_the_answer_came_from(
    advertised: str, answered_by: str, reachable: str | None
) -> None:
    assert reachable_endpoint(advertised, answered_by) == reachable
