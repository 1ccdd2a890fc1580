"""Who may import whom: the table of rooms in docs/architecture.md, held."""

import pytest

from tests.house.source import Import, all_imports, imports_in, module_name, room, sources

EVERYWHERE = {"", "__version__", "addresses", "config", "connecting", "errors", "features", "observability"}
"""What serves every room but the core."""

ROOMS: dict[str, set[str]] = {
    "raft": set(),
    "storage": {"raft"},
    "kv": {"storage", "raft"},
    "tls": set(),
    "transport": {"raft", "pb", "rpc", "http2", "tls"},
    "node": {"raft", "storage", "kv", "transport.interface"},
    "http1": {"tls", "web"},
    "http2": {"tls"},
    "rpc": {"http1", "http2", "tls", "web"},
    # Requests become commands here, so it knows their plain data besides.
    "server": {"node", "transport", "rpc", "web", "pb", "tls", "kv.command", "kv.users", "raft"},
    "web": {"http2", "tls"},
    "client": {"pb"},
    "cli": {"client", "server", "settings"},
    "__main__": {"cli"},
    "observability": set(),
    "addresses": set(),
    "config": {"settings"},
    "connecting": set(),
    "errors": set(),
    "features": set(),
    "settings": set(),
    # The shipped simulator puts any parts together. Nobody may import it.
    "testing": {"raft", "storage", "kv", "transport", "node", "rpc", "server", "client", "pb"},
}
"""Which other rooms a room may import; a dotted one means that module of it only."""

WIRING: dict[str, set[str]] = {
    "meteora.server.assembly": {"kv", "storage"},
    "meteora.server.new_cluster": {"kv", "storage"},
    "meteora.server.restoration": {"kv", "storage"},
    "meteora.server.verification": {"kv", "storage"},
}
"""What one module may import beyond its room: those that put the parts of a node, or of its disk, together."""

ENGINE = {"RawNode", "candidate", "core", "follower", "leader", "log", "progress", "raw_node", "reads"}
"""The moving parts of the core. Its other names are plain data, for those that may import it."""

CORE_LIBRARIES = {"bisect", "collections", "contextlib", "dataclasses", "enum", "struct", "typing", "zlib"}
"""What the core may import: nothing that knows a time, a chance, a thread, a file or a socket."""

LIBRARIES: dict[str, set[str]] = {
    "argon2": {"server"},
    "asyncio": {
        "cli",
        "client",
        "http1",
        "http2",
        "node",
        "rpc",
        "server",
        "storage",
        "testing",
        "tls",
        "transport",
        "web",
    },
    "click": {"cli"},
    "cryptography": {"tls"},
    "google": {"client", "rpc", "server", "transport"},
    "grpc": {"client", "rpc", "server", "transport"},
    "grpc_health": {"server"},
    "grpc_reflection": {"server"},
    "h11": {"http1"},
    "hpack": {"http2"},
    "logging": {"observability"},
    "prometheus_client": {"observability"},
    "rocksdict": {"storage"},
    "ssl": {"client", "tls"},
    "tomllib": {"cli"},
    "uvloop": {"cli", "server"},
}
"""The rooms that may know a library. One that isn't listed here is either the standard library's or not ours."""


def is_allowed(each: Import) -> bool:
    """Whether the table allows an import of one of our own modules."""
    importer, target = each.importing_room, each.target.removeprefix("meteora").removeprefix(".")
    if room(each.target) == importer:
        return True
    allowed = (
        ROOMS.get(importer, set()) | WIRING.get(each.module, set()) | (EVERYWHERE if importer != "raft" else set())
    )
    return any(target == name or (name and target.startswith(f"{name}.")) for name in allowed)


@pytest.mark.parametrize("importer", ROOMS)
def test_a_room_imports_only_the_rooms_that_it_may(importer: str) -> None:
    ours = [each for each in all_imports() if each.library == "meteora" and each.importing_room == importer]
    assert [str(each) for each in ours if not is_allowed(each)] == []


def test_every_room_is_in_the_table() -> None:
    assert {room(module_name(path)) for path in sources()} - {""} <= ROOMS.keys()


def test_the_core_imports_nothing_that_knows_the_world() -> None:
    core = [each for each in all_imports() if each.importing_room == "raft" and each.library != "meteora"]
    assert [str(each) for each in core if each.library not in CORE_LIBRARIES] == []


def test_only_the_node_drives_the_core() -> None:
    parts = [each for each in all_imports() if each.target.startswith("meteora.raft.")]
    users = [each for each in parts if each.target.split(".")[2] in ENGINE]
    assert [str(each) for each in users if each.importing_room not in {"raft", "node", "testing"}] == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_known_to_its_rooms_only(library: str) -> None:
    users = [each for each in all_imports() if each.library == library]
    assert [str(each) for each in users if each.importing_room not in LIBRARIES[library]] == []


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("meteora.raft.core", "import meteora.storage"),
        ("meteora.raft.core", "from meteora.errors import MeteoraError"),
        ("meteora.raft.core", "from meteora import config"),
        ("meteora.storage.log", "from meteora import node"),
        ("meteora.node.node", "from meteora.transport.link import Link"),
        ("meteora.cli", "from meteora.testing import Cluster"),
        ("meteora.server.kv_service", "from meteora.kv.state_machine import StateMachine"),
        ("meteora.kv.command", "def late():\n    import meteora.node.node"),
    ],
)
def test_the_table_refuses(module: str, statement: str) -> None:
    assert [is_allowed(each) for each in imports_in(module, statement)] == [False]


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("meteora.raft.core", "from meteora.raft.entry import Entry"),
        ("meteora.storage.log", "from meteora.errors import Corruption"),
        ("meteora.storage.log", "from meteora import raft"),
        ("meteora.node.node", "from meteora.transport.interface import Transport"),
        ("meteora.server.assembly", "from meteora.kv.state_machine import StateMachine"),
        ("meteora.cli", "from meteora import __version__"),
    ],
)
def test_the_table_allows(module: str, statement: str) -> None:
    assert [is_allowed(each) for each in imports_in(module, statement)] == [True]
