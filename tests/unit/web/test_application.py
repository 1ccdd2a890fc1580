import asyncio

import pytest

from meteora.web import Request, Response, WebApplication, application, text_response


def request(method: str = "GET", path: str = "/") -> Request:
    return Request(method=method, target=path, headers=[])


async def hello(_: Request) -> Response:
    return text_response(200, "hello")


def served() -> WebApplication:
    web = WebApplication(1000)
    web.add("GET", "/", hello)
    web.add("POST", "/post", hello)
    return web


def test_a_request_leads_to_its_handler() -> None:
    assert asyncio.run(served().respond(request())).body == b"hello\n"


def test_the_methods_that_are_allowed_are_named() -> None:
    response = asyncio.run(served().respond(request("DELETE")))
    assert (response.status, dict(response.headers)[b"allow"]) == (405, b"GET, HEAD")


def test_a_body_is_taken_only_where_something_is_posted() -> None:
    web = served()
    asked = [("POST", "/"), ("POST", "/post"), ("POST", "/post?x"), ("GET", "/post"), ("POST", "/no")]
    assert [web.body_bytes(*each) for each in asked] == [0, 1000, 1000, 0, 0]


def test_one_that_is_too_long_for_nobody_is_told_that_nobody_is_there() -> None:
    web = served()
    asked = [("POST", "/post"), ("GET", "/"), ("POST", "/"), ("POST", "/no")]
    assert [web.too_long(*each).status for each in asked] == [413, 413, 405, 404]


def test_one_that_somebody_else_cancelled_is_answered() -> None:
    async def cancelled(_: Request) -> Response:
        raise asyncio.CancelledError

    web = served()
    web.add("GET", "/cancelled", cancelled)
    assert asyncio.run(web.respond(request(path="/cancelled"))).status == 503


def test_a_server_that_stops_takes_none() -> None:
    web = served()
    web.stop()
    assert asyncio.run(web.respond(request())).status == 503


def test_requests_at_a_time_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "MAX_REQUESTS", 2)

    async def story() -> None:
        web, all_are_asked = served(), asyncio.Event()

        async def wait(_: Request) -> Response:
            await all_are_asked.wait()
            return text_response(200, "at last")

        web.add("GET", "/wait", wait)
        web.add("POST", "/wait", wait)
        first = [asyncio.create_task(web.respond(request(method, "/wait"))) for method in ("GET", "POST") * 2]
        await asyncio.sleep(0)
        assert [(await web.respond(request(method, "/wait"))).status for method in ("GET", "POST")] == [503, 503]
        all_are_asked.set()
        assert [(await each).status for each in first] == [200] * 4
        assert (await web.respond(request())).status == 200

    asyncio.run(story())


def test_calls_and_those_that_look_take_no_places_from_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "MAX_REQUESTS", 1)

    async def story() -> None:
        web = served()
        looked: list[Response] = []

        async def call(_: Request) -> Response:
            looked.append(await web.respond(request()))
            return text_response(200, "called")

        web.add("POST", "/call", call)
        assert (await web.respond(request("POST", "/call"))).status == 200
        assert [each.status for each in looked] == [200]

    asyncio.run(story())
