"""The release before this one, from the history of the repository, to run beside this one."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.cluster.processes import ROOT

REVISION = "f76cb78"
"""The release before: to be its tag once it has one."""


def unpacked(folder: Path) -> Path:
    """The sources of that release, unpacked into `folder`: what goes first in PYTHONPATH. Skips if there are none."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", REVISION, "src"]
    try:
        archive = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the history of the repository, with {REVISION} in it, is not here: {error}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder / "src"
