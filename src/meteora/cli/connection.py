"""What all commands share that talk to a cluster: the options that say which, and how they write their result."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec

import click

from meteora.cli.exit_status import BROKEN_PIPE
from meteora.cli.parameters import seconds

if TYPE_CHECKING:
    from meteora.client import Client

Arguments = ParamSpec("Arguments")

_TLS_OPTIONS: Final = ("ca_file", "cert_file", "key_file", "server_name")
"""Parameters of the commands that are a `TlsConfig` together."""


def _tls_option(name: str, parameter: str, meaning: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    return click.option(
        name,
        parameter,
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar=f"METEORA_{name.removeprefix('--').upper()}",
        help=meaning,
    )


def with_client(command: "Callable[Concatenate[Client, Arguments], int]") -> Callable[..., int]:
    """Gives `command` the options that say which cluster to talk to, and a client of it as its first argument."""

    @click.option(
        "-a",
        "--address",
        "endpoints",
        metavar="HOST:PORT[,...]",
        default="127.0.0.1:5000",
        envvar="METEORA_ENDPOINTS",
        show_default=True,
        show_envvar=True,
        help="KV address of any node, or of several with commas between; by TLS after https://.",
    )
    @_tls_option("--cacert", "ca_file", "The CA that the nodes' certificates are signed by; this asks for TLS.")
    @_tls_option("--cert", "cert_file", "The certificate to show to nodes that ask for one.")
    @_tls_option("--key", "key_file", "The key of that certificate.")
    @click.option(
        "--server-name",
        metavar="NAME",
        envvar="METEORA_SERVER_NAME",
        help="The name that the nodes' certificates bear, if that is not the host in their address.",
    )
    @click.option(
        "--timeout",
        "timeout_seconds",
        metavar="SECONDS",
        type=seconds,
        default=5.0,
        show_default=True,
        help="How long to try, at all nodes together.",
    )
    @functools.wraps(command)
    def connected(*arguments: Any, **options: Any) -> int:
        # gRPC's own log is no part of what these commands say. It is read when the library is loaded.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from meteora.client import Client, TlsConfig  # noqa: PLC0415  gRPC takes longer to load than all the rest

        tls = TlsConfig(**{name: options.pop(name) for name in _TLS_OPTIONS})
        settings = {name: options.pop(name) for name in ("endpoints", "timeout_seconds")}
        with Client(**settings, tls=None if tls == TlsConfig() else tls) as client:
            return command(client, *arguments, **options)

    return connected


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
