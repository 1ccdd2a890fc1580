"""The command that runs a node. Its options are the settings that `NodeConfig` declares."""

import os
from typing import Any

import click

from meteora.cli.environment import warnings_of
from meteora.cli.exit_status import SUCCESS
from meteora.cli.help_text import examples
from meteora.cli.node_options import node_config, with_node_options
from meteora.observability.logs import quieten_grpc


@click.command(
    epilog=examples(
        "meteora start",
        "meteora start -i 1 -r 7001 -k 5001 -d /tmp/meteora/1",
        "meteora start -i 2 -r 7002 -k 5002 -d /tmp/meteora/2 -p 0.0.0.0:7001",
        "meteora start --config /etc/meteora.toml",
        "METEORA_ID=3 METEORA_PEER_RAFT_ADDRESS=10.0.0.1:7000 meteora start",
    )
)
@with_node_options
@click.pass_context
def start(context: click.Context, /, **_options: Any) -> int:
    """Run a node until SIGINT or SIGTERM.

    Without --peer-raft-address and --initial-cluster, a node in an empty directory is a cluster of its own. A node that
    was started before goes on from its data directory.

    Every option can be set in the environment, too: METEORA_ and its long name, as in METEORA_RAFT_PORT. Or in a TOML
    file that --config names: raft-port = 7001. Options win over the environment, and that over the file.
    """
    config = node_config(context)
    quieten_grpc()
    # Loading the server takes longer than all that a client's command does; what makes no sense is refused before.
    from meteora.server import run  # noqa: PLC0415

    run(config, tuple(warnings_of(os.environ)))
    return SUCCESS
