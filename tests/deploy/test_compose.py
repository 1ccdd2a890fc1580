"""The compose file: by its specification's schema, and by what the nodes in it have to agree on."""

import subprocess
import sys
from pathlib import Path

from tests.deploy.manifests import COMPOSE, VARIABLES, compose, image_environment, of_image


def test_it_is_what_the_specification_allows() -> None:
    command = [
        Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_each_node_is_reached_by_the_name_that_it_tells_others() -> None:
    addresses = {name: each["environment"]["METEORA_ADVERTISE_ADDRESS"] for name, each in compose()["services"].items()}
    assert addresses == {name: name for name in addresses}


def test_all_nodes_know_all_of_them() -> None:
    services = compose()["services"]
    port = image_environment()["METEORA_RAFT_PORT"]
    expected = ",".join(f"{name}:{port}" for name in services)
    assert {each["environment"]["METEORA_INITIAL_CLUSTER"] for each in services.values()} == {expected}


def test_each_node_has_an_id_a_volume_and_a_port_of_its_own() -> None:
    services = compose()["services"].values()
    volumes = [each["volumes"] for each in services]
    assert sorted(each["environment"]["METEORA_ID"] for each in services) == ["1", "2", "3"]
    assert {volume.partition(":")[0] for (volume,) in volumes} == compose()["volumes"].keys()
    assert {volume.partition(":")[2] for (volume,) in volumes} == set(of_image("VOLUME"))
    published = [port.split(":") for each in services for port in each["ports"]]
    assert sorted(published) == [["127.0.0.1", f"500{node}", "5000"] for node in (1, 2, 3)]


def test_the_nodes_are_told_what_the_command_knows() -> None:
    assert {name for each in compose()["services"].values() for name in each["environment"]} <= VARIABLES
