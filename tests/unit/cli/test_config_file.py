"""A node's settings in a TOML file: what is read of it, and how what is wrong is named."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.cli.config_file import MAX_FILE_BYTES, ConfigFile, lines_of_keys, read_config_file
from meteora.errors import ConfigurationError


def read(folder: Path, content: str | bytes) -> ConfigFile:
    path = folder / "meteora.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_config_file(path)


def problems(folder: Path, content: str) -> list[str]:
    return [each.removeprefix(f"{folder}/") for each in read(folder, content).problems]


def test_a_file_sets_what_is_in_it(tmp_path: Path) -> None:
    file = read(
        tmp_path, 'raft-port = 7001\ndata-directory = "/tmp/d"\nrequest-timeout-seconds = 2\nlease-reads = true'
    )
    assert file.problems == ()
    assert {field: value.value for field, value in file.values.items()} == {
        "raft_port": 7001,
        "data_directory": Path("/tmp/d"),
        "request_timeout_seconds": 2.0,
        "lease_reads": True,
    }


@pytest.mark.parametrize("content", ["", "\n", "# nothing\n\n", "\r\n"])
def test_an_empty_file_sets_nothing(tmp_path: Path, content: str) -> None:
    assert (read(tmp_path, content).values, read(tmp_path, content).problems) == ({}, ())


@pytest.mark.parametrize(
    ("above", "line"),
    [
        ("", 1),
        ("# a\n\n", 3),
        ("\r\n\r\n", 3),
        ('address = """\na\n"""\n', 4),
        ('address = """\nid = 2"""\n', 3),
        ("address = '''\n[table]\n'''\n", 4),
        ('address = "a#\\"" # id = 1\n', 2),
        ('address = "\\u0085\\u2028\u0085\u2028"\n', 2),
        ('address = """"a" # [\n\\"""\n"""""\n', 4),
        ("address = ''''a' # [\n\\'''''\n", 3),
        ("address = '\\'\n", 2),
        ('address = ""\n', 2),
        ('peer-allowed-names = [ # ]\n"]",\n[{a = "}"}],\n]\n', 5),
    ],
)
def test_the_line_is_where_the_statement_begins(tmp_path: Path, above: str, line: int) -> None:
    assert read(tmp_path, f"{above}id = 7\n").values["node_id"].line == line


def test_the_lines_of_a_long_value_are_each_looked_at_a_few_times_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed_bytes = []
    loads = tomllib.loads

    def counting(text: str) -> dict[str, object]:
        parsed_bytes.append(len(text))
        return loads(text)

    monkeypatch.setattr(tomllib, "loads", counting)
    content = "peer-allowed-names = [\n" + '"a",\n' * 1000 + "]\nid = 7\n"
    assert read(tmp_path, content).values["node_id"].line == 1003
    assert sum(parsed_bytes) <= 3 * len(content)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("id = 1\nraft-prot = 1", 'meteora.toml:2: there is no setting "raft-prot": did you mean "raft-port"?'),
        ("raft_port = 1", 'meteora.toml:1: there is no setting "raft_port": did you mean "raft-port"?'),
        ("xyzzy = 1", 'meteora.toml:1: there is no setting "xyzzy"'),
        ("METEORA_ID = 1", 'meteora.toml:1: there is no setting "METEORA_ID": did you mean "id"?'),
        ("Raft-Prot = 1", 'meteora.toml:1: there is no setting "Raft-Prot": did you mean "raft-port"?'),
        ('"--kv-port" = 1', 'meteora.toml:1: there is no setting "--kv-port": did you mean "kv-port"?'),
        ('\ncert-file = ""', "meteora.toml:2: cert-file: a path is not empty"),
        ('data-directory = ""', "meteora.toml:1: data-directory: a path is not empty"),
        ('initial-cluster = [""]', "meteora.toml:1: initial-cluster: ('',) has nothing in it"),
        ("\n[node]\nid = 0", 'meteora.toml:2: there is no table "node": settings stand at the top, outside of tables'),
        ("[[node]]\n[[node]]", 'meteora.toml:1: there is no table "node": settings stand at the top'),
        ("id.a = 1\nid.b = 2", "meteora.toml:1: id is a table: expected a number from 1 to 18446744073709551615"),
        ('kv-port = "5001"', "meteora.toml:1: kv-port is a string: expected a number from 1 to 65535, without quotes"),
        ("kv-port = true", "meteora.toml:1: kv-port is a boolean: expected a number from 1 to 65535, without quotes"),
        ("kv-port = 1.0", "meteora.toml:1: kv-port is a number with a fraction: expected a number from 1 to 65535"),
        ("kv-port = 1979-05-27", "meteora.toml:1: kv-port is a date or time: expected a number from 1 to 65535"),
        ("kv-port = [\n 1]", "meteora.toml:1: kv-port is an array: expected a number from 1 to 65535"),
        ("kv-port = 70000", "meteora.toml:1: kv-port: 70000 is not a port: expected a number from 1 to 65535"),
        ("lease-reads = 1", "meteora.toml:1: lease-reads is a number: expected true or false, without quotes"),
        ("address = 1", "meteora.toml:1: address is a number: expected a string, in quotes"),
        ("log-level = 1", 'meteora.toml:1: log-level is a number: expected one of "debug", "info", "warning", "error"'),
        ('log-level = "x"', "meteora.toml:1: log-level: 'x' is not one of 'debug', 'info', 'warning', 'error'"),
        ("snapshot-catchup-entries = -1", "meteora.toml:1: snapshot-catchup-entries: -1 is not in the range x>=0"),
        ("request-timeout-seconds = nan", "meteora.toml:1: request-timeout-seconds: nan is not a number of seconds"),
        ('address = "a\\u0000"', "meteora.toml:1: address has a NUL in it"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, content: str, problem: str) -> None:
    (found,) = problems(tmp_path, content)
    assert found.startswith(problem)


