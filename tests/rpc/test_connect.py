"""Unary calls by the Connect protocol, over HTTP/1.1: what is read, what is answered, what is refused."""

import asyncio
import base64
import gzip
import http.client
import json
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from meteora.http2 import connect
from meteora.pb import common_pb2, kv_pb2
from meteora.pb.kv_pb2_grpc import KvServiceServicer, add_KvServiceServicer_to_server
from meteora.rpc import RpcServer, admission, create_rpc_server, longest_body_bytes
from meteora.rpc.connect import MAX_OBJECTS, THREAD_BYTES
from meteora.tls import Certificates, IncomingTls, OutgoingTls
from meteora.web import WebApplication
from tests.certificates import Authority
from tests.rpc.probe import MAX_MESSAGE_BYTES, Context, run

GET = "/meteora.kv.KvService/Get"
JSON = {"content-type": "application/json"}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Service(KvServiceServicer):
    """Answers every get by `answer`, and remembers what the contexts tell of the client."""

    def __init__(self, answer: Callable[[kv_pb2.GetReq, Context], Any]) -> None:
        self._answer = answer
        self.metadata: dict[str, str | bytes] = {}
        self.client: tuple[object, ...] = ()

    async def Get(self, request: kv_pb2.GetReq, context: Any) -> kv_pb2.GetReply:
        self.metadata = dict(context.invocation_metadata())
        self.client = (context.peer_identity_key(), context.peer_identities(), context.auth_context())
        return await self._answer(request, context)


async def echo(request: kv_pb2.GetReq, _: Context) -> kv_pb2.GetReply:
    return kv_pb2.GetReply(value=request.key, state=common_pb2.OK, leader_id=2**63)


@asynccontextmanager
async def serving(service: Service, tls: IncomingTls | None = None) -> AsyncIterator[int]:
    async with running(service, tls) as server:
        yield server.port


@asynccontextmanager
async def running(service: Service, tls: IncomingTls | None = None) -> AsyncIterator[RpcServer]:
    server = create_rpc_server(
        "http2",
        "127.0.0.1",
        0,
        max_message_bytes=MAX_MESSAGE_BYTES,
        tls=tls,
        refusal_metadata=[("outcome", "not-applied")],
    )
    add_KvServiceServicer_to_server(service, server)
    server.serve_web(WebApplication(longest_body_bytes(MAX_MESSAGE_BYTES)))
    try:
        await server.start()
        yield server
    finally:
        await server.stop(0)


def ask(port: int, body: bytes | str, headers: dict[str, str], path: str = GET) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def answer_to(
    body: bytes | str, headers: dict[str, str] | None = None, answer: Callable[..., Any] = echo, path: str = GET
) -> Answer:
    answers: list[Answer] = []

    async def story() -> None:
        async with serving(Service(answer)) as port:
            answers.append(await asyncio.to_thread(ask, port, body, {**JSON, **(headers or {})}, path))

    run(story())
    return answers[0]


def zipped(body: bytes) -> bytes:
    """The same each time: it is part of the names of tests, which pytest's workers compare."""
    return gzip.compress(body, mtime=0)


def test_bytes_are_base64_and_long_numbers_text() -> None:
    answer = answer_to('{"key": "a2V5"}')
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json == {"value": "a2V5", "state": "OK", "leaderId": str(2**63)}


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
def test_any_form_of_the_content_type_is_json(kind: str) -> None:
    assert answer_to("{}", {"content-type": kind}).status == 200


def test_a_message_may_come_in_protobufs_own_form() -> None:
    body = kv_pb2.GetReq(key=b"key").SerializeToString()
    answer = answer_to(body, {"content-type": "application/proto"})
    assert answer.headers["content-type"] == "application/proto"
    assert kv_pb2.GetReply.FromString(answer.body).value == b"key"


def test_a_body_may_be_compressed() -> None:
    assert answer_to(zipped(b'{"key": "a2V5"}'), {"content-encoding": "gzip"}).json["value"] == "a2V5"


def test_a_long_message_arrives() -> None:
    key = "A" * MAX_MESSAGE_BYTES
    assert answer_to(json.dumps({"key": key})).json["value"] == key


