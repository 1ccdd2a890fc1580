from pathlib import Path

import pytest

from meteora.client import AsyncClient, Client, TlsConfig
from meteora.client.tls import target_of
from meteora.errors import ConfigurationError
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.mark.parametrize("endpoints", ["a:1,b:2", ["a:1", "b:2"], "http://a:1,b:2", "http://a:1/, http://b:2/"])
def test_without_tls_endpoints_are_reached_in_the_clear(endpoints: str | list[str]) -> None:
    assert target_of(endpoints, None) == (("a:1", "b:2"), None, ())


@pytest.mark.parametrize("endpoints", ["https://a:1,https://b:2", ["https://a:1", "https://b:2/"]])
def test_endpoints_that_begin_with_https_are_reached_by_tls(endpoints: str | list[str]) -> None:
    target = target_of(endpoints, None)
    assert target.endpoints == ("a:1", "b:2")
    assert target.credentials is not None


@pytest.mark.parametrize("endpoints", ["a:1", "https://a:1", "https://a:1,b:2"])
def test_with_a_configuration_all_are_reached_by_tls(authority: Authority, endpoints: str) -> None:
    assert target_of(endpoints, TlsConfig(ca_file=authority.ca)).credentials is not None


def test_the_name_that_servers_must_bear_can_be_said(authority: Authority) -> None:
    target = target_of("a:1", TlsConfig(ca_file=str(authority.ca), server_name="meteora"))
    assert target.options == (("grpc.ssl_target_name_override", "meteora"),)


@pytest.mark.parametrize("endpoints", ["https://a:1,b:2", "https://a:1,http://b:2"])
def test_endpoints_that_contradict_each_other_are_refused(endpoints: str) -> None:
    with pytest.raises(ConfigurationError, match="write https:// before all"):
        target_of(endpoints, None)


def test_an_endpoint_in_the_clear_contradicts_a_configuration() -> None:
    with pytest.raises(ConfigurationError, match="begins with http://, which is no TLS"):
        target_of("http://a:1", TlsConfig())


@pytest.mark.parametrize("endpoints", ["https://", "ftp://a:1", "https://a", "https://a:1/path"])
def test_what_is_no_endpoint_is_refused(endpoints: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not an address|no endpoint"):
        target_of(endpoints, None)


def test_half_a_pair_is_refused(authority: Authority) -> None:
    pair = authority.issue("client")
    with pytest.raises(ConfigurationError, match="a client's certificate is given without its key"):
        target_of("a:1", TlsConfig(cert_file=pair.cert))
    with pytest.raises(ConfigurationError, match="a client's key is given without its certificate"):
        target_of("a:1", TlsConfig(key_file=pair.key))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing.pem can't be read: No such file"):
        target_of("a:1", TlsConfig(ca_file=tmp_path / "missing.pem"))


def test_what_is_no_authority_is_named(authority: Authority) -> None:
    authority.ca.write_text("nonsense")
    with pytest.raises(ConfigurationError, match=r"ca.pem holds no certificate"):
        target_of("a:1", TlsConfig(ca_file=authority.ca))


def test_a_key_of_another_certificate_is_named(authority: Authority) -> None:
    with pytest.raises(ConfigurationError, match=r"other.key is not the key of the certificate in .*client.pem"):
        target_of("a:1", TlsConfig(cert_file=authority.issue("client").cert, key_file=authority.issue("other").key))


@pytest.mark.parametrize("kind", [AsyncClient, Client])
def test_both_clients_look_at_it_when_they_are_made(kind: type[AsyncClient] | type[Client], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        kind("a:1", tls=TlsConfig(ca_file=tmp_path / "missing.pem"))