def test_all_problems_are_found_from_top_to_bottom(tmp_path: Path) -> None:
    file = read(tmp_path, 'address = "a"\nkv-port = 0\nxyzzy = 1\nid = "1"\n[b]\nid = 0\n')
    assert [each.partition(".toml:")[2][0] for each in file.problems] == ["2", "3", "4", "5"]
    assert (file.refused, list(file.values)) == (("kv-port", "xyzzy", "id", "b"), ["address"])


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"id = 1\nid = 2", 2),
        (b"\nid 1\n", 2),
        (b"id = 1\nkv-port = [\n", 2),
        (b"id = 1\n# \xff", 2),
        (b"a = '\x01'", 1),
    ],
)
def test_what_is_no_toml_is_named_with_its_line(tmp_path: Path, content: bytes, line: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"meteora\.toml:{line}: this is not (TOML: \w|UTF-8)"):
        read(tmp_path, content)


def test_a_file_that_is_too_long_to_be_one_is_refused(tmp_path: Path) -> None:
    assert read(tmp_path, "#" * MAX_FILE_BYTES).problems == ()
    with pytest.raises(ConfigurationError, match="longer than 65536 bytes"):
        read(tmp_path, "#" * (MAX_FILE_BYTES + 1))


def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read: No such file"):
        read_config_file(tmp_path / "not-there")


def array(items: list[str]) -> str:
    return "[ # [\n" + ", # ]\n".join(items) + "\n]"


def table(value: str) -> str:
    return f'{{ a = {value}, "}}" = 1 }}'


STRINGS = st.sampled_from(
    [
        '"a"',
        '""',
        '"#"',
        '"\\""',
        '"\\\\"',
        "'\\'",
        "'\"'",
        '"""\n"\n\\""" #"""',
        '""""a" """',
        "'''\n'#'''''",
        "''''\n'''",
    ]
)
OTHERS = st.sampled_from(["1", "true", "1979-05-27T07:32:00Z", "-inf"])
VALUES = st.recursive(
    STRINGS | OTHERS,
    lambda inner: st.lists(inner, max_size=3).map(array) | inner.filter(lambda text: "\n" not in text).map(table),
    max_leaves=5,
)


@given(st.lists(VALUES | st.sampled_from(["", '# a [ \' """', "\t"])))
def test_lines_are_found_whatever_is_above(values: list[str]) -> None:
    lines: dict[str, int] = {}
    text = ""
    for number, value in enumerate(values):
        if value.strip() and not value.startswith("#"):
            lines[f"key{number}"] = text.count("\n") + 1
            text += f"key{number} = "
        text += f"{value} # [\n"
    assert tomllib.loads(text).keys() == lines.keys()
    assert dict(lines_of_keys(text)) == lines