@pytest.mark.parametrize(
    ("body", "headers", "is_apart"),
    [
        (b"{}", {}, False),
        (b'{"key": "%s"}' % (b"A" * THREAD_BYTES), {}, True),
        (zipped(b'{"key": "%s"}' % (b"A" * THREAD_BYTES)), {"content-encoding": "gzip"}, True),
    ],
    ids=["short", "long", "short until it is decompressed"],
)
def test_what_may_take_long_to_read_is_read_on_a_thread(
    body: bytes, headers: dict[str, str], is_apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[threading.Thread] = []
    parse = json_format.Parse

    def noted(*arguments: Any) -> Any:
        readers.append(threading.current_thread())
        return parse(*arguments)

    monkeypatch.setattr(json_format, "Parse", noted)
    assert answer_to(body, headers).status == 200
    assert [each is not threading.main_thread() for each in readers] == [is_apart]


def test_long_messages_are_read_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    readers: set[threading.Thread] = set()
    parse = json_format.Parse

    def slowly(*arguments: Any) -> Any:
        readers.add(threading.current_thread())
        time.sleep(0.02)  # Another one would begin meanwhile.
        return parse(*arguments)

    monkeypatch.setattr(json_format, "Parse", slowly)
    body = json.dumps({"key": "A" * THREAD_BYTES})

    async def story() -> None:
        async with serving(Service(echo)) as port:
            answers = await asyncio.gather(*(asyncio.to_thread(ask, port, body, JSON) for _ in range(4)))
            assert [each.status for each in answers] == [200] * 4

    run(story())
    assert len(readers) == 1
    assert not any(each.is_alive() for each in readers)


def test_the_time_until_a_long_message_is_read_is_the_caller_s_too(monkeypatch: pytest.MonkeyPatch) -> None:
    may_read = threading.Event()
    parse = json_format.Parse

    def late(*arguments: Any) -> Any:
        may_read.wait(20)
        return parse(*arguments)

    monkeypatch.setattr(json_format, "Parse", late)
    body = json.dumps({"key": "A" * THREAD_BYTES})

    async def story() -> None:
        async with serving(Service(echo)) as port:
            answer = await asyncio.to_thread(ask, port, body, {**JSON, "connect-timeout-ms": "50"})
            assert (answer.status, answer.json["code"]) == (504, "deadline_exceeded")
            may_read.set()

    run(story())


def test_a_long_message_for_which_there_is_no_room_is_refused_as_by_grpc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_BYTES", 10_000)

    async def story() -> None:
        async with running(Service(echo)) as server:
            answer = await asyncio.to_thread(ask, server.port, json.dumps({"key": "A" * 10_000}), JSON)
            assert (answer.status, answer.json["code"]) == (429, "resource_exhausted")
            assert answer.headers["trailer-outcome"] == "not-applied"
            assert server.call_counts[GET].failed == {grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]: 1}

    run(story())


def test_of_a_compressed_message_there_is_no_more_than_it_unpacked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_BYTES", MAX_MESSAGE_BYTES)
    compressed = {**JSON, "content-encoding": "gzip"}

    async def story() -> None:
        async def ask_another(request: kv_pb2.GetReq, _: Context) -> kv_pb2.GetReply:
            if request.key:
                return kv_pb2.GetReply(value=request.key)
            another = await asyncio.to_thread(ask, port, zipped(b'{"key": "a2V5"}'), compressed)
            assert another.status == 200
            return kv_pb2.GetReply(value=b"both")

        async with serving(Service(ask_another)) as port:
            answer = await asyncio.to_thread(ask, port, zipped(b"{}"), compressed)
            assert answer.json["value"] == base64.b64encode(b"both").decode()

    run(story())


def test_a_message_that_can_t_be_read_is_counted() -> None:
    async def story() -> None:
        async with running(Service(echo)) as server:
            assert (await asyncio.to_thread(ask, server.port, "no JSON", JSON)).status == 400
            assert server.call_counts[GET].failed == {grpc.StatusCode.INVALID_ARGUMENT.value[0]: 1}

    run(story())


def test_objects_without_number_are_not_read() -> None:
    answer = answer_to(json.dumps({"key": [{}] * MAX_OBJECTS}))
    assert (answer.status, "objects and lists" in answer.json["message"]) == (400, True)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        ("", {}, 400, "invalid_argument"),
        ("[]", {}, 400, "invalid_argument"),
        ('{"key": "a2V5"', {}, 400, "invalid_argument"),
        ('{"nope": 1}', {}, 400, "invalid_argument"),
        ('{"key": 1}', {}, 400, "invalid_argument"),
        ("[" * 100_000, {}, 400, "invalid_argument"),
        ('{"key": ' + "9" * 10_000 + "}", {}, 400, "invalid_argument"),
        (b"\xff\xff", {}, 400, "invalid_argument"),
        (b"\xff\xff", {"content-type": "application/proto"}, 400, "invalid_argument"),
        ("{}", {"connect-protocol-version": "2"}, 400, "invalid_argument"),
        ("{}", {"connect-timeout-ms": "1s"}, 400, "invalid_argument"),
        ("{}", {"connect-timeout-ms": "12345678901"}, 400, "invalid_argument"),
        ("{}", {"connect-timeout-ms": "0"}, 504, "deadline_exceeded"),
        ("{}", {"content-encoding": "br"}, 501, "unimplemented"),
        ("{}", {"content-encoding": "gzip"}, 400, "invalid_argument"),
        (zipped(b"{}")[:-4], {"content-encoding": "gzip"}, 400, "invalid_argument"),
        (zipped(bytes(64 << 20)), {"content-encoding": "gzip"}, 429, "resource_exhausted"),
        ("{}", {"origin": "http://evil.example"}, 403, "permission_denied"),
    ],
    # Named by something short, and the same in every process that collects the tests.
    ids=lambda each: str(each)[:40],
)
def test_what_can_not_be_taken_is_refused_in_json(
    body: bytes | str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = answer_to(body, headers)
    assert (answer.status, answer.headers["content-type"], answer.json["code"]) == (status, "application/json", code)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_what_a_form_could_send_is_refused(kind: str) -> None:
    answer = answer_to("{}", {"content-type": kind})
    assert (answer.status, answer.headers["accept-post"]) == (415, "application/json, application/proto")


def test_a_method_that_is_not_there_is_not_found() -> None:
    assert answer_to("{}", path="/meteora.kv.KvService/Steal").status == 404


def test_an_error_has_its_code_its_message_and_its_metadata() -> None:
    async def fail(_: kv_pb2.GetReq, context: Context) -> None:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "nö", (("meteora-outcome", "not-applied"),))

    answer = answer_to("{}", answer=fail)
    assert (answer.status, answer.json) == (503, {"code": "unavailable", "message": "nö"})
    assert answer.headers["trailer-meteora-outcome"] == "not-applied"


