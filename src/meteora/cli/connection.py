"""What all commands share that talk to a cluster: the options that say which, and how they write their result."""

import asyncio
import functools
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec

import click

from meteora.cli.exit_status import BROKEN_PIPE
from meteora.cli.parameters import seconds

if TYPE_CHECKING:
    from meteora.client import AsyncClient, Client

Arguments = ParamSpec("Arguments")

_CLIENT_SETTINGS: Final = ("endpoints", "timeout_seconds", "username", "password")
"""What of the options of a command is for its client."""

_TLS_OPTIONS: Final = ("ca_file", "cert_file", "key_file", "server_name")
"""Parameters of the commands that are a `TlsConfig` together."""


_NAME_ALONE: Final = (
    "--user takes a name alone: other processes can read a password in a command line, so it comes from "
    "--password-file or METEORA_PASSWORD, or you are asked. The one that was given is better changed."
)


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

    @_of_cluster
    @functools.wraps(command)
    def connected(*arguments: Any, **options: Any) -> int:
        _quieten_grpc()
        from meteora.client import Client  # noqa: PLC0415  gRPC takes longer to load than all the rest

        with Client(**_client_settings(options)) as client:
            return command(client, *arguments, **options)

    return connected


def with_async_client(
    command: "Callable[Concatenate[AsyncClient, Arguments], Coroutine[Any, Any, int]]",
) -> Callable[..., int]:
    """As `with_client`, for a command that has many requests under way."""

    @_of_cluster
    @functools.wraps(command)
    def connected(*arguments: Any, **options: Any) -> int:
        _quieten_grpc()
        from meteora.client import AsyncClient  # noqa: PLC0415  likewise

        settings = _client_settings(options)

        async def run() -> int:
            async with AsyncClient(**settings) as client:
                return await command(client, *arguments, **options)

        return asyncio.run(run())

    return connected


def _client_settings(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a client, taken out of the options of a command."""
    from meteora.client import TlsConfig  # noqa: PLC0415  likewise

    tls = TlsConfig(**{name: options.pop(name) for name in _TLS_OPTIONS})
    settings = {name: options.pop(name) for name in _CLIENT_SETTINGS}
    return {**settings, "tls": None if tls == TlsConfig() else tls}


def _of_cluster(command: Callable[..., int]) -> Callable[..., int]:
    """The options that say which cluster to talk to, with the password that is meant by them."""

    @with_options_of_client
    @functools.wraps(command)
    def with_password(username: str | None, password_file: Path | None, **options: Any) -> int:
        if username is not None and ":" in username:
            # As etcdctl takes it. What comes after the colon is not repeated: this may be kept somewhere.
            raise click.UsageError(_NAME_ALONE)
        password = None if username is None else _password_of(username, password_file)
        return command(username=username, password=password, **options)

    return with_password


def with_options_of_client(command: Callable[..., int]) -> Callable[..., int]:
    """Gives `command` the options of one made by `with_client`, as they are: it may call that, or do without it."""
    address = click.option(
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
    server_name = click.option(
        "--server-name",
        metavar="NAME",
        envvar="METEORA_SERVER_NAME",
        help="The name that the nodes' certificates bear, if that is not the host in their address.",
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
    user = click.option(
        "--user",
        "username",
        metavar="NAME",
        envvar="METEORA_USER",
        help="Who you are, if users are enabled. You are asked for the password, unless METEORA_PASSWORD has it.",
    )
    password_file = click.option(
        "--password-file",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
        envvar="METEORA_PASSWORD_FILE",
        help="The first line of it is the password of that user; - is stdin.",
    )

    tls = (
        _tls_option("--cacert", "ca_file", "The CA that the nodes' certificates are signed by; this asks for TLS."),
        _tls_option("--cert", "cert_file", "The certificate to show to nodes that ask for one."),
        _tls_option("--key", "key_file", "The key of that certificate."),
    )
    for option in reversed((address, *tls, server_name, timeout, user, password_file)):
        command = option(command)
    return command


def _quieten_grpc() -> None:
    """GRPC's own log is no part of what these commands say. Before the library is loaded, which reads this."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def _password_of(username: str, file: Path | None) -> str:
    if file is not None:
        return read_password(file)
    return os.environ.get("METEORA_PASSWORD") or asked_for(f"Password of {username}")


def read_password(file: Path) -> str:
    """The first line of a file, or of stdin, which is -."""
    try:
        text = sys.stdin.readline() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"no password can be read from {file}: {error}") from error
    password = text.partition("\n")[0]
    if not password:
        raise click.ClickException(f"there is no password in the first line of {file}")
    return password


def asked_for(what: str) -> str:
    """A password that is typed, and not shown; where there is no terminal, the next line of stdin."""
    if _is_terminal_there():
        return str(click.prompt(what, hide_input=True, err=True))
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        # An empty line is a script's variable that is not set.
        raise click.UsageError("there is nobody to ask for the password, and none comes by stdin: give it in a file")
    return password


def _is_terminal_there() -> bool:
    try:
        # Also while stdin is something else.
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return sys.stdin.isatty()
    return True


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
