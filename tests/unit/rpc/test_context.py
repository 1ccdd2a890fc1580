import asyncio
import inspect

import grpc
import pytest

from meteora.http2 import Route, ServerStream
from meteora.http2.server import Known
from meteora.rpc.context import CallContext
from meteora.rpc.method import method_of


async def answer(request: bytes, context: object) -> bytes:
    return request


class Connection:
    """Knows nothing but who is at its other end."""

    def __init__(self, peer: tuple[str, int] | None) -> None:
        self.peer = peer


def context_of(peer: tuple[str, int] | None = None) -> CallContext:
    """The context of a call that has not begun."""
    method = method_of("/path", grpc.unary_unary_rpc_method_handler(answer))
    loop = asyncio.new_event_loop()
    loop.close()
    known = Known(Route(lambda _: None), content_length=None)
    stream = ServerStream(Connection(peer), 1, 0, known)  # type: ignore[arg-type]  all that the context asks it for
    return CallContext(method, stream, [], max_message_bytes=100, running=set(), loop=loop)


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
    assert context_of().auth_context() == {}


def test_nothing_is_set_at_first() -> None:
    context = context_of()
    assert (context.code(), context.details(), context.trailing_metadata()) == (None, "", ())
