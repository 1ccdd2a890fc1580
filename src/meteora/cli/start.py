"""The command that runs a node. Every option can be set in the environment, too, as METEORA_ and its long name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from meteora.cli.exit_status import SUCCESS
from meteora.cli.help_text import examples
from meteora.cli.parameters import Switch, names, node_id, port, request_bytes, seconds
from meteora.config import LogFormat, LogLevel, NodeConfig, RpcServerKind
from meteora.observability.logs import quieten_grpc

_Function = TypeVar("_Function", bound=Callable[..., Any])

_DEFAULTS = NodeConfig()

_FILE = click.Path(path_type=Path, dir_okay=False)


def _option(*names: str, **attributes: Any) -> Callable[[_Function], _Function]:
    """An option of a node: also set by METEORA_ and its long name, and by default what `NodeConfig` says."""
    long_name = next(name for name in names if name.startswith("--"))
    field = names[-1] if names[-1].isidentifier() else long_name.removeprefix("--").replace("-", "_")
    default = getattr(_DEFAULTS, field)
    return click.option(
        *names,
        envvar=f"METEORA_{long_name.removeprefix('--').replace('-', '_').upper()}",
        default=default,
        show_default=default not in (None, False, ()),
        **attributes,
    )


def _choice(values: Any) -> "click.Choice[str]":
    return click.Choice(get_args(values))


@click.command(
    epilog=examples(
        "meteora start",
        "meteora start -i 1 -r 7001 -k 5001 -d /tmp/meteora/1",
        "meteora start -i 2 -r 7002 -k 5002 -d /tmp/meteora/2 -p 0.0.0.0:7001",
        "METEORA_ID=3 METEORA_PEER_RAFT_ADDRESS=10.0.0.1:7000 meteora start",
    )
)
@_option("-i", "--id", "node_id", metavar="ID", type=node_id, help="This node's number, its own in the cluster.")
@_option("-a", "--address", metavar="HOST", help="Host to listen on.")
@_option("-r", "--raft-port", metavar="PORT", type=port, help="Port that other nodes connect to.")
@_option("-k", "--kv-port", metavar="PORT", type=port, help="Port that clients connect to.")
@_option(
    "-d",
    "--data-directory",
    metavar="DIRECTORY",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where this node keeps its data; made if it is not there.",
)
@_option(
    "-p",
    "--peer-raft-address",
    metavar="HOST:PORT",
    help="Raft address of any member of the cluster to join. Ignored once this node has joined.",
)
@_option(
    "-l",
    "--enable-auto-leaving",
    is_flag=True,
    type=Switch(),
    help="Leave the cluster when stopped by SIGINT or SIGTERM.",
)
@_option(
    "--advertise-address", metavar="HOST", help="Host that the other nodes and clients are told.  [default: --address]"
)
@_option(
    "--no-forward",
    is_flag=True,
    type=Switch(),
    help="Answer WRONG_LEADER instead of passing requests on to the leader.",
)
@_option(
    "--lease-reads",
    is_flag=True,
    type=Switch(),
    help="Serve reads without asking a majority each time, for half a second after one has answered the leader. On all "
    "members or none. Only where clocks can be trusted: were a member's to run nearly twice as fast as the leader's, "
    "reads could be old.",
)
@_option(
    "--snapshot-catchup-entries",
    metavar="COUNT",
    type=click.IntRange(min=0),
    help="Applied log entries that are kept for slow nodes; who lacks more gets a snapshot.",
)
@_option("--max-request-bytes", metavar="BYTES", type=request_bytes, help="Longest value that is taken.")
@_option(
    "--request-timeout-seconds",
    metavar="SECONDS",
    type=seconds,
    help="How long a request waits for its answer at most; less if its own deadline comes sooner.",
)
@_option(
    "--cert-file",
    metavar="FILE",
    type=_FILE,
    help="The KV port's certificate, in PEM: with it, the port speaks TLS only.",
)
@_option("--key-file", metavar="FILE", type=_FILE, help="The key of that certificate.")
@_option(
    "--trusted-ca-file",
    metavar="FILE",
    type=_FILE,
    help="The CA that clients' certificates are signed by: with it, they must show one.",
)
@_option(
    "--client-cert-auth", is_flag=True, type=Switch(), help="Clients must show a certificate; needs --trusted-ca-file."
)
@_option(
    "--auto-tls",
    is_flag=True,
    type=Switch(),
    help="TLS on the KV port with a certificate that is made in the data directory: for a first try.",
)
@_option("--peer-cert-file", metavar="FILE", type=_FILE, help="The certificate that this node shows its peers.")
@_option("--peer-key-file", metavar="FILE", type=_FILE, help="The key of that certificate.")
@_option(
    "--peer-trusted-ca-file",
    metavar="FILE",
    type=_FILE,
    help="The CA that peers' certificates are signed by, and must be.",
)
@_option(
    "--peer-client-cert-auth",
    is_flag=True,
    type=Switch(),
    help="Peers must show a certificate. With --peer-trusted-ca-file they must anyway.",
)
@_option(
    "--peer-allowed-names",
    metavar="NAME[,...]",
    type=names,
    help="Names of which the certificate of each peer must bear one, as its CN or in its SAN.",
)
@_option(
    "--peer-auto-tls",
    is_flag=True,
    type=Switch(),
    help="TLS between peers with certificates that nobody checks: for a first try.",
)
@_option("--rpc-server", type=_choice(RpcServerKind), help="What serves gRPC to clients.")
@_option("--log-format", type=_choice(LogFormat), help="Log lines for people, or for programs.")
@_option("--log-level", type=_choice(LogLevel), help="The least of what is logged.")
def start(**options: Any) -> int:
    """Run a node until SIGINT or SIGTERM.

    Without --peer-raft-address, a node in an empty directory is a cluster of its own. A node that was started before
    goes on from its data directory.

    Every option can be set in the environment, too: METEORA_ and its long name, as in METEORA_RAFT_PORT.
    """
    # Loading the server takes longer than all that a client's command does; what makes no sense is refused before.
    from meteora.cli.node_settings import checked  # noqa: PLC0415

    config = checked(NodeConfig(**options))
    quieten_grpc()
    from meteora.server import run  # noqa: PLC0415

    run(config)
    return SUCCESS
