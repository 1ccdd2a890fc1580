"""Completion by the shells themselves, where they are installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.test_cli import COMMAND


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_made_for_each_shell(run: Run, shell: str) -> None:
    status, out, err = run("completion", shell)
    assert (status, err) == (0, "")
    assert b"_METEORA_COMPLETE=" + shell.encode() + b"_complete" in out


@pytest.mark.parametrize("shell", [shell for shell in ("bash", "zsh", "fish") if shutil.which(shell)])
def test_the_shell_takes_its_script(run: Run, shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(run("completion", shell).out)
    done = subprocess.run([shell, "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["meteora", "sta"], {"start", "status"}),
        (["meteora", "config", ""], {"check", "show"}),
        (["meteora", "start", "--log-l"], {"--log-level"}),
        (["meteora", "start", "--log-level", "w"], {"warning"}),
    ],
)
def test_bash_completes(words: list[str], completed: set[str]) -> None:
    script = (
        f'PATH="{COMMAND.parent}:$PATH"; eval "$(meteora completion bash)";'
        f' COMP_WORDS=("$@"); COMP_CWORD={len(words) - 1}; _meteora_completion meteora;'
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == completed
