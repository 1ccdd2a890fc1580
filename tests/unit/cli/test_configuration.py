"""What `meteora config` says of a configuration."""

import json
import tempfile
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.cli import commands
from meteora.cli.configuration import _as_json, _as_text, _as_toml, show
from meteora.cli.node_options import node_config
from meteora.cli.node_settings import problems_of
from meteora.config import SETTINGS, NodeConfig
from meteora.settings import Choice, Count, Directory, Flag, Kind, Names, Seconds, Setting, Text, WholeNumber
from tests.unit.cli.conftest import Run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "meteora.toml"
    path.write_text('id = 3\n\nkv-port = 5001\npeer-raft-address = "10.0.0.1:7000"\n')
    return path


def shown(run: Run, *arguments: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(run("config", "show", "--format", "json", *arguments).out)
    return report


def test_a_good_file_is_fine(run: Run, file: Path) -> None:
    assert run("config", "check", "--config", str(file)) == (0, f"{file} is fine.\n".encode(), "")


def test_a_good_environment_is_fine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METEORA_ID", "3")
    monkeypatch.setenv("METEORA_ENDPOINTS", "localhost:5000")
    assert run("config", "check") == (0, b"The configuration is fine.\n", "")


def test_a_check_finds_all_problems(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('raft-prot = 1\nid = "3"\naddress = "a b"\nadvertise-address = "c:1"\n')
    monkeypatch.setenv("METEORA_LOG_LEVEL", "loud")
    monkeypatch.setenv("METEORA_RPC_SERVER", "other")
    status, out, err = run("config", "check", "--config", str(file))
    assert (status, out) == (2, b"")
    assert [line.removeprefix("meteora: error: ").split("'")[0] for line in err.splitlines()] == [
        f'{file}:1: there is no setting "raft-prot": did you mean "raft-port"?',
        f"{file}:2: id is a string: expected a number from 1 to 18446744073709551615, without quotes",
        "Invalid value for METEORA_RPC_SERVER: ",
        "Invalid value for METEORA_LOG_LEVEL: ",
        f"{file}:3: address ",
        f"{file}:4: advertise-address ",
    ]


def test_a_default_in_the_place_of_what_was_refused_is_no_problem(run: Run, file: Path) -> None:
    file.write_text("raft-port = 0\nkv-port = 7000\n")
    assert run("config", "check", "--config", str(file)).err.count("\n") == 1


def test_a_check_is_of_the_file_of_the_command_line(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("kv-port = 7000")
    monkeypatch.setenv("METEORA_CONFIG", str(file))
    assert f"kv-port ({bad}:1) are both" in run("config", "check", "--config", str(bad)).err


def test_a_variable_that_nobody_reads_is_warned_of(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METEORA_RAFT_PROT", "7001")
    status, _, err = run("config", "check")
    assert (status, err) == (
        0,
        'meteora: warning: METEORA_RAFT_PROT is set, and nobody reads it: did you mean "METEORA_RAFT_PORT"?\n',
    )


SERVICE = {
    "METEORA_SERVICE_HOST": "10.96.0.7",
    "METEORA_SERVICE_PORT": "5000",
    "METEORA_SERVICE_PORT_KV": "5000",
    "METEORA_PORT": "tcp://10.96.0.7:5000",
    "METEORA_PORT_5000_TCP": "tcp://10.96.0.7:5000",
    "METEORA_PORT_5000_TCP_PROTO": "tcp",
    "METEORA_PORT_5000_TCP_PORT": "5000",
    "METEORA_PORT_5000_TCP_ADDR": "10.96.0.7",
}


def test_a_service_of_kubernetes_is_no_news(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICE.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.replace("METEORA", "METEORA_X"), value)
    assert run("config", "check").err == ""


def test_a_port_that_is_passed_over_is_warned_of(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICE.items():
        monkeypatch.setenv(name.replace("METEORA", "METEORA_KV"), value)
    err = run("config", "check").err
    assert (
        err == "meteora: warning: METEORA_KV_PORT is passed over: Kubernetes has set it, for a service of that name\n"
    )


def test_each_value_is_shown_with_where_it_comes_from(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METEORA_LEASE_READS", "true")
    report = shown(run, "--config", str(file), "-i", "4")
    assert {key: report[key] for key in ("id", "lease-reads", "kv-port", "raft-port")} == {
        "id": {"value": 4, "from": "flag"},
        "lease-reads": {"value": True, "from": "environment METEORA_LEASE_READS"},
        "kv-port": {"value": 5001, "from": f"{file}:3"},
        "raft-port": {"value": 7000, "from": "default"},
    }


def test_every_setting_is_shown(run: Run) -> None:
    assert list(shown(run)) == [setting.key for setting in SETTINGS]


def test_the_table_has_a_line_for_each_setting(run: Run, file: Path) -> None:
    head, *rows = run("config", "show", "--config", str(file)).out.decode().splitlines()
    assert head.split() == ["SETTING", "VALUE", "FROM"]
    assert [row.split()[0] for row in rows] == [setting.key for setting in SETTINGS]
    assert rows[3].split() == ["kv-port", "5001", f"{file}:3"]


def test_a_host_is_shown_as_it_is_used(run: Run) -> None:
    assert shown(run, "-a", "::1")["address"]["value"] == "[::1]"


def test_show_refuses_what_start_would(run: Run) -> None:
    assert run("config", "show", "-k", "7000") == run("start", "-k", "7000")


def test_a_path_that_is_no_text_is_shown_but_not_as_toml(run: Run) -> None:
    files = ("--cert-file", "\udcff", "--key-file", "a")
    assert b"\\udcff" in run("config", "show", *files).out
    status, _, err = run("config", "show", *files, "--format", "toml")
    assert (status, err) == (2, "meteora: error: cert-file can't be written as TOML: it is not UTF-8\n")


def secret(monkeypatch: pytest.MonkeyPatch) -> click.Context:
    """What shows settings, of which the address is a secret."""
    settings = [
        Setting(
            field=each.field,
            options=each.options,
            kind=each.kind,
            default=each.default,
            meaning=each.meaning,
            default_meaning="",
            is_secret=each.field == "address",
        )
        for each in SETTINGS
    ]
    monkeypatch.setattr("meteora.cli.configuration.SETTINGS", settings)
    return show.make_context("show", ["-a", "hunter2"])


@pytest.mark.parametrize("form", [_as_text, _as_json, _as_toml])
def test_a_secret_is_never_printed(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    context = secret(monkeypatch)
    config = node_config(context)
    assert config.address == "hunter2"
    text = form(context, config)
    assert "hunter2" not in text
    assert "secret" in text


WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


ADDRESSES = st.sampled_from(["node-9:7000", "[::2]:7001", "10.0.0.1:7000"])


def values(kind: Kind) -> st.SearchStrategy[Any]:
    """What a setting of this kind may be, by itself."""
    match kind:
        case WholeNumber(minimum=least, maximum=most):
            return st.integers(least, most)
        case Count():
            return st.integers(0)
        case Seconds():
            return st.floats(0, exclude_min=True, allow_infinity=False, allow_nan=False)
        case Flag():
            return st.booleans()
        case Choice(words):
            return st.sampled_from(words)
    return words_of(kind)


def words_of(kind: Kind) -> st.SearchStrategy[Any]:
    match kind:
        case Directory():
            return WORDS.map(lambda text: Path("/not-there", text))
        case Text("HOST"):
            return st.sampled_from(["node-1", "10.0.0.1", "[::1]"])
        case Text():
            return st.none() | ADDRESSES
        case Names("HOST:PORT[,...]"):
            return st.lists(ADDRESSES, unique=True).map(tuple)
    raise AssertionError(kind)


def variables(command: click.Command) -> set[str]:
    """Those that a command reads, and all below it."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    own = {each.envvar for each in command.params if isinstance(each.envvar, str)}
    return own.union(*map(variables, below))


def test_no_variable_that_a_command_reads_is_warned_of(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read_by_clients = variables(commands) - {setting.variable for setting in SETTINGS} - {"METEORA_CONFIG"}
    assert "METEORA_CACERT" in read_by_clients
    for name in (*read_by_clients, "METEORA_PASSWORD"):
        monkeypatch.setenv(name, "x")
    assert run("config", "check") == (0, b"The configuration is fine.\n", "")


FILES = {"cert_file": Path("/certificates/node.crt"), "key_file": Path("/certificates/node.key")}
CA = {"trusted_ca_file": Path("/certificates/ca.crt"), "client_cert_auth": True}

TLS_ENDINGS = ("cert_file", "key_file", "ca_file", "cert_auth", "allowed_names")

TLS = st.sampled_from([{}, FILES, {"auto_tls": True}, FILES | CA])
PEER_TLS = st.sampled_from([{}, {"auto_tls": True}, FILES | CA, FILES | CA | {"allowed_names": ("node-1", "node-2")}])


@st.composite
def configs(draw: st.DrawFn) -> NodeConfig:
    """Settings that go together."""
    tls = draw(TLS) | {f"peer_{name}": value for name, value in draw(PEER_TLS).items()}
    others = [each for each in SETTINGS if "tls" not in each.field and not each.field.endswith(TLS_ENDINGS)]
    return NodeConfig(**{each.field: draw(values(each.kind)) for each in others}, **tls)


@given(configs().filter(lambda config: not problems_of(config)))
def test_what_is_shown_as_toml_leads_to_the_same_settings(config: NodeConfig) -> None:
    text = _as_toml(show.make_context("show", []), config)
    with tempfile.NamedTemporaryFile("w", suffix=".toml", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        assert node_config(show.make_context("show", ["--config", file.name])) == config
