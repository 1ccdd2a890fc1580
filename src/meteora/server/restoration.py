"""Makes the data directory of a new cluster's first node of a backup.

The state of the backup is taken as it is, sessions and former members included, and a log is put after it that begins
where it ends: in a higher term, changes of membership that leave the new node alone, as `meteora recover` makes them.
So index and term go on above those of the backup, and everything that is a function of the log stays true.

All of it is made in `unfinished-restore/` inside the directory, which may be a mount of its own, and moved up once it
is durable: databases first, and last, by one rename, the identity. A crash before that leaves a directory in which no
node starts (see `meteora.storage.data_directory`); after it, one that is whole. The lock of the directory is made anew,
and held from before the first byte to after the last: of all that come upon an empty directory, one goes on.

The cluster gets a new id. Members of the one that was backed up can't be mixed with it.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from meteora.errors import BackupDamaged, Corruption, DataDirectoryError, ReleaseTooOld, SnapshotDamaged
from meteora.kv.backup_file import BackupReader, Header, Summary
from meteora.kv.snapshots import build_state
from meteora.kv.state import (
    APPLIED_KEY,
    LEVEL_KEY,
    MEMBERSHIP_KEY,
    decode_level,
    decode_position,
    new_database,
    new_table,
)
from meteora.kv.state_machine import StateMachine
from meteora.kv.users import META_KEY, SECRET_BYTES, with_secret
from meteora.node.members import Member, Members
from meteora.node.recovery import replay
from meteora.raft import HardState
from meteora.server.new_cluster import entries_to_alone
from meteora.storage.data_directory import LOCK, UNFINISHED_RESTORE, DataDirectory, contents, held_anew, unusable
from meteora.storage.disk_thread import DiskThread
from meteora.storage.durable_files import make_directory, move, sync_directory
from meteora.storage.pace import Unpaced
from meteora.storage.raft_log import RaftLog
from meteora.storage.rocks import without_advice
from meteora.storage.snapshot_files import Manifest, TablesWriter, disk_errors, make_empty, remove

Tell = Callable[[int], object]
"""Told now and then how many bytes of the backup were read."""


_NOTICED: Final = (APPLIED_KEY, MEMBERSHIP_KEY, LEVEL_KEY)
"""What is known only once all was read, and is looked at before any of it is used."""


class Read(NamedTuple):
    """What a backup is, once all of it was read and found whole."""

    header: Header
    summary: Summary
    members: Members
    """Of the cluster, when it was made."""


def verify_backup(file: BinaryIO, tell: Tell) -> Read:
    """Read all of a backup; blocks. Raises `BackupDamaged` unless it is whole."""
    reader = BackupReader(file)
    noticed = {key: value for key, value in _followed(reader, tell) if key in _NOTICED}
    return _read(reader, noticed)


def restore_backup(file: BinaryIO, root: Path, *, node_id: int, kv_address: str, raft_address: str, tell: Tell) -> Read:
    """Make the data directory `root` of the backup in `file`, durably; blocks.

    Raises `DataDirectoryError` if there is anything in it, `BackupDamaged`, `DiskFull` or `DiskFailure`; then all is as
    it was.
    """
    with _workshop(root) as work:
        read = _make(file, work, node_id, Member(kv_address, raft_address), tell)
        for name in ("raft", _state_name(read.summary.index), "identity"):
            move(work / name, root / name)
    return read


@contextmanager
def _workshop(root: Path) -> Iterator[Path]:
    """The directory to work in, in the directory `root`, which is found empty, and is again if the work fails."""
    try:
        if contents(root):
            raise DataDirectoryError(
                f"{root} is not empty: a backup is restored into an empty directory; choose another one with -d"
            )
        existed = root.is_dir()
        make_directory(root)
    except OSError as error:
        raise unusable(root, error) from error
    with held_anew(root):
        work = root / UNFINISHED_RESTORE
        try:
            make_empty(work)
            with disk_errors(root):
                yield work
        except BaseException:
            _make_as_it_was(root, existed=existed)
            raise
        remove(work)
        with disk_errors(root):
            sync_directory(root)


def _make_as_it_was(root: Path, *, existed: bool) -> None:
    """Remove all that is in the directory, in which nothing was, and the directory if it was not there."""
    with disk_errors(root):
        # Without it the rest is of no node, should this not come to its end.
        (root / "identity").unlink(missing_ok=True)
        for path in contents(root):
            if path.name != LOCK:
                remove(path)
        # From here on it may be somebody else's.
        (root / LOCK).unlink()
        if not existed:
            with suppress(OSError):
                root.rmdir()


def _make(file: BinaryIO, work: Path, node_id: int, member: Member, tell: Tell) -> Read:
    read = _make_state(file, work, tell)
    directory = DataDirectory.open(work, node_id)
    try:
        instance_id = directory.create_identity(node_id, secrets.randbits(63) + 1).instance_id
        _make_log(work, read, node_id, member._replace(instance_id=instance_id))
        directory.set_cluster(secrets.randbits(63) + 1)
    finally:
        directory.close()
    return read


def _make_state(file: BinaryIO, work: Path, tell: Tell) -> Read:
    tables = work / "tables"
    make_empty(tables)
    reader = BackupReader(file)
    writer = TablesWriter(tables, Unpaced(), new_table, _NOTICED)
    writer.write(_renewed(_followed(reader, tell)))
    read = _read(reader, writer.noticed)
    index, term = read.summary.index, read.summary.term
    membership = writer.noticed.get(MEMBERSHIP_KEY, b"")
    manifest = Manifest(index=index, term=term, membership=membership, tables=tuple(writer.tables))
    try:
        state = build_state(Unpaced(), tables, manifest, work / _state_name(index), new_database)
    except SnapshotDamaged as error:
        raise BackupDamaged(str(error)) from error
    state.database.close()
    return read


def _make_log(work: Path, read: Read, node_id: int, member: Member) -> None:
    index, term = read.summary.index, read.summary.term
    entries = entries_to_alone(node_id, member, read.members, term + 1, index + 1)
    with ExitStack() as parts:
        disk = DiskThread("raft log")
        parts.callback(disk.close)
        log = RaftLog.open(work / "raft", disk)
        parts.callback(log.close)
        asyncio.run(log.reset(index, term, HardState(term=term, vote=0, commit=index), _state_name(index)))
        asyncio.run(log.append(entries, HardState(term=term + 1, vote=0, commit=entries[-1].index)))
        state_machine = StateMachine.open(work / _state_name(index))
        parts.callback(state_machine.close)
        replay(log, state_machine)
        asyncio.run(state_machine.flush())


def _followed(reader: BackupReader, tell: Tell) -> Iterator[tuple[bytes, bytes]]:
    for count, pair in enumerate(reader.records()):
        yield pair
        if count % 1000 == 0:
            tell(reader.position_bytes)


def _renewed(pairs: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The same, with a secret of their own for the members of the new cluster: there is none in a backup."""
    for key, value in pairs:
        if key != META_KEY:
            yield key, value
            continue
        try:
            yield key, with_secret(value, secrets.token_bytes(SECRET_BYTES))
        except Corruption as error:
            raise BackupDamaged(str(error)) from error


def _read(reader: BackupReader, noticed: dict[bytes, bytes]) -> Read:
    """What was read, if what the backup says of itself is what is in it. Raises `BackupDamaged`."""
    summary = reader.summary
    assert summary is not None
    try:
        position = decode_position(Path("it"), noticed.get(APPLIED_KEY))
        members = Members.decode(noticed.get(MEMBERSHIP_KEY, b""))
        decode_level(Path("it"), noticed.get(LEVEL_KEY))
    except ReleaseTooOld as error:
        what = str(error).partition(": ")[0]
        raise BackupDamaged(f"{what}: use release {reader.header.release}, which made it, or a later one") from error
    except (Corruption, RecursionError) as error:
        raise BackupDamaged(f"its membership or position can't be read: {without_advice(error)}") from error
    if position != (summary.index, summary.term):
        raise BackupDamaged(f"it says that it is of entry {summary.index}, and holds the state at {position[0]}")
    return Read(reader.header, summary, members)


def _state_name(index: int) -> str:
    return f"kv-{index}"
