import asyncio
import inspect

import grpc
import pytest

from meteora.http2 import Route, ServerStream
from meteora.http2.server import Known
from meteora.rpc.admission import Admission
from meteora.rpc.context import CallContext
from meteora.rpc.method import method_of
from meteora.tls import PeerCertificate


async def answer(request: bytes, context: object) -> bytes:
    return request


class Connection:
    """Knows nothing but who is at its other end."""

    def __init__(self, peer: tuple[str, int] | None, certificate: PeerCertificate | None) -> None:
        self.peer = peer
        self.certificate = certificate


def context_of(peer: tuple[str, int] | None = None, certificate: PeerCertificate | None = None) -> CallContext:
    """The context of a call that has not begun."""
    method = method_of("/path", grpc.unary_unary_rpc_method_handler(answer))
    loop = asyncio.new_event_loop()
    loop.close()
    known = Known(Route(lambda _: None), content_length=None)
    stream = ServerStream(Connection(peer, certificate), 1, 0, known)  # type: ignore[arg-type]  all that the context asks it for
    return CallContext(method, stream, [], max_message_bytes=100, running=set(), admission=Admission([]), loop=loop)


@pytest.mark.parametrize("name", [name for name in vars(grpc.aio.ServicerContext) if not name.startswith("_")])
def test_everything_is_there_that_grpcio_promises_to_handlers(name: str) -> None:
    theirs, ours = getattr(grpc.aio.ServicerContext, name), getattr(CallContext, name)
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs)
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


def test_a_context_is_one_to_who_asks() -> None:
    assert isinstance(context_of(), grpc.aio.ServicerContext)


@pytest.mark.parametrize(
    ("client", "peer"),
    [
        (("127.0.0.1", 5000), "ipv4:127.0.0.1:5000"),
        (("::1", 5000), "ipv6:%5B::1%5D:5000"),
        (None, "unknown:"),
    ],
)
def test_a_peer_is_written_as_grpcio_does(client: tuple[str, int] | None, peer: str) -> None:
    assert context_of(client).peer() == peer


def test_a_call_that_runs_is_not_done() -> None:
    assert not context_of().done()


def test_without_credentials_nobody_is_known() -> None:
    context = context_of()
    assert (context.auth_context(), context.peer_identity_key(), context.peer_identities()) == ({}, None, None)


def test_who_has_shown_a_certificate_is_known_by_what_is_in_it() -> None:
    context = context_of(certificate=PeerCertificate("alice", ("a.example", "10.0.0.1")))
    assert context.auth_context() == {
        "x509_common_name": [b"alice"],
        "x509_subject_alternative_name": [b"a.example", b"10.0.0.1"],
    }
    assert context.peer_identity_key() == "x509_subject_alternative_name"
    assert context.peer_identities() == [b"a.example", b"10.0.0.1"]


def test_who_has_a_common_name_only_is_known_by_that() -> None:
    context = context_of(certificate=PeerCertificate("alice", ()))
    assert (context.peer_identity_key(), context.peer_identities()) == ("x509_common_name", [b"alice"])


def test_nothing_is_set_at_first() -> None:
    context = context_of()
    assert (context.code(), context.details(), context.trailing_metadata()) == (None, "", ())
