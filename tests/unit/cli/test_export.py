import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from meteora.cli.json_lines import encode_pair
from tests.unit.cli.conftest import Run
from tests.unit.client.remote import INVALID, Remote

MODULE = importlib.import_module("meteora.cli.export")
"""By its name it is the command, in its package."""


def lines(*pairs: tuple[bytes, bytes]) -> bytes:
    return b"".join(encode_pair(*pair) for pair in pairs)


def test_lines_are_put(run: Run, node: Remote) -> None:
    content = lines((b"a", b"1"), (b"\xff", b"\0"))
    assert run("import", "-a", node.endpoint, stdin=content + b"\n") == (0, b"3 lines were put\n", "")
    assert node.store == {b"a": b"1", b"\xff": b"\0"}


def test_of_two_lines_with_one_key_the_later_counts(run: Run, node: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"a", b"3"), (b"b", b"4")]
    monkeypatch.setattr(MODULE, "BATCH_LINES", 3)
    assert run("import", "-a", node.endpoint, stdin=lines(*pairs)).status == 0
    assert node.store == {b"a": b"3", b"b": b"4"}


def test_a_line_that_makes_no_sense_is_named(run: Run, node: Remote, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(lines((b"a", b"1")) + b"nonsense\n")
    status, out, err = run("import", "-a", node.endpoint, str(file))
    assert (status, out) == (1, b"")
    assert err.startswith("meteora: error: line 2: it is no JSON: ")
    assert err.endswith("; nothing was put\n")
    assert node.store == {}


def test_what_was_put_before_a_line_that_makes_no_sense_is_told(
    run: Run, node: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "BATCH_LINES", 2)
    content = lines((b"a", b"1"), (b"b", b"2"), (b"c", b"3")) + b"{}\n"
    assert run("import", "-a", node.endpoint, stdin=content).err.endswith("; those before 3 were put\n")
    assert node.store == {b"a": b"1", b"b": b"2"}


def test_a_line_that_is_refused_is_named(run: Run, node: Remote) -> None:
    node.script.append(INVALID)
    status, _, err = run("import", "-a", node.endpoint, stdin=lines((b"a", b"1")))
    assert status == 1
    assert err.startswith("meteora: error: line 1: the put was refused: ")


def test_a_file_that_is_not_there_is_named(run: Run, node: Remote, tmp_path: Path) -> None:
    status, _, err = run("import", "-a", node.endpoint, str(tmp_path / "nothing"))
    assert (status, err) == (1, f"meteora: error: {tmp_path / 'nothing'} can't be read: No such file or directory\n")


@pytest.mark.usefixtures("interrupts_are_heeded")
def test_one_that_waits_for_lines_ends_when_it_is_interrupted(node: Remote) -> None:
    command = [sys.executable, "-m", "meteora", "import", "-a", node.endpoint]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as importing:
        assert importing.stdin is not None
        # More than a batch: once that was put, it reads, or is about to.
        os.write(importing.stdin.fileno(), lines(*((b"%d" % number, b"") for number in range(MODULE.BATCH_LINES))))
        deadline = time.monotonic() + 20.0
        while len(node.store) < MODULE.BATCH_LINES:
            assert time.monotonic() < deadline
            time.sleep(0.01)  # Between looks at a condition.
        importing.send_signal(signal.SIGINT)
        assert importing.wait(20.0) == 130


def test_nothing_is_written_if_nobody_serves_it(run: Run, node: Remote, tmp_path: Path) -> None:
    status, _, err = run("export", "-a", node.endpoint, str(tmp_path / "lines"))
    assert status == 3
    assert "nobody served the export" in err
    assert list(tmp_path.iterdir()) == []
