import pytest

from meteora.web import Request, text_response
from meteora.web.messages import MAX_QUERY_FIELDS


def request(target: str) -> Request:
    return Request(method="GET", target=target, headers=[])


@pytest.mark.parametrize("target", ["/a/b?x=1&x=2&y", "http://host/a/b?x=1&x=2&y"])
def test_the_target_has_a_path_and_a_query(target: str) -> None:
    assert (request(target).path, request(target).query) == ("/a/b", {"x": ["1", "2"], "y": [""]})


@pytest.mark.parametrize("target", ["http://[", "/?" + "&".join(["a=1"] * (MAX_QUERY_FIELDS + 1))])
def test_a_query_that_makes_no_sense_is_none(target: str) -> None:
    assert request(target).query == {}


def test_a_response_says_how_long_it_is_and_what_it_is_not() -> None:
    head = dict(text_response(200, "ok").head())
    assert (head[b"content-length"], head[b"x-content-type-options"]) == (b"3", b"nosniff")
