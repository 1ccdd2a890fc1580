"""TLS on servers of both kinds, with grpcio's own client."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from meteora.config import RpcServerKind
from meteora.rpc import create_rpc_server
from meteora.tls import Certificates, IncomingTls, Refusal
from tests.certificates import LONG_AGO, UNREADABLE_NAMES, YESTERDAY, Authority, Pair, self_signed
from tests.rpc.probe import MAX_MESSAGE_BYTES, METHOD, Context, Handler, echo, failure_of, register, run, unary_unary

CALL_SECONDS = 10.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@asynccontextmanager
async def serving(kind: RpcServerKind, tls: IncomingTls, handler: Handler) -> AsyncIterator[str]:
    server = create_rpc_server(kind, "127.0.0.1", 0, max_message_bytes=MAX_MESSAGE_BYTES, tls=tls)
    register(server, handler)
    try:
        await server.start()
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.stop(0)


def incoming(authority: Authority, *allowed_names: str, asks: bool = True) -> IncomingTls:
    files = authority.files("server", asks=asks)
    return IncomingTls(Certificates(files), service="test", allowed_names=allowed_names)


def channel_to(address: str, authority: Authority, pair: Pair | None) -> grpc.aio.Channel:
    key, cert = (None, None) if pair is None else (pair.key.read_bytes(), pair.cert.read_bytes())
    credentials = grpc.ssl_channel_credentials(authority.ca.read_bytes(), key, cert)
    return grpc.aio.secure_channel(address, credentials, options=(("grpc.use_local_subchannel_pool", 1),))


async def call(address: str, authority: Authority, pair: Pair | None, request: bytes = b"hello") -> bytes:
    async with channel_to(address, authority, pair) as channel:
        answer: bytes = await channel.unary_unary(METHOD)(request, timeout=CALL_SECONDS)
        return answer


async def is_refused(address: str, authority: Authority, pair: Pair | None) -> bool:
    return (await failure_of(call(address, authority, pair))).code() is grpc.StatusCode.UNAVAILABLE


def test_who_is_let_in_is_served(kind: RpcServerKind, authority: Authority) -> None:
    async def story() -> None:
        async with serving(kind, incoming(authority), unary_unary(echo)) as address:
            assert await call(address, authority, authority.issue("client"), bytes(MAX_MESSAGE_BYTES)) == bytes(
                MAX_MESSAGE_BYTES
            )

    run(story())


def test_without_an_authority_of_clients_everybody_is_served(kind: RpcServerKind, authority: Authority) -> None:
    async def story() -> None:
        async with serving(kind, incoming(authority, asks=False), unary_unary(echo)) as address:
            assert await call(address, authority, None) == b"hello"

    run(story())


def test_who_has_no_certificate_is_refused(kind: RpcServerKind, authority: Authority) -> None:
    async def story() -> None:
        async with serving(kind, incoming(authority), unary_unary(echo)) as address:
            assert await is_refused(address, authority, None)

    run(story())


def test_who_has_one_of_another_authority_is_refused(kind: RpcServerKind, authority: Authority, tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(kind, incoming(authority), unary_unary(echo)) as address:
            assert await is_refused(address, authority, Authority(tmp_path / "other").issue("client"))

    run(story())


def test_who_has_one_that_has_expired_is_refused(kind: RpcServerKind, authority: Authority) -> None:
    async def story() -> None:
        async with serving(kind, incoming(authority), unary_unary(echo)) as address:
            pair = authority.issue("client", not_before=LONG_AGO, not_after=YESTERDAY)
            assert await is_refused(address, authority, pair)

    run(story())


def test_who_is_not_on_the_list_gets_no_further(
    kind: RpcServerKind, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        tls = incoming(authority, "node1")
        async with serving(kind, tls, unary_unary(echo)) as address:
            failure = await failure_of(call(address, authority, authority.issue("client", "node9")))
            assert failure.code() is grpc.StatusCode.UNAVAILABLE
            # Once: it does not try again and again.
            assert tls.counters.refused == {Refusal.NAME_NOT_ALLOWED: 1}

    run(story())
    assert "host=127.0.0.1 reason=name-not-allowed" in caplog.records[0].getMessage()


def test_who_has_names_that_can_not_be_read_is_refused(
    kind: RpcServerKind, authority: Authority, tmp_path: Path
) -> None:
    async def story() -> None:
        pair = self_signed(tmp_path, UNREADABLE_NAMES)
        files = authority.files("server")._replace(ca=pair.cert)
        tls = IncomingTls(Certificates(files), service="test", allowed_names=("node1",))
        async with serving(kind, tls, unary_unary(echo)) as address:
            assert await is_refused(address, authority, pair)
            assert tls.counters.refused.total() > 0

    run(story())


def test_who_is_on_the_list_is_served(kind: RpcServerKind, authority: Authority) -> None:
    async def story() -> None:
        async with serving(kind, incoming(authority, "node1"), unary_unary(echo)) as address:
            assert await call(address, authority, authority.issue("client", "node1")) == b"hello"

    run(story())


def test_on_grpcio_a_method_that_nobody_implemented_is_behind_the_list_too(authority: Authority) -> None:
    def not_implemented(request: bytes, context: Context) -> bytes:
        raise AssertionError("it was called")

    async def story() -> None:
        async with serving("grpcio", incoming(authority, "node1"), unary_unary(not_implemented)) as address:
            failure = await failure_of(call(address, authority, authority.issue("client", "node9")))
            assert failure.code() is grpc.StatusCode.UNAVAILABLE

    run(story())


def test_a_handler_knows_who_calls(kind: RpcServerKind, authority: Authority) -> None:
    def plain(values: Iterable[bytes] | None) -> list[bytes]:
        return list(values or ())

    seen: list[object] = []

    async def look(request: bytes, context: Context) -> bytes:
        found = context.auth_context()
        seen.append(plain(found.get("x509_common_name")))
        seen.append(plain(found.get("x509_subject_alternative_name")))
        seen.append(context.peer_identity_key())
        seen.append(plain(context.peer_identities()))
        return b""

    async def story() -> None:
        async with serving(kind, incoming(authority), unary_unary(look)) as address:
            await call(address, authority, authority.issue("client", "a.example", common_name="alice"))

    run(story())
    assert seen == [[b"alice"], [b"a.example"], "x509_subject_alternative_name", [b"a.example"]]


def test_a_handler_knows_nobody_who_has_shown_nothing(kind: RpcServerKind, authority: Authority) -> None:
    seen: list[object] = []

    async def look(request: bytes, context: Context) -> bytes:
        seen.append(context.peer_identity_key())
        return b""

    async def story() -> None:
        async with serving(kind, incoming(authority, asks=False), unary_unary(look)) as address:
            await call(address, authority, None)

    run(story())
    assert seen == [None]


def test_new_certificates_are_for_new_connections_and_the_old_one_goes_on(
    kind: RpcServerKind, authority: Authority, tmp_path: Path
) -> None:
    async def story() -> None:
        other = Authority(tmp_path / "other")
        tls = incoming(authority)
        async with (
            serving(kind, tls, unary_unary(echo)) as address,
            channel_to(address, authority, authority.issue("client")) as before,
        ):
            assert await before.unary_unary(METHOD)(b"1", timeout=CALL_SECONDS) == b"1"
            tls.certificates.current = Certificates(other.files("server")).current
            assert await is_refused(address, authority, authority.issue("client"))
            assert await call(address, other, other.issue("client")) == b"hello"
            assert await before.unary_unary(METHOD)(b"2", timeout=CALL_SECONDS) == b"2"

    run(story())
