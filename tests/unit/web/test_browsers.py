import pytest

from meteora.web import Request
from meteora.web.browsers import is_foreign_page


def request(**headers: str) -> Request:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request(method="POST", target="/", headers=named)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "meteora.default.svc:5000"},
        {"host": "127.0.0.1:5000", "origin": "http://127.0.0.1:5000"},
        {"host": "localhost:5000", "origin": "http://localhost:5000"},
        {"host": "[::1]:5000", "origin": "https://[::1]:5000"},
        {"host": "127.0.0.1:5000", "sec_fetch_site": "same-origin"},
    ],
)
def test_programs_and_our_own_pages_are_none_of_others(headers: dict[str, str]) -> None:
    assert not is_foreign_page(request(**headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "127.0.0.1:5000", "origin": "http://evil.example"},
        {"host": "127.0.0.1:5000", "origin": "http://127.0.0.1:8080"},
        {"host": "127.0.0.1:5000", "origin": "null"},
        # Another's name that was made to lead here.
        {"host": "evil.example:5000", "origin": "http://evil.example:5000"},
        {"host": "127.0.0.1.evil.example:5000", "origin": "http://127.0.0.1.evil.example:5000"},
        {"host": "127.0.0.1:5000", "sec_fetch_site": "cross-site"},
        {"host": "[:5000", "origin": "http://[:5000"},
        {"origin": "http://127.0.0.1:5000"},
    ],
)
def test_pages_of_others_are_known(headers: dict[str, str]) -> None:
    assert is_foreign_page(request(**headers))
