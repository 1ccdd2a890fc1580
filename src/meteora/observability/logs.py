"""Logs: one readable line an event on stderr, or one JSON object a line with the same facts.

An event is a fixed phrase, so that it can be searched for; what varies stands in fields beside it.

    log = get_logger("storage")
    log.warning("slow fsync", took_seconds=0.412)

    2026-11-23T02:33:02.123Z WARN  node 1 storage: slow fsync took_seconds=0.412

Rules kept here:

- A line is a line: nothing that a value holds can start another one or move a cursor.
- Logging never raises: a value that can't be shown is named by its type, a line that can't be written is dropped.
- A line is written before the call returns, because the last ones before a crash are those that matter. So nothing
  is logged per request.
- It is the standard library's logging underneath: a program that embeds our client sees its events where it sees
  its own, and what other libraries log comes out in this form, from warnings upwards.
"""

import json
import logging
import math
import os
import time
import traceback
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from typing import TextIO

from meteora.config import LogFormat, LogLevel

MAX_VALUE_CHARACTERS = 10_000
"""Longer values are cut: a traceback fits, a stored value that strayed into an error message does not."""

MAX_REMEMBERED_EVENTS = 1_000
"""What an `OnceLog` remembers: more peers than any cluster has, and less than 1 MB."""

_NAMESPACE = "meteora"
_LEVELS: dict[LogLevel, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure(level: LogLevel, log_format: LogFormat, node_id: int | None = None, stream: TextIO | None = None) -> None:
    """Sends the events of this process, from `level` upwards, to `stream` (stderr if None).

    Every line names the node if `node_id` is given. Replaces what an earlier call has set up.
    """
    handler = _LineHandler(stream)
    handler.setFormatter(_JsonFormatter(node_id) if log_format == "json" else _TextFormatter(node_id))
    root = logging.getLogger()
    for earlier in [each for each in root.handlers if isinstance(each, _LineHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    # What libraries have to say below a warning is about their own insides.
    root.setLevel(max(_LEVELS[level], logging.WARNING))
    logging.getLogger(_NAMESPACE).setLevel(_LEVELS[level])


def quieten_grpc() -> None:
    """Keeps gRPC's native part to errors, unless GRPC_VERBOSITY says otherwise.

    It writes to stderr by itself, in a form of its own, about every peer that goes. Only heeded before the first
    import of `grpc`; so this is for the start of a program, not for a library.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def get_logger(component: str) -> "Logger":
    """The logger of a part of the program, such as "storage". Cheap, but meant to be kept."""
    return Logger(logging.getLogger(f"{_NAMESPACE}.{component}"))


class Logger:
    """Tells the events of one part of the program.

    A call below the level that is set costs about as much as a look-up in a dictionary.
    """

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, /, **fields: object) -> None:
        """What helps to find a fault, and is too much to read otherwise."""
        self._tell(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """What an operator wants to have happened: a start, an election, a member more or less."""
        self._tell(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """What works, but should be looked at."""
        self._tell(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """What does not work. Say in the fields what to do about it."""
        self._tell(logging.ERROR, event, fields)

    def exception(self, event: str, /, **fields: object) -> None:
        """An error that nobody foresaw, with the traceback of the exception that is being handled."""
        self._tell(logging.ERROR, event, {**fields, "traceback": traceback.format_exc()})

    def _tell(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, _Event(event, fields))


class OnceLog:
    """Tells an event about a key once; again only when it was forgotten, or when it went on for long enough.

    For what would otherwise be told with every message: a peer that can't be reached, a foreign cluster. A line that
    comes again says in `repeats` how many were left out. At most `max_keys` are remembered; the one that was not seen
    for longest goes first, and may then be told again.
    """

    def __init__(
        self,
        log: Logger,
        *,
        again_after_seconds: float = math.inf,
        max_keys: int = MAX_REMEMBERED_EVENTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._again_after_seconds = again_after_seconds
        self._max_keys = max_keys
        self._clock = clock
        # When it was last told, and how often it was left out since; the one seen last is at the end.
        self._seen: dict[tuple[str, Hashable], tuple[float, int]] = {}

    def info(self, event: str, key: Hashable, /, **fields: object) -> None:
        """`Logger.info`, once."""
        self._once(self._log.info, event, key, fields)

    def warning(self, event: str, key: Hashable, /, **fields: object) -> None:
        """`Logger.warning`, once."""
        self._once(self._log.warning, event, key, fields)

    def error(self, event: str, key: Hashable, /, **fields: object) -> None:
        """`Logger.error`, once."""
        self._once(self._log.error, event, key, fields)

    def forget(self, event: str, key: Hashable, /) -> bool:
        """Lets the event be told again. True if it was remembered, so that one can tell that it is over."""
        return self._seen.pop((event, key), None) is not None

    def _once(self, tell: Callable[..., None], event: str, key: Hashable, fields: Mapping[str, object]) -> None:
        now = self._clock()
        told_at, repeats = self._seen.pop((event, key), (-math.inf, 0))
        is_due = now - told_at >= self._again_after_seconds
        self._seen[event, key] = (now, 0) if is_due else (told_at, repeats + 1)
        if len(self._seen) > self._max_keys:
            del self._seen[next(iter(self._seen))]
        if is_due:
            tell(event, **fields, **({"repeats": repeats} if repeats else {}))


class _Event:
    """An event and its fields, as the message of a log record. Any other handler prints it by `str`."""

    __slots__ = ("fields", "name")

    def __init__(self, name: str, fields: Mapping[str, object]) -> None:
        self.name = name
        self.fields = fields

    def __str__(self) -> str:
        return " ".join([_one_line(self.name), *(f"{key}={_quoted(value)}" for key, value in self.fields.items())])


class _LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines to a stream."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the base class names it
        """Drops a line that can't be written: a closed stderr must not stop a node."""


class _TextFormatter(logging.Formatter):
    """Lines for people."""

    def __init__(self, node_id: int | None) -> None:
        super().__init__()
        self._node = "" if node_id is None else f"node {node_id} "

    def format(self, record: logging.LogRecord) -> str:
        level = "WARN" if record.levelno == logging.WARNING else record.levelname
        return f"{_timestamp(record)} {level:<5} {self._node}{_component(record)}: {_event_of(record)}"


class _JsonFormatter(logging.Formatter):
    """Objects for programs. The fields stand in one of their own, so that no name of theirs hides one of ours."""

    def __init__(self, node_id: int | None) -> None:
        super().__init__()
        self._node = {} if node_id is None else {"node": node_id}

    def format(self, record: logging.LogRecord) -> str:
        event = _event_of(record)
        facts = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            **self._node,
            "component": _component(record),
            "event": event.name,
            "fields": {key: _plain(value) for key, value in event.fields.items()},
        }
        return json.dumps(facts)


def _event_of(record: logging.LogRecord) -> _Event:
    """The event in a record, made from the message and the traceback if another library logged it."""
    if isinstance(record.msg, _Event):
        return record.msg
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001  arguments that don't fit the message: then without them
        message = _text(record.msg)
    exception = record.exc_info[1] if record.exc_info else None
    fields = {"traceback": "".join(traceback.format_exception(exception))} if exception else {}
    return _Event(message, fields)


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def _component(record: logging.LogRecord) -> str:
    return record.name.removeprefix(f"{_NAMESPACE}.")


def _plain(value: object) -> object:
    """What JSON has a type for, as it is; anything else as text."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _text(value)


def _quoted(value: object) -> str:
    """The value as text, in quotes where it would otherwise be unclear where it ends."""
    text = _text(value)
    if text and text.isprintable() and not any(character in ' "=\\' for character in text):
        return text
    return '"' + _one_line(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _text(value: object) -> str:
    try:
        text = f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
    except Exception:  # noqa: BLE001  whatever a value does when it is asked for its text
        return f"<{type(value).__name__} that can't be shown>"
    left_out = len(text) - MAX_VALUE_CHARACTERS
    return f"{text[:MAX_VALUE_CHARACTERS]}... and {left_out} more characters" if left_out > 0 else text


def _one_line(text: str) -> str:
    """The text with what is not printable escaped, line ends and terminal controls among it."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
