"""What is preloaded into h2load, preloaded into a Python that reads a body as h2load does: frame by frame, by pread."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import payloads
from bench.load import SOURCE
from bench.payloads import Order, Template
from meteora.pb.kv_pb2 import GetReq, PutReq

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")

READER = """
import json, os, sys
path, count, frame_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
file = os.open(path, os.O_RDONLY)
length = os.fstat(file).st_size
read = lambda: b"".join(os.pread(file, frame_bytes, at) for at in range(0, length, frame_bytes))
print(json.dumps([read().hex() for _ in range(count)]))
"""

Read = Callable[..., list[bytes]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vary") / "vary.so"
    subprocess.run(
        ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", path, SOURCE, "-ldl"], check=True
    )
    return path


@pytest.fixture
def read(library: Path, tmp_path: Path) -> Read:
    """Reads so many bodies in frames of this length, and returns their messages."""

    def call(
        template: Template, count: int, *, keys: int, order: Order = "sequence", seed: int = 1, frame: int = 16384
    ) -> list[bytes]:
        path = tmp_path / "body"
        path.write_bytes(template.body)
        varied = payloads.environment(template, str(path), keys, order, seed)
        done = subprocess.run(
            [sys.executable, "-c", READER, str(path), str(count), str(frame)],
            env={**os.environ, **varied, "LD_PRELOAD": str(library)},
            capture_output=True,
            text=True,
            check=True,
        )
        return [bytes.fromhex(body)[payloads.FRAME_BYTES :] for body in json.loads(done.stdout)]

    return call


def test_in_sequence_each_key_is_written_once_before_the_first_comes_again(read: Read) -> None:
    found = [PutReq.FromString(each).key for each in read(payloads.put(64), 6, keys=5)]
    assert found == [payloads.key(number) for number in (0, 1, 2, 3, 4, 0)]


def test_at_random_every_key_is_one_of_those_that_there_are_and_most_come(read: Read) -> None:
    found = {PutReq.FromString(each).key for each in read(payloads.put(64), 1000, keys=100, order="random")}
    assert found <= {payloads.key(number) for number in range(100)}
    assert len(found) > 95


def test_another_seed_is_another_order(read: Read) -> None:
    first, second = (read(payloads.get(), 20, keys=10_000, order="random", seed=seed) for seed in (1, 2))
    assert first != second


def test_every_value_is_another_one_and_of_the_same_length(read: Read) -> None:
    values = [PutReq.FromString(each).value for each in read(payloads.put(1024), 50, keys=5)]
    assert len(set(values)) == 50
    assert {len(value) for value in values} == {1024}


def test_a_body_of_several_frames_is_whole(read: Read) -> None:
    found = [PutReq.FromString(each) for each in read(payloads.put(65536), 3, keys=5, frame=16384)]
    assert [(each.key, len(each.value)) for each in found] == [(payloads.key(number), 65536) for number in range(3)]


def test_a_request_without_a_value_has_only_its_key_changed(read: Read) -> None:
    assert [GetReq.FromString(each).key for each in read(payloads.get(), 2, keys=5)] == [
        payloads.key(0),
        payloads.key(1),
    ]
