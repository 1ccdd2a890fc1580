"""Runs h2load against one method of one system, each request with a key and a value of its own.

h2load by itself sends one body again and again: a single key, which flatters whoever caches. So it runs with
`vary_requests.c` preloaded, which is compiled when it is first wanted. The same binary, with the same bytes, asks
Meteora and etcd.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TextIO

import grpc

from bench import h2load, payloads
from bench.figures import percentile
from bench.h2load import LoadFailed, Log, Shape
from bench.payloads import Order, Template
from bench.results import P50, P99, P999, THROUGHPUT, Sample

SOURCE: Final = Path(__file__).with_name("vary_requests.c")

LEAST_ANSWERED_SHARE: Final = 0.98
"""Below it a run is void. Not 1, because etcd's replies carry numbers that are a byte longer or shorter."""

CONNECT_SECONDS: Final = 0.5
"""For all connections to be there before the warm-up is over: added to the length of a run, and not measured."""

PROBES: Final = 16
PROBE_SECONDS: Final = 10.0
OVERTIME_SECONDS: Final = 60.0
"""How much longer than it was told h2load may take before it is ended."""

FILL_SECONDS: Final = 1800.0
"""For all keys to be written: a million of them, on a slow disk."""

CHANNEL_OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked of a system."""

    template: Template
    keys: int
    shape: Shape
    order: Order = "random"
    seed: int = 1
    least_reply_bytes: int = 0
    """What a reply has at least, without gRPC's frame: the value, if one is asked for."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    log: Log

    def sample(self, workload: str) -> Sample:
        """Its throughput and percentiles, as those of a workload."""
        latencies = self.log.latencies_ms
        of_percentiles = {(workload, measure): percentile(latencies, p) for measure, p in _PERCENTS.items()}
        return {(workload, THROUGHPUT): self.log.requests_per_second, **of_percentiles}


_PERCENTS: Final = {P50: 50.0, P99: 99.0, P999: 99.9}


class LoadGenerator:
    """Runs h2load, with its files in `folder`."""

    def __init__(self, folder: Path) -> None:
        """Compiles what is preloaded. Raises `subprocess.CalledProcessError` if that can't be done."""
        self._library = folder.resolve() / "vary_requests.so"
        compile_it = [
            "cc",
            "-O2",
            "-Wall",
            "-Wextra",
            "-shared",
            "-fPIC",
            "-o",
            str(self._library),
            str(SOURCE),
            "-ldl",
        ]
        subprocess.run(compile_it, check=True)

    def run(self, address: str, path: str, load: Load, seconds: float, warm_up_seconds: float) -> Outcome:
        """Asks for so long. Raises `LoadFailed` if too few requests were answered for the numbers to mean anything."""
        whole_seconds = warm_up_seconds + seconds + CONNECT_SECONDS
        with self._log(address, path, load, h2load.for_seconds(whole_seconds), whole_seconds) as log:
            return Outcome(h2load.parse_log(log, warm_up_seconds, seconds))

    def fill(self, address: str, path: str, keys: int, value_bytes: int) -> Outcome:
        """Writes each of the keys once. Raises `LoadFailed`."""
        shape = Shape(connections=8, streams=32)
        load = Load(template=payloads.put(value_bytes), keys=keys, shape=shape, order="sequence")
        with self._log(address, path, load, h2load.for_requests(keys), FILL_SECONDS) as log:
            return Outcome(h2load.parse_log(log))

    @contextmanager
    def _log(self, address: str, path: str, load: Load, length: list[str], seconds: float) -> Iterator[TextIO]:
        """Runs it, and opens its log."""
        least_reply_bytes = _least_reply_bytes(address, path, load)
        with TemporaryDirectory(dir=self._library.parent) as folder:
            body, log = Path(folder, "body"), Path(folder, "log")
            body.write_bytes(load.template.body)
            line = [*h2load.command(f"http://{address}{path}", str(body), load.shape, str(log)), *length]
            varied = payloads.environment(load.template, str(body), load.keys, load.order, load.seed)
            output = self._call(line, varied, seconds + OVERTIME_SECONDS)
            _check(h2load.parse_output(output), least_reply_bytes, output)
            with log.open() as lines:
                yield lines

    def _call(self, line: list[str], environment: dict[str, str], timeout_seconds: float) -> str:
        environment = {**os.environ, **environment, "LD_PRELOAD": str(self._library)}
        done = subprocess.run(
            line, env=environment, capture_output=True, text=True, timeout=timeout_seconds, check=False
        )
        if done.returncode:
            raise LoadFailed(f"h2load ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


def _least_reply_bytes(address: str, path: str, load: Load) -> int:
    """The length of the shortest reply to some requests that are sent before the load is."""
    numbers = [load.keys * place // PROBES for place in range(PROBES)]
    with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        ask = channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
        found = min(len(ask(_numbered(load.template, number), timeout=PROBE_SECONDS)) for number in numbers)
    if found < load.least_reply_bytes:
        raise LoadFailed(f"a reply has {found} bytes, and the value that it should have {load.least_reply_bytes}")
    return found


def _numbered(template: Template, number: int) -> bytes:
    body, at = template.body, template.key_offset
    return (body[:at] + payloads.key(number) + body[at + payloads.KEY_BYTES :])[payloads.FRAME_BYTES :]


def _check(tally: h2load.Tally, least_reply_bytes: int, output: str) -> None:
    if tally.failed:
        raise LoadFailed(f"{tally.failed} requests failed:\n{output}")
    share = h2load.answered_share(tally, least_reply_bytes)
    if share < LEAST_ANSWERED_SHARE:
        raise LoadFailed(f"only {share:.1%} of the requests were answered by a message:\n{output}")
