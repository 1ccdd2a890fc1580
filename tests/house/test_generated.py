"""What is generated and checked in is what its generator makes of its source today."""

import subprocess
import sys

import pytest

from tests.house.source import ROOT


@pytest.mark.parametrize(
    "generator", ["generate_pb.py", "generate_blocking_client.py", "generate_configuration_reference.py"]
)
def test_what_is_generated_is_current(generator: str) -> None:
    outcome = subprocess.run(
        [sys.executable, ROOT / "tools" / generator, "--check"], capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout
