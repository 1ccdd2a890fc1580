"""What all commands share that talk to a cluster: the options that say which, and how they write their result."""

import asyncio
import functools
import os
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

from meteora.cli.exit_status import BROKEN_PIPE
from meteora.cli.parameters import seconds

if TYPE_CHECKING:
    from meteora.client import AsyncClient, Client

Arguments = ParamSpec("Arguments")


def with_client(command: "Callable[Concatenate[Client, Arguments], int]") -> Callable[..., int]:
    """Gives `command` the options that say which cluster to talk to, and a client of it as its first argument."""

    @_of_cluster
    @functools.wraps(command)
    def connected(
        endpoints: str, timeout_seconds: float, *arguments: Arguments.args, **options: Arguments.kwargs
    ) -> int:
        _quieten_grpc()
        from meteora.client import Client  # noqa: PLC0415  gRPC takes longer to load than all the rest

        with Client(endpoints, timeout_seconds=timeout_seconds) as client:
            return command(client, *arguments, **options)

    return connected


def with_async_client(
    command: "Callable[Concatenate[AsyncClient, Arguments], Coroutine[Any, Any, int]]",
) -> Callable[..., int]:
    """As `with_client`, for a command that has many requests under way."""

    @_of_cluster
    @functools.wraps(command)
    def connected(
        endpoints: str, timeout_seconds: float, *arguments: Arguments.args, **options: Arguments.kwargs
    ) -> int:
        _quieten_grpc()
        from meteora.client import AsyncClient  # noqa: PLC0415  likewise

        async def run() -> int:
            async with AsyncClient(endpoints, timeout_seconds=timeout_seconds) as client:
                return await command(client, *arguments, **options)

        return asyncio.run(run())

    return connected


def _of_cluster(command: Callable[..., int]) -> Callable[..., int]:
    """The options that say which cluster to talk to."""
    address = click.option(
        "-a",
        "--address",
        "endpoints",
        metavar="HOST:PORT[,...]",
        default="127.0.0.1:5000",
        envvar="METEORA_ENDPOINTS",
        show_default=True,
        show_envvar=True,
        help="KV address of any node, or of several with commas between.",
    )
    timeout = click.option(
        "--timeout",
        "timeout_seconds",
        metavar="SECONDS",
        type=seconds,
        default=5.0,
        show_default=True,
        help="How long to try, at all nodes together.",
    )
    return address(timeout(command))


def _quieten_grpc() -> None:
    """GRPC's own log is no part of what these commands say. Before the library is loaded, which reads this."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def write_output(data: bytes) -> None:
    """Writes exactly `data` to stdout, and sees to it that it has arrived there."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        # What is still buffered must not fail again when the interpreter exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise click.exceptions.Exit(BROKEN_PIPE) from None
        raise click.ClickException(f"can't write to standard output: {error.strerror}") from error


def write_line(line: str) -> None:
    """Writes one line of text to stdout."""
    write_output(f"{line}\n".encode())
