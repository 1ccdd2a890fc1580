import socket

import pytest

from meteora.errors import AddressInUse
from meteora.rpc.listener import address_of, bind, listen

HOST = "127.0.0.1"


def test_port_0_is_any_free_port() -> None:
    with bind(HOST, 0) as listener:
        assert listener.getsockname()[1] > 0


def test_nothing_listens_on_a_port_that_is_only_bound() -> None:
    with bind(HOST, 0) as listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.getsockname())


def test_clients_can_connect_to_a_port_that_is_listened_on() -> None:
    with bind(HOST, 0) as listener:
        listen(listener, *listener.getsockname())
        with socket.create_connection(listener.getsockname()):
            pass


def test_a_port_is_never_shared() -> None:
    with bind(HOST, 0) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0


def test_a_port_that_somebody_listens_on_is_an_error() -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AddressInUse, match=f"can't listen on {HOST}:{port}: it is in use by another process"):
            bind(HOST, port)


def test_of_two_who_bound_a_port_only_the_first_can_listen() -> None:
    with bind(HOST, 0) as first:
        port = first.getsockname()[1]
        with bind(HOST, port) as second:
            listen(first, HOST, port)
            with pytest.raises(AddressInUse, match="it is in use by another process"):
                listen(second, HOST, port)


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
def test_an_address_of_another_host_is_an_error(host: str) -> None:
    with pytest.raises(AddressInUse, match="it is no address of this host"):
        bind(host, 0)


def test_connections_of_clients_that_lost_their_power_are_found() -> None:
    with bind(HOST, 0) as listener:
        listen(listener, *listener.getsockname())
        with socket.create_connection(listener.getsockname()):
            listener.setblocking(True)
            connection, _ = listener.accept()
            with connection:
                assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


@pytest.mark.parametrize(("host", "address"), [(HOST, "127.0.0.1:5000"), ("::1", "[::1]:5000"), ("node", "node:5000")])
def test_an_address_can_be_written_down(host: str, address: str) -> None:
    assert address_of(host, 5000) == address
