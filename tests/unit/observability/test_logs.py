import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meteora.observability import logs


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("meteora")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_a_line_has_time_level_node_component_event_and_fields(stream: io.StringIO) -> None:
    logs.configure("info", "text", 1, stream)
    logs.get_logger("raft").info("became leader", term=3, reason="votes from 2")
    line = stream.getvalue()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO  node 1 raft: became leader term=3 reason=\"votes from 2\"\n",
        line,
    )


def test_a_line_names_no_node_before_it_is_known(stream: io.StringIO) -> None:
    logs.configure("info", "text", None, stream)
    logs.get_logger("cli").warning("slow")
    assert stream.getvalue().endswith("Z WARN  cli: slow\n")


def test_the_time_is_that_of_the_event_in_utc(stream: io.StringIO) -> None:
    logs.configure("info", "text", None, stream)
    record = logging.makeLogRecord({"name": "meteora.x", "levelno": logging.INFO, "levelname": "INFO", "msg": "m"})
    record.created = 1_795_401_182.9996
    logging.getLogger("meteora.x").handle(record)
    assert stream.getvalue() == "2026-11-23T02:33:02.999Z INFO  x: m\n"


def test_json_holds_the_same_facts_with_their_types(stream: io.StringIO) -> None:
    logs.configure("info", "json", 7, stream)
    logs.get_logger("raft").info("became leader", term=3, slow=False, cause=None, data=Path("a b"), node="other")
    facts = json.loads(stream.getvalue())
    del facts["time"]
    assert facts == {
        "level": "info",
        "node": 7,
        "component": "raft",
        "event": "became leader",
        "fields": {"term": 3, "slow": False, "cause": None, "data": "a b", "node": "other"},
    }


def test_json_without_a_node_has_no_node(stream: io.StringIO) -> None:
    logs.configure("info", "json", None, stream)
    logs.get_logger("cli").info("started")
    assert "node" not in json.loads(stream.getvalue())


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_stays_json_with_numbers_that_it_does_not_have(stream: io.StringIO, number: float) -> None:
    logs.configure("info", "json", 1, stream)
    logs.get_logger("raft").info("odd", rate=number)
    assert json.loads(stream.getvalue(), parse_constant=pytest.fail)["fields"] == {"rate": str(number)}


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    "hostile", ["two\nlines", "return\rhome", "\x1b[2Jclear", "\x85next", "sep\u2028arator", "\udc80"]
)
def test_nothing_in_a_value_or_an_event_leaves_its_line(
    stream: io.StringIO, log_format: logs.LogFormat, hostile: str
) -> None:
    logs.configure("info", log_format, 1, stream)
    logs.get_logger("raft").info(hostile, value=hostile)
    assert stream.getvalue().removesuffix("\n").isprintable()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x"', '"say \\"x\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("line\nend", '"line\\nend"'),
        ("Grüße", "Grüße"),
        (b"\x00k", "\"b'\\\\x00k'\""),
        (ValueError("bad port"), '"ValueError: bad port"'),
        (1.5, "1.5"),
    ],
)
def test_it_is_clear_where_a_value_ends(stream: io.StringIO, value: object, text: str) -> None:
    logs.configure("info", "text", 1, stream)
    logs.get_logger("raft").info("event", value=value)
    assert stream.getvalue().endswith(f" event value={text}\n")


def test_a_very_long_value_is_cut(stream: io.StringIO) -> None:
    logs.configure("info", "json", 1, stream)
    logs.get_logger("raft").info("event", value="x" * (logs.MAX_VALUE_CHARACTERS + 5))
    value = json.loads(stream.getvalue())["fields"]["value"]
    assert value == "x" * logs.MAX_VALUE_CHARACTERS + "... and 5 more characters"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_value_that_cannot_be_shown_is_named_by_its_type(stream: io.StringIO, log_format: logs.LogFormat) -> None:
    logs.configure("info", log_format, 1, stream)
    logs.get_logger("raft").info("event", value=Unshowable())
    assert "<Unshowable that can't be shown>" in stream.getvalue()


def test_a_closed_stream_loses_the_line_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    logs.configure("info", "text", 1, stream)
    stream.close()
    logs.get_logger("raft").error("event")
    assert capsys.readouterr() == ("", "")


def test_a_level_that_is_not_asked_for_is_silent_and_renders_nothing(stream: io.StringIO) -> None:
    logs.configure("warning", "text", 1, stream)
    log = logs.get_logger("raft")
    log.debug("event", value=Unshowable())
    log.info("event", value=Unshowable())
    assert stream.getvalue() == ""


def test_debug_is_told_when_it_is_asked_for(stream: io.StringIO) -> None:
    logs.configure("debug", "text", 1, stream)
    logs.get_logger("raft").debug("event")
    assert " DEBUG node 1 raft: event\n" in stream.getvalue()


def test_an_exception_is_one_line_with_its_traceback(stream: io.StringIO) -> None:
    logs.configure("info", "json", 1, stream)
    try:
        raise ValueError("boom")
    except ValueError:
        logs.get_logger("node").exception("unforeseen")
    facts = json.loads(stream.getvalue())
    assert facts["level"] == "error"
    assert facts["fields"]["traceback"].endswith("ValueError: boom\n")


