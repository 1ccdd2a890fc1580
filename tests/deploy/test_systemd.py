"""The systemd unit: by systemd's own judgement, where it is installed, and by what the command means."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from meteora.cli.exit_status import USAGE
from tests.deploy.manifests import DEPLOY, UNIT, VARIABLES

HIGHEST_EXPOSURE = 15
"""In tenths: what a node must be able to do, to reach the network above all, is 12."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that is there."""
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace("/opt/meteora/bin/meteora", "/bin/true"))
    return path


def analyze(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


@needs_systemd
def test_systemd_understands_all_of_it(unit: Path) -> None:
    result = analyze("verify", "--man=no", unit)
    about_it = [line for line in result.stderr.splitlines() if unit.name in line]
    assert (result.returncode, about_it) == (0, [])


@needs_systemd
def test_systemd_finds_it_little_exposed(unit: Path) -> None:
    result = analyze("security", "--offline=yes", f"--threshold={HIGHEST_EXPOSURE}", unit)
    assert result.returncode == 0, result.stdout + result.stderr


def test_settings_that_make_no_sense_are_not_tried_again() -> None:
    assert f"\nRestartPreventExitStatus={USAGE}\n" in UNIT.read_text()


def test_the_unit_and_its_settings_name_what_the_command_knows() -> None:
    settings = (DEPLOY / "systemd" / "meteora.env").read_text()
    names = set(re.findall(r"\bMETEORA_[A-Z_]+(?==)", UNIT.read_text() + settings))
    assert names - {"METEORA_OPTION"} <= VARIABLES
    assert "METEORA_DATA_DIRECTORY" in names


def test_the_user_that_systemd_makes_can_read_a_configuration_file() -> None:
    # The directory stays root's, and that user has no group in common with anybody.
    assert "\nConfigurationDirectory=meteora\n" in UNIT.read_text()
    assert "\nConfigurationDirectoryMode=0755\n" in UNIT.read_text()


def test_the_data_is_where_the_unit_lets_it_be() -> None:
    text = UNIT.read_text()
    assert "\nStateDirectory=meteora\n" in text
    assert "\nEnvironment=METEORA_DATA_DIRECTORY=/var/lib/meteora\n" in text
