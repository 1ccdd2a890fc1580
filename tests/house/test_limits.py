"""Every number in docs/limits.md is that of the constant that holds it, and every row has one."""

import re
from typing import Final

import pytest

from meteora.config import DEFAULT_MAX_REQUEST_BYTES, HIGHEST_MAX_REQUEST_BYTES, MAX_KEY_BYTES, NodeConfig
from meteora.http1 import connection as http1
from meteora.http2 import connection, headers, server, stream
from meteora.http2.bounds import STALE_SECONDS
from meteora.node import forwarded, node, reads, room, room_upkeep, writes
from meteora.rpc import admission
from meteora.server import assembly, batch, file_handles, passwords, requests
from meteora.storage import raft_log
from meteora.storage.rocks import KEY_VALUE, RAFT_LOG
from meteora.tls import incoming, layer
from meteora.transport import queue
from meteora.web import application
from tests.house.source import ROOT

PAGE: Final = (ROOT / "docs" / "limits.md").read_text()
DEFAULTS: Final = NodeConfig()
MEBIBYTE: Final = 1 << 20

IN_MEMORY: Final = (
    KEY_VALUE.memtable_bytes * KEY_VALUE.memtable_count + RAFT_LOG.memtable_bytes * RAFT_LOG.memtable_count
)
SHORT_KEYS: Final = reads.MAX_PENDING_READS * reads.LONG_KEY_BYTES
KNOWN_BYTES: Final = 3_328
"""Of a block of headers that is remembered, as measured."""
TLS_BYTES: Final = 80 << 10
"""Of OpenSSL's for a connection, as measured: 33 KB when it is open, and this once much has gone both ways."""


def size(count: int) -> str:
    """As the page writes it."""
    if count >= 1 << 30:
        return f"{count >> 30} GiB"
    return f"{count // MEBIBYTE} MiB" if count >= MEBIBYTE else f"{count >> 10} KiB"


def number(count: int) -> str:
    return f"{count:,}"


