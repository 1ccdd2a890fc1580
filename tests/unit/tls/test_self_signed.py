import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from meteora.tls import self_signed
from meteora.tls.self_signed import RENEWAL, self_signed_files

HOSTS = ("localhost", "127.0.0.1", "node.example")


def names_in(cert: Path) -> set[str]:
    found = x509.load_pem_x509_certificate(cert.read_bytes())
    return {str(each.value) for each in found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value}


def test_it_bears_the_hosts(tmp_path: Path) -> None:
    cert, _ = self_signed_files(tmp_path / "new", "kv", HOSTS)
    assert names_in(cert) == set(HOSTS)


def test_a_host_whose_name_can_not_be_in_a_certificate_is_left_out(tmp_path: Path) -> None:
    cert, _ = self_signed_files(tmp_path, "kv", ("localhost", "", "m\u00fcnchen"))
    assert names_in(cert) == {"localhost"}


def test_key_and_certificate_fit_one_another(tmp_path: Path) -> None:
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self_signed_files(tmp_path, "kv", HOSTS))


def test_only_its_owner_can_read_the_key(tmp_path: Path) -> None:
    _, key = self_signed_files(tmp_path, "kv", HOSTS)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_one_that_is_there_is_used_again(tmp_path: Path) -> None:
    cert, _ = self_signed_files(tmp_path, "kv", HOSTS)
    before = cert.read_bytes()
    self_signed_files(tmp_path, "kv", HOSTS[:2])
    assert cert.read_bytes() == before


def test_each_service_has_its_own(tmp_path: Path) -> None:
    assert self_signed_files(tmp_path, "kv", HOSTS) != self_signed_files(tmp_path, "raft", HOSTS)


def test_one_for_another_host_is_replaced(tmp_path: Path) -> None:
    self_signed_files(tmp_path, "kv", HOSTS)
    cert, _ = self_signed_files(tmp_path, "kv", ("other.example",))
    assert names_in(cert) == {"other.example"}


def test_one_that_ends_soon_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(self_signed, "VALIDITY", RENEWAL - timedelta(days=1))
        self_signed_files(tmp_path, "kv", HOSTS)
    cert, _ = self_signed_files(tmp_path, "kv", HOSTS)
    assert x509.load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc - datetime.now(UTC) > RENEWAL


@pytest.mark.parametrize("gone", [0, 1])
def test_half_a_pair_is_made_anew(tmp_path: Path, gone: int) -> None:
    files = self_signed_files(tmp_path, "kv", HOSTS)
    files[gone].unlink()
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self_signed_files(tmp_path, "kv", HOSTS))


@pytest.mark.parametrize("what", ["another key", "an empty key"])
def test_a_pair_that_does_not_fit_is_made_anew(tmp_path: Path, what: str) -> None:
    """As after a crash while it was made."""
    cert, key = self_signed_files(tmp_path, "kv", HOSTS)
    _, other = self_signed_files(tmp_path, "raft", HOSTS)
    key.write_bytes(other.read_bytes() if what == "another key" else b"")
    before = cert.read_bytes()
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self_signed_files(tmp_path, "kv", HOSTS))
    assert cert.read_bytes() != before


def test_what_is_no_certificate_is_replaced(tmp_path: Path) -> None:
    cert, _ = self_signed_files(tmp_path, "kv", HOSTS)
    cert.write_text("nonsense")
    self_signed_files(tmp_path, "kv", HOSTS)
    assert names_in(cert) == set(HOSTS)
