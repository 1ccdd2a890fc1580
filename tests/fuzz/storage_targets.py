"""What is on disk: records, entries, marks, identities, manifests, batches of commands, and whole directories."""

import asyncio
import atexit
import shutil
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path

from meteora.errors import BackupDamaged, Corruption, DataDirectoryError, DiskFailure, SnapshotDamaged, StorageError
from meteora.kv.backup_file import BackupReader, BackupWriter, Header
from meteora.kv.command import decode_batch, encode_batch
from meteora.kv.proposals import refusal_of
from meteora.kv.rolling_hash import decode_rolling_hash
from meteora.raft.entry import Entry
from meteora.raft.message import HardState
from meteora.storage import raft_records
from meteora.storage.data_directory import DataDirectory, read_identity
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import RaftLog
from meteora.storage.raft_log_check import check_raft_log
from meteora.storage.raft_records import LOG_STATE_KEY, STATE_DIRECTORY_KEY, MalformedRecord
from meteora.storage.snapshot_files import decode_manifest
from meteora.storage.watermark import Watermark, read_watermark
from tests.fuzz.choices import Choices

HEADER = Header(cluster_id="1", node_id=1, release="0", created_at="2026-01-01T00:00:00+00:00")


def _sealed(key: bytes, content: bytes) -> bytes:
    return content + zlib.crc32(content, zlib.crc32(key)).to_bytes(4)


def raft_records_(data: bytes) -> None:
    """Records of the log, with a right checksum or without."""
    choices = Choices(data)
    is_sealed, key, content = choices.flag(), choices.chunk(), choices.rest()
    with suppress(MalformedRecord):
        state = raft_records.decode_log_state(_sealed(LOG_STATE_KEY, content) if is_sealed else content)
        assert raft_records.decode_log_state(raft_records.encode_log_state(state)) == state
    with suppress(MalformedRecord):
        name = raft_records.decode_state_directory(_sealed(STATE_DIRECTORY_KEY, content) if is_sealed else content)
        assert name is not None
        assert raft_records.decode_state_directory(raft_records.encode_state_directory(name)) == name
    with suppress(MalformedRecord):
        term, _ = raft_records.decode_term_run(key, _sealed(key, content) if is_sealed else content)
        assert raft_records.key_number(key) == term


def command_batch(data: bytes) -> None:
    """A batch of commands in an entry."""
    with suppress(Corruption):
        assert encode_batch(decode_batch(data)) == data
    with suppress(Corruption):
        assert encode_batch(decode_batch(b"\x01" + data)) == b"\x01" + data
    refusal_of(data, len(data) % 2)
    refusal_of(b"\x01" + data, len(data) % 2)
    decode_rolling_hash(data, len(data))


def manifest(data: bytes) -> None:
    """The manifest of a snapshot, from a peer or from disk."""
    with suppress(SnapshotDamaged):
        found = decode_manifest(data)
        assert decode_manifest(found.encode()) == found


@cache
def scratch() -> Path:
    path = Path(tempfile.mkdtemp(prefix="meteora-fuzz-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def backup_file(data: bytes) -> None:
    """A backup: parts with right checksums in any order, pieces of a real one, anything else."""
    choices = Choices(data)
    writer = BackupWriter()
    pieces = [writer.begin(HEADER)]
    while choices and len(pieces) < 12:
        pairs = [(choices.chunk(), choices.chunk()) for _ in range(choices.byte() % 3)]
        match choices.byte() % 6:
            case 0:
                pieces.append(choices.chunk())
            case 1:
                pieces.append(writer.end(choices.small() & (1 << 62) - 1, choices.small() & (1 << 62) - 1))
            case 2:
                pieces.append(pieces[choices.byte() % len(pieces)])
            case 3:
                pieces.pop(choices.byte() % len(pieces))
                pieces = pieces or [writer.begin(HEADER)]
            case _:
                pieces.append(writer.add(pairs))
    pieces.append(writer.end(1, 1))
    file = b"".join(pieces)
    with suppress(BackupDamaged):
        reader = BackupReader(BytesIO(file))
        again = BackupWriter()
        found = [again.begin(reader.header), *(again.add([pair]) for pair in reader.records())]
        assert reader.summary is not None
        assert reader.summary.records == again.records
        assert b"".join(found)


def small_files(data: bytes) -> None:
    """The identity and the watermark of a directory: anything in their place."""
    directory = scratch() / "small"
    directory.mkdir(exist_ok=True)
    (directory / "identity").write_bytes(data)
    with suppress(DataDirectoryError):
        identity = read_identity(directory)
        assert identity is not None
        DataDirectory.open(directory, identity.node_id).close()
    path = directory / ".mark"
    path.write_bytes(data)
    with suppress(Corruption):
        mark = Watermark(path)
        mark.close()
        assert mark.number == read_watermark(path)


ENTRIES = [Entry(1 + index // 20, index, b"%d" % index * 20) for index in range(1, 61)]


@cache
def _healthy_log() -> dict[str, bytes]:
    """The files of a log that was closed in good order."""
    path = scratch() / "healthy"
    disk = DiskThread("fuzz")
    try:
        for part in (ENTRIES[:30], ENTRIES[30:]):
            log = RaftLog.open(path, disk)
            asyncio.run(log.append(part, HardState(part[-1].term, 1, part[0].index)))
            log.close()
    finally:
        disk.close()
    return {file.name: file.read_bytes() for file in sorted(path.iterdir()) if file.is_file() and file.name != "LOCK"}


def damage(files: Mapping[str, bytes], names: Sequence[str], choices: Choices) -> dict[str, bytes]:
    """The files with some bytes changed, cut off or added in some of those with these names; or with some gone."""
    damaged = dict(files)
    for _ in range(1 + choices.byte() % 3):
        name = choices.one_of(names or list(files))
        content = bytearray(damaged.get(name, b""))
        at = choices.byte() << 8 | choices.byte()
        match choices.byte() % 5:
            case 0 if content:
                content[at % len(content)] ^= 1 << choices.byte() % 8
            case 1:
                del content[at % (len(content) + 1) :]
            case 2:
                content += choices.chunk()
            case 3 if content:
                chunk = choices.chunk()
                content[at % len(content) : at % len(content) + len(chunk)] = chunk
            case _:
                damaged.pop(name, None)
                continue
        damaged[name] = bytes(content)
    return damaged


def raft_directory(data: bytes) -> None:
    """A real directory of a log, with bytes changed or files gone: refused, or whole; never silently wrong."""
    choices, files = Choices(data), _healthy_log()
    files = damage(files, [name for name in files if not name.startswith(("LOG", "OPTIONS"))], choices)
    path = scratch() / "damaged"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    for name, content_ in files.items():
        (path / name).write_bytes(content_)
    with suppress(Corruption, DiskFailure):
        check_raft_log(path, lambda *_: None)
    _open(path, choices)


def _open(path: Path, choices: Choices) -> None:
    disk = DiskThread("fuzz")
    try:
        log = RaftLog.open(path, disk)
    except StorageError:
        return
    else:
        try:
            # The mark may be what was damaged: then the log's own state still says where it ends.
            with suppress(StorageError):
                found = log.read(log.first_index(), log.last_index() + 1, 1 << 40) if log.last_index() else []
                assert found == ENTRIES[: len(found)], "a log that opens has other entries than were written"
                assert log.hard_state.term <= ENTRIES[-1].term
                assert found == ENTRIES or (path / "watermark").read_bytes() != _healthy_log()["watermark"], (
                    "acknowledged entries are gone, and nothing was said"
                )
        finally:
            with suppress(StorageError):
                log.close()
    finally:
        disk.close()