ROWS: Final[dict[str, list[str]]] = {
    "a key": [f"1 to {number(MAX_KEY_BYTES)} bytes"],
    "a value": [f"{number(DEFAULT_MAX_REQUEST_BYTES)} bytes", number(HIGHEST_MAX_REQUEST_BYTES)],
    "operations in one `Batch`": [number(requests.MAX_BATCH_OPERATIONS)],
    "values in the reply to one `Batch`": [size(batch.MAX_REPLY_VALUE_BYTES)],
    "headers of a call": [size(headers.MAX_HEADERS_BYTES)],
    "a call, over all of it": [f"{DEFAULTS.request_timeout_seconds:g} s"],
    "calls at a time": [number(server.MAX_STREAMS)],
    "calls that are given up, and frames with nothing in them": [number(server.MAX_RESETS), "ten seconds"],
    "sent by the client and not read by the node": [
        size(connection.CONNECTION_WINDOW_BYTES),
        size(stream.STREAM_WINDOW_BYTES),
    ],
    "one frame": [size(connection.MAX_FRAME_BYTES)],
    "answers to pings, settings and the like that the client does not read": [
        number(connection.MAX_CONTROL_FRAMES),
        size(connection.MAX_CONTROL_BYTES),
    ],
    "answers of TLS itself (to updates of its keys) that the client does not read": [size(layer.MAX_UNREAD_BYTES)],
    "until the client has said that it speaks HTTP/2": [f"{server.OPENING_SECONDS:g} s"],
    "connections to the KV port": [f"({number(DEFAULTS.max_connections)})"],
    "connections to the Raft port": [number(assembly.RAFT_BOUNDS.max_connections)],
    "connections to the port of `--metrics-address`": [number(assembly.METRICS_BOUNDS.max_connections)],
    "requests on the KV port": [f"({number(DEFAULTS.max_concurrent_requests)})"],
    "health and status on the KV port, beside those": [number(server.RESERVED_REQUESTS)],
    "requests on the Raft port": [number(assembly.RAFT_BOUNDS.max_requests)],
    "memory for requests that have not come whole, and for answers that are not read": [
        f"({size(DEFAULTS.max_buffered_bytes)})",
        f"{size(assembly.RAFT_BOUNDS.max_held_bytes)} on the Raft port",
        f"{size(assembly.METRICS_BOUNDS.max_held_bytes)} on that of `--metrics-address`",
    ],
    f"long requests that are being served, above {size(admission.LONG_BYTES)}": [size(admission.MAX_BYTES)],
    "writes that wait to be replicated": [number(writes.MAX_PENDING_WRITES), size(writes.MAX_PENDING_BYTES)],
    "reads that wait": [
        number(reads.MAX_PENDING_READS),
        size(reads.MAX_LONG_KEYS_BYTES),
        f"{number(reads.LONG_KEY_BYTES)} bytes",
    ],
    "values that are read from the disk together": [size(assembly.READ_BYTES)],
    "handshakes of TLS at a time": [number(incoming.MAX_HANDSHAKES), f"{layer.HANDSHAKE_SECONDS:g} s"],
    "logins that wait for the check of a password": [number(passwords.MAX_WAITING)],
    "backups and exports at a time": ["1"],
    "RocksDB: what is not yet in tables, of the state and of the log": [size(IN_MEMORY)],
    "RocksDB: caches": [size(KEY_VALUE.block_cache_bytes + RAFT_LOG.block_cache_bytes)],
    "newest entries of the log": [size(raft_log.DEFAULT_CACHE_BYTES)],
    "writes that wait, forwarded ones, and committed ones that can't be applied yet": [
        size(writes.MAX_PENDING_BYTES + forwarded.MAX_FORWARDED_BYTES + node.MAX_UNAPPLIED_BYTES)
    ],
    "keys that wait to be read": [size(reads.MAX_LONG_KEYS_BYTES + SHORT_KEYS)],
    "values that were read, and are being answered": [size(2 * assembly.READ_BYTES)],
    "what waits to be sent, for each peer": [size(queue.MAX_QUEUED_BYTES)],
    "what comes in on the Raft port": [size(assembly.RAFT_BOUNDS.max_held_bytes)],
    "what is kept for clients, `--max-buffered-bytes`": [size(DEFAULTS.max_buffered_bytes)],
    "long requests that are being served, as bytes and as what they mean": [size(2 * admission.MAX_BYTES)],
    f"headers that are remembered, {number(server.MAX_KNOWN)} on all connections": [
        size(server.MAX_KNOWN * KNOWN_BYTES)
    ],
    "plain HTTP: bodies that come in, and what clients send ahead": [
        size(application.MAX_BODIES_BYTES + http1.MAX_CONNECTIONS * http1.MAX_AHEAD_BYTES)
    ],
    "the port of `--metrics-address`: answers that are not read, and what clients send ahead": [
        size(assembly.METRICS_BOUNDS.max_held_bytes + assembly.METRICS_BOUNDS.max_connections * http1.MAX_AHEAD_BYTES)
    ],
    "connections: 6 KiB for each, a short frame that is not whole, and as much that is not read": [
        size(DEFAULTS.max_connections * ((6 << 10) + connection.LONG_FRAME_BYTES + connection.UNREAD_BYTES))
    ],
    f"TLS: {size(TLS_BYTES)} for each connection, and answers of its own that are not read": [
        size(DEFAULTS.max_connections * (TLS_BYTES + layer.MAX_UNREAD_BYTES))
    ],
    "requests: 4 KiB for each": [size(DEFAULTS.max_concurrent_requests * (4 << 10))],
    f"quota, `--quota-bytes` ({size(DEFAULTS.quota_bytes)}; 0: none)": [],
    "free space, `--min-free-bytes` (a twentieth of the disk, from "
    f"{size(room.LEAST_FREE_BYTES)} to {size(room.MOST_FREE_BYTES)}, at most a quarter of it; 0: not looked at)": [],
}
"""By the first cell of a row: what stands in the second."""

SENTENCES: Final = [
    f"they take at most {room.QUOTA_CLEARED_AT * 100:g} % of it",
    f"From {room.RECLAIM_FROM * 100:g} % of the quota on",
    f"{number(file_handles.RESERVED_HANDLES)} of them",
]

IN_WORDS: Final = [
    ("What a node said is forgotten ten seconds after it was last heard", room.FORGOTTEN_SECONDS == 10),
    ("Each node looks once a second", room.LOOK_SECONDS == 1),
    ("a quarter more than that is free", room.DISK_CLEARED_AT == 1.25),
    ("at most a quarter of it", room.SMALL_DISK_SHARE == 4),
    ("for more than five seconds", STALE_SECONDS == 5),
    ("a tenth of the time", room_upkeep.RECLAIM_IDLE == 9),
    ("4,096 in ten seconds", server.RESETS_SECONDS == 10),
]


def rows() -> dict[str, str]:
    """The second cells of all tables, by the first."""
    lines = [line.strip("|").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line] for line in lines]
    return {line[0]: line[1] for line in cells if line[0] not in {"what", "|", ""}}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_the_numbers_of_its_constants(row: str) -> None:
    second = rows()[row]
    assert [each for each in ROWS[row] if not re.search(rf"(?<![\d,]){re.escape(each)}(?![\d,]*\d)", second)] == []


def test_every_row_is_checked() -> None:
    assert rows().keys() == ROWS.keys()


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_has_the_number_of_its_constant(sentence: str) -> None:
    assert sentence in PAGE


@pytest.mark.parametrize(("words", "is_true"), IN_WORDS)
def test_what_is_said_in_words_is_what_the_constant_says(words: str, is_true: bool) -> None:
    assert (words in PAGE, is_true) == (True, True)
