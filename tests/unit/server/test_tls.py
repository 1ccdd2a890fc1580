"""From the settings of a node to what it asks of others, and what it warns of."""

import logging
from pathlib import Path
from typing import Any

import pytest

from meteora.config import NodeConfig
from meteora.server.tls import open_tls
from tests.certificates import Authority

WARNING = "whoever has the certificate of a client can be a peer"


@pytest.mark.parametrize(
    ("changes", "is_told"),
    [
        ({}, True),
        ({"peer_allowed_names": ("node1",)}, False),
        ({"trusted_ca_file": None}, False),
        ({"trusted_ca_file": "theirs"}, False),
    ],
    ids=["one authority for all", "a list of names", "clients show nothing", "an authority of clients"],
)
def test_it_is_told_if_clients_can_be_peers(
    tmp_path: Path, changes: dict[str, Any], is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    authority, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    pair = authority.issue("node")
    settings: dict[str, Any] = {
        "cert_file": pair.cert,
        "key_file": pair.key,
        "trusted_ca_file": authority.ca,
        "peer_cert_file": pair.cert,
        "peer_key_file": pair.key,
        "peer_trusted_ca_file": authority.ca,
        **changes,
    }
    if settings["trusted_ca_file"] == "theirs":
        settings["trusted_ca_file"] = theirs.ca
    with caplog.at_level(logging.WARNING, logger="meteora"):
        open_tls(NodeConfig(**settings), tmp_path)
    assert any(WARNING in record.getMessage() for record in caplog.records) is is_told