def test_other_libraries_warn_in_the_same_form(stream: io.StringIO) -> None:
    logs.configure("debug", "text", 1, stream)
    logging.getLogger("asyncio").warning("took %d s\nto run", 2)
    assert stream.getvalue().endswith("Z WARN  node 1 asyncio: took 2 s\\nto run\n")


def test_other_libraries_are_silent_below_a_warning(stream: io.StringIO) -> None:
    logs.configure("debug", "text", 1, stream)
    logging.getLogger("grpc").info("chatter")
    assert stream.getvalue() == ""


def test_other_libraries_are_silent_below_the_level_that_is_asked_for(stream: io.StringIO) -> None:
    logs.configure("error", "text", 1, stream)
    logging.getLogger("grpc").warning("chatter")
    assert stream.getvalue() == ""


def test_a_traceback_of_another_library_is_kept(stream: io.StringIO) -> None:
    logs.configure("info", "json", 1, stream)
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("asyncio").exception("task failed")
    assert json.loads(stream.getvalue())["fields"]["traceback"].endswith("ValueError: boom\n")


def test_another_library_with_arguments_that_do_not_fit_is_told_without_them(stream: io.StringIO) -> None:
    # The test runner's own handlers raise on such a call.
    logging.getLogger().handlers.clear()
    logs.configure("info", "text", 1, stream)
    logging.getLogger("grpc").warning("took %d s", "two")
    assert stream.getvalue().endswith("grpc: took %d s\n")


def test_configuring_again_replaces_the_handler(stream: io.StringIO) -> None:
    logs.configure("info", "text", 1, io.StringIO())
    logs.configure("info", "text", 2, stream)
    logs.get_logger("raft").info("event")
    assert stream.getvalue().count("event") == 1


def test_a_program_that_embeds_us_sees_events_through_its_own_handler(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        logs.get_logger("client").info("failed over", endpoint="[::1]:5000")
    assert caplog.messages == ["failed over endpoint=[::1]:5000"]


def test_what_the_user_wants_to_hear_of_grpc_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRPC_VERBOSITY", "DEBUG")
    logs.quieten_grpc()
    assert os.environ["GRPC_VERBOSITY"] == "DEBUG"


QUIET_LOSS = """
import asyncio, struct
from meteora.observability.logs import quieten_grpc
quieten_grpc()
import grpc

SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
GOAWAY = bytes([0, 0, 8, 7, 0, 0, 0, 0, 0]) + struct.pack(">II", 0, 2)

async def go_away(reader, writer):
    writer.write(SETTINGS)
    await reader.read(24)
    writer.write(GOAWAY)
    writer.close()
    await writer.wait_closed()

async def main():
    server = await asyncio.start_server(go_away, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server, grpc.aio.insecure_channel(f"{host}:{port}") as channel:
        try:
            await channel.unary_unary("/any/Method")(b"", timeout=30)
        except grpc.aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error

asyncio.run(main())
"""


def test_the_native_part_of_grpc_is_silent_when_a_peer_goes() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    outcome = subprocess.run(
        [sys.executable, "-c", QUIET_LOSS], env=environment, capture_output=True, text=True, check=False
    )
    assert (outcome.returncode, outcome.stderr) == (0, "")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_once_tells_an_event_about_a_key_once(stream: io.StringIO) -> None:
    logs.configure("info", "text", 1, stream)
    once = logs.OnceLog(logs.get_logger("transport"))
    for peer in (2, 3, 2, 2):
        once.warning("peer unreachable", peer, peer=peer)
    assert re.findall(r"peer=\d", stream.getvalue()) == ["peer=2", "peer=3"]


def test_once_keeps_events_apart(stream: io.StringIO) -> None:
    logs.configure("info", "text", 1, stream)
    once = logs.OnceLog(logs.get_logger("transport"))
    once.info("first", 2)
    once.error("second", 2)
    assert [line.split(": ")[1] for line in stream.getvalue().splitlines()] == ["first", "second"]


def test_once_tells_again_after_the_time_and_says_how_often_it_was_left_out(stream: io.StringIO) -> None:
    logs.configure("info", "text", 1, stream)
    clock = Clock()
    once = logs.OnceLog(logs.get_logger("storage"), again_after_seconds=10, clock=clock)
    for clock.now in (0, 1, 9.9, 10, 19, 20):
        once.info("slow disk", "raft")
    assert [line.split(": ")[1] for line in stream.getvalue().splitlines()] == [
        "slow disk",
        "slow disk repeats=2",
        "slow disk repeats=1",
    ]


def test_once_tells_again_what_was_forgotten(stream: io.StringIO) -> None:
    logs.configure("info", "text", 1, stream)
    once = logs.OnceLog(logs.get_logger("transport"))
    once.info("peer unreachable", 2)
    assert once.forget("peer unreachable", 2)
    once.info("peer unreachable", 2)
    assert stream.getvalue().count("peer unreachable") == 2


def test_once_knows_that_there_was_nothing_to_forget() -> None:
    assert not logs.OnceLog(logs.get_logger("transport")).forget("peer unreachable", 2)


def test_once_forgets_what_it_has_not_seen_for_longest_when_it_is_full(stream: io.StringIO) -> None:
    logs.configure("info", "text", 1, stream)
    once = logs.OnceLog(logs.get_logger("transport"), max_keys=2)
    for key in ("a", "b", "a", "c", "a", "b"):
        once.info("event", key, key=key)
    assert re.findall(r"key=(\w)", stream.getvalue()) == ["a", "b", "c", "b"]
