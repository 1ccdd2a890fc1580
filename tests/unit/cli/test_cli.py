"""What all commands share: usage errors, exit statuses, the process around them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import meteora
from meteora.cli.exit_status import exit_status_of
from meteora.errors import (
    AddressInUse,
    ChangeRefused,
    ConfigurationError,
    Corruption,
    InvalidRequest,
    MeteoraError,
    NotApplied,
    OutcomeUnknown,
    Overloaded,
)
from tests.unit.cli.conftest import Run
from tests.unit.client.remote import INVALID, NOT_APPLIED, UNKNOWN, Remote, dead_endpoint, hangs

COMMAND = Path(sys.executable).with_name("meteora")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--nonsense"], "--nonsense"),
        (["nonsense"], "nonsense"),
        (["get"], "KEY"),
        (["get", "key", "more"], "more"),
        (["put"], "KEY"),
        (["put", "key", "value", "more"], "more"),
        (["delete"], "KEY"),
        (["leave"], "--id"),
        (["leave", "-i", "0"], "node id"),
        (["status", "-o", "xml"], "xml"),
        (["get", "key", "--timeout", "0"], "--timeout"),
        (["get", "key", "--timeout", "nan"], "--timeout"),
        (["get", "key", "--timeout", "soon"], "--timeout"),
        (["get", "key", "-a", "localhost"], "'localhost' is not an address"),
        (["get", "key", "-a", ","], "no endpoint"),
    ],
)
def test_a_command_line_that_makes_no_sense_ends_with_one_line_that_names_it(
    run: Run, arguments: list[str], named: str
) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, b"")
    assert err.startswith("meteora: error: ")
    assert named in err
    assert err.count("\n") == 1


def test_a_usage_error_says_where_to_look(run: Run) -> None:
    assert "see `meteora get --help`" in run("get").err


def test_help_and_version_are_no_errors(run: Run) -> None:
    assert [run(*arguments).status for arguments in ([], ["--help"], ["-h"], ["put", "--help"])] == [0, 0, 0, 0]
    assert run("--version")[:2] == (0, f"meteora {meteora.__version__}\n".encode())


@pytest.mark.parametrize("command", ["start", "put", "get", "delete", "status", "leave"])
def test_every_command_has_examples(run: Run, command: str) -> None:
    assert f"  Examples:\n    meteora {command}" in run(command, "--help").out.decode()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigurationError, 2),
        (NotApplied, 3),
        (OutcomeUnknown, 3),
        (Overloaded, 3),
        (InvalidRequest, 1),
        (ChangeRefused, 1),
        (AddressInUse, 1),
        (Corruption, 1),
    ],
)
def test_each_kind_of_error_has_its_exit_status(error: type[MeteoraError], status: int) -> None:
    assert exit_status_of(error("")) == status


@pytest.mark.parametrize(
    ("step", "status", "said"),
    [(INVALID, 1, "a key has 1 to 65536 bytes"), (NOT_APPLIED, 3, "no leader"), (UNKNOWN, 3, "may have been applied")],
)
def test_an_error_of_the_cluster_is_one_line(run: Run, node: Remote, step: object, status: int, said: str) -> None:
    node.always = step
    ended = run("put", "key", "value", "-a", node.endpoint, "--timeout", "0.3")
    assert (ended.status, ended.out, ended.err.count("\n")) == (status, b"", 1)
    assert said in ended.err


def test_endpoints_come_from_the_environment(run: Run, node: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    with dead_endpoint() as dead:
        monkeypatch.setenv("METEORA_ENDPOINTS", f"{dead},{node.endpoint}")
        assert run("put", "key", "value").status == 0


def test_an_endpoint_on_the_command_line_wins_over_the_environment(
    run: Run, node: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METEORA_ENDPOINTS", "nonsense")
    assert run("put", "key", "value", "-a", node.endpoint).status == 0


def test_the_address_to_listen_on_is_not_taken_for_an_endpoint(
    run: Run, node: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METEORA_ADDRESS", "nonsense")
    monkeypatch.setenv("METEORA_ENDPOINTS", node.endpoint)
    assert run("put", "key", "value").status == 0


@pytest.mark.parametrize("command", [[COMMAND], [sys.executable, "-m", "meteora"]], ids=["script", "module"])
def test_any_bytes_of_a_command_line_survive(node: Remote, command: list[str]) -> None:
    arguments = [b"put", b"-a", node.endpoint.encode(), b"--timeout", b"30", b"\xff\xfe", b"\x80 value"]
    done = subprocess.run([*command, *arguments], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"OK\n", b"")
    assert node.store == {b"\xff\xfe": b"\x80 value"}


def test_a_node_that_can_not_be_reached_is_one_line_on_stderr_and_nothing_else() -> None:
    with dead_endpoint() as dead:
        arguments = [COMMAND, "get", "key", "-a", dead, "--timeout", "0.3"]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert f"{dead}: can't be connected to: Connection refused" in done.stderr


def test_a_reader_that_goes_away_is_no_error_message(node: Remote) -> None:
    node.store[b"key"] = b"x" * 10_000_000
    read_end, write_end = os.pipe()
    os.close(read_end)
    arguments = [COMMAND, "get", "key", "-a", node.endpoint, "--timeout", "30"]
    done = subprocess.run(arguments, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_output_that_is_full_is_one_line(node: Remote) -> None:
    node.store[b"key"] = b"value"
    arguments = [COMMAND, "get", "key", "-a", node.endpoint, "--timeout", "30"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No space left" in done.stderr


@pytest.mark.usefixtures("interrupts_are_heeded")
def test_an_interrupt_ends_a_command_without_a_traceback(node: Remote) -> None:
    node.always = hangs
    arguments = [COMMAND, "get", "key", "-a", node.endpoint, "--timeout", "60"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert node.arrived.wait(60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (130, "", "")


def test_a_command_that_needs_no_server_does_not_load_one() -> None:
    program = "import sys, meteora.cli; print(sorted({'grpc', 'meteora.server', 'meteora.client'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
