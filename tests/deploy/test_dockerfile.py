"""The Dockerfile, which no test can build: what can be known of it without."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from meteora.config import DEFAULT_KV_PORT, DEFAULT_RAFT_PORT
from tests.deploy.manifests import DEPLOY, VARIABLES, dockerfile, health_check, image_environment, of_image
from tests.house.source import ROOT


def test_a_linter_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    result = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_both_stages_have_the_same_base_of_a_fixed_version() -> None:
    assert {rest.partition(" ")[0] for name, rest in dockerfile() if name == "FROM"} == {"python:${PYTHON_TAG}"}
    assert [rest for name, rest in dockerfile() if re.fullmatch(r"PYTHON_TAG=3\.13\.\d+-slim-\w+", rest)]


def test_the_image_sets_what_the_command_knows() -> None:
    assert image_environment().keys() <= VARIABLES
    ports = f"{DEFAULT_KV_PORT} {DEFAULT_RAFT_PORT}"
    assert of_image("EXPOSE") == [ports]
    assert " ".join(image_environment()[f"METEORA_{name}_PORT"] for name in ("KV", "RAFT")) == ports
    assert of_image("VOLUME") == [image_environment()["METEORA_DATA_DIRECTORY"]]


def test_health_is_asked_within_the_container_only() -> None:
    assert image_environment()["METEORA_METRICS_ADDRESS"].startswith("127.0.0.1:")
    assert health_check()[0] == "python"


def test_the_image_runs_as_a_user_without_rights() -> None:
    assert of_image("USER") == ["10001:10001"]


def test_what_is_copied_is_there_and_sent_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = [ROOT.glob(line.removeprefix("!")) for line in ignored if line.startswith("!")]
    copied = [rest.split()[:-1] for name, rest in dockerfile() if name == "COPY" and "--from" not in rest]
    assert {ROOT / each for words in copied for each in words} == {path for paths in sent for path in paths}


def locked(file: str) -> dict[str, Requirement]:
    lines = (DEPLOY / "container" / file).read_text().splitlines()
    requirements = [Requirement(line.removesuffix("\\").strip()) for line in lines if re.match(r"[a-z]", line)]
    return {each.name: each for each in requirements}


@pytest.mark.parametrize(
    ("file", "table", "key"),
    [
        ("requirements.txt", "project", "dependencies"),
        ("build-requirements.txt", "build-system", "requires"),
    ],
)
def test_each_dependency_is_locked_to_a_version_that_will_do(file: str, table: str, key: str) -> None:
    wanted = [Requirement(text) for text in tomllib.loads((ROOT / "pyproject.toml").read_text())[table][key]]
    versions = {name: str(each.specifier).removeprefix("==") for name, each in locked(file).items()}
    unlocked = [str(each) for each in wanted if not each.specifier.contains(versions.get(each.name, "0"))]
    assert unlocked == [], "run `make lock`"


@pytest.mark.parametrize("file", ["requirements.txt", "build-requirements.txt"])
def test_each_version_is_known_by_its_hash_and_from_no_named_registry(file: str) -> None:
    text = (DEPLOY / "container" / file).read_text()
    assert len(re.findall(r"^[a-z][\w.-]*==\S+.* \\\n    --hash=sha256:", text, re.MULTILINE)) == len(locked(file))
    assert "://" not in text
