"""How settings are declared, with a few that no node has."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from meteora.settings import Names, Seconds, Text, as_plain, as_toml, declared, setting


@dataclass(frozen=True, kw_only=True)
class Settings:
    timeout_seconds: float = setting(1.5, "-t", "--timeout", kind=Seconds(), meaning="How long.")
    hidden: int = 1
    password: str | None = setting(None, "--root-password", kind=Text("WORD"), meaning="Secret.", is_secret=True)
    allowed_names: tuple[str, ...] = setting((), "--allowed-names", kind=Names("NAME[,...]"), meaning="Who.")


def test_a_setting_is_a_field_with_a_default() -> None:
    assert Settings() == Settings(timeout_seconds=1.5, hidden=1, password=None, allowed_names=())


def test_settings_are_those_that_were_declared_in_their_order() -> None:
    assert [each.field for each in declared(Settings)] == ["timeout_seconds", "password", "allowed_names"]


def test_the_long_option_gives_all_names() -> None:
    timeout, password, _ = declared(Settings)
    assert (timeout.key, timeout.variable) == ("timeout", "METEORA_TIMEOUT")
    assert (password.key, password.variable, password.is_secret) == ("root-password", "METEORA_ROOT_PASSWORD", True)


@pytest.mark.parametrize(
    ("value", "plain", "toml"),
    [
        (Path("/a b"), "/a b", '"/a b"'),
        (("a", "b"), ["a", "b"], '["a", "b"]'),
        (True, True, "true"),
        (5.0, 5.0, "5.0"),
        ("é\x7f\n", "é\x7f\n", '"é\\u007f\\n"'),
    ],
)
def test_a_value_is_written_for_programs(value: object, plain: object, toml: str) -> None:
    assert (as_plain(value), as_toml(value)) == (plain, toml)
