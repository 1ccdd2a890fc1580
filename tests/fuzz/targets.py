"""All that is fuzzed, by name: functions of bytes that raise only on a bug.

A new one is a function in the file of its room, and a line here; its name is that of its corpus.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Final

Target = Callable[[bytes], None]

TARGETS: Final[dict[str, str]] = {
    "http2-server": "http2_targets.http2_server",
    "http2-server-frames": "http2_targets.http2_server_frames",
    "http2-client": "http2_targets.http2_client",
    "http2-client-frames": "http2_targets.http2_client_frames",
    "hpack": "http2_targets.hpack",
    "framing": "rpc_targets.framing",
    "metadata": "rpc_targets.metadata",
    "rpc-host": "rpc_targets.rpc_host",
    "http1": "http_targets.http1",
    "tls-server": "tls_targets.tls_server",
    "tls-client": "tls_targets.tls_client",
    "services": "service_targets.services",
    "connect": "service_targets.connect",
    "gate": "service_targets.gate",
    "peer-join": "service_targets.peer_join",
    "peer-bytes": "peer_targets.peer_bytes",
    "peer-exchange": "peer_targets.peer_exchange",
    "peer-snapshot": "peer_targets.peer_snapshot",
    "raft-core": "peer_targets.raft_core",
    "raft-records": "storage_targets.raft_records_",
    "raft-directory": "storage_targets.raft_directory",
    "users": "state_targets.users",
    "state-records": "state_targets.state_records",
    "state-directory": "state_targets.state_directory",
    "snapshot-files": "state_targets.snapshot_files_",
    "small-files": "storage_targets.small_files",
    "manifest": "storage_targets.manifest",
    "backup-file": "storage_targets.backup_file",
    "command-batch": "storage_targets.command_batch",
    "addresses": "text_targets.addresses",
    "config-file": "text_targets.config_file",
    "json-lines": "text_targets.json_lines",
    "command-line": "text_targets.command_line",
}
"""Module and function: a target is imported, and instrumented, with what it needs, and not with what all need."""


def target_of(name: str) -> Target:
    """The target with this name."""
    module, _, function = TARGETS[name].partition(".")
    target: Target = getattr(import_module(f"tests.fuzz.{module}"), function)
    return target