def test_metadata_before_and_behind_the_response_arrive() -> None:
    async def tell(request: kv_pb2.GetReq, context: Context) -> kv_pb2.GetReply:
        await context.send_initial_metadata((("x-before", "1"),))
        context.set_trailing_metadata((("x-behind", "2"),))
        return await echo(request, context)

    headers = answer_to("{}", answer=tell).headers
    assert (headers["x-before"], headers["trailer-x-behind"]) == ("1", "2")


def test_a_bug_of_a_handler_is_an_unknown_error() -> None:
    async def fail(_: kv_pb2.GetReq, __: Context) -> None:
        raise KeyError("k")

    answer = answer_to("{}", answer=fail)
    assert (answer.status, answer.json["code"]) == (500, "unknown")


def test_a_call_ends_at_its_deadline() -> None:
    async def wait(_: kv_pb2.GetReq, __: Context) -> None:
        await asyncio.Event().wait()

    answer = answer_to("{}", {"connect-timeout-ms": "10"}, answer=wait)
    assert (answer.status, answer.json["code"]) == (504, "deadline_exceeded")


def test_headers_reach_the_handler_as_metadata() -> None:
    async def story() -> None:
        service = Service(echo)
        async with serving(service) as port:
            headers = {**JSON, "authorization": "Bearer t", "x-bin": "a2V5", "connect-protocol-version": "1"}
            await asyncio.to_thread(ask, port, "{}", headers)
        assert service.metadata["authorization"] == "Bearer t"
        assert service.metadata["x-bin"] == b"key"
        assert not [key for key in service.metadata if key.startswith(("connect-", "content-", "accept"))]

    run(story())


# Who calls

ALICE = (
    "x509_subject_alternative_name",
    [b"a.example"],
    {"x509_common_name": [b"alice"], "x509_subject_alternative_name": [b"a.example"]},
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def asking(authority: Authority) -> IncomingTls:
    return IncomingTls(Certificates(authority.files("server")), service="test")


def test_who_has_shown_a_certificate_by_http_1_is_known_to_the_handler(authority: Authority) -> None:
    pair = authority.issue("client", "a.example", common_name="alice")
    context = ssl.create_default_context(cafile=authority.ca)
    context.load_cert_chain(pair.cert, pair.key)

    def get(port: int) -> int:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
        connection.request("POST", GET, "{}", JSON)
        status = connection.getresponse().status
        connection.close()
        return status

    async def story() -> None:
        service = Service(echo)
        async with serving(service, asking(authority)) as port:
            assert await asyncio.to_thread(get, port) == 200
        assert service.client == ALICE

    run(story())


def test_who_has_shown_a_certificate_by_http_2_is_known_to_the_handler(authority: Authority) -> None:
    pair = authority.issue("client", "a.example", common_name="alice")
    files = authority.files("server")._replace(cert=pair.cert, key=pair.key)
    fields = {":method": "POST", ":scheme": "https", ":path": GET, ":authority": "test", **JSON}
    headers = [(name.encode(), value.encode()) for name, value in fields.items()]

    async def story() -> None:
        service = Service(echo)
        async with serving(service, asking(authority)) as port:
            connection = await connect("127.0.0.1", port, OutgoingTls(Certificates(files)))
            stream = connection.request(headers)
            stream.send(b"{}", is_end=True)
            while await stream.read() is not None:
                pass
            assert stream.headers is not None
            assert dict(stream.headers)[b":status"] == b"200"
            connection.close()
            await connection.closed
        assert service.client == ALICE

    run(story())


def test_nobody_is_known_in_the_clear() -> None:
    async def story() -> None:
        service = Service(echo)
        async with serving(service) as port:
            await asyncio.to_thread(ask, port, "{}", JSON)
        assert service.client == (None, None, {})

    run(story())
