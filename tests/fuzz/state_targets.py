"""The replicated state: its records, changes of users, a damaged database, and a snapshot that comes damaged."""

import asyncio
import json
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

from meteora.errors import Corruption, ReleaseTooOld, SnapshotDamaged, StorageError
from meteora.kv.command import Command, Operation, encode_batch
from meteora.kv.installation import current_state_path
from meteora.kv.sessions import decode_session
from meteora.kv.state import State, decode_level, decode_position
from meteora.kv.state_check import check_state
from meteora.kv.state_machine import StateMachine
from meteora.kv.users import FROM_KEY, Access, Change, Permission, Role, Token, User, Users, take_record
from meteora.node.members import Member, Members, decode_context, encode_context
from meteora.node.recovery import replay
from meteora.raft import Configuration, Entry, EntryKind, HardState
from meteora.raft.errors import InvariantViolation
from meteora.raft.membership import Change as RoleChange
from meteora.raft.membership import ChangeKind, ConfChange
from meteora.server.access import caller_of
from meteora.storage import snapshot_files
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import RaftLog
from meteora.storage.snapshot_files import Manifest, Table, new_digest
from meteora.storage.snapshot_transfer import Chunk, Position, SnapshotReceiver
from tests.fuzz.choices import Choices
from tests.fuzz.storage_targets import damage, scratch

ODD: Final = (
    None,
    True,
    0,
    -1,
    2**64,
    1.5,
    float("inf"),
    "",
    "x",
    "\ud800",
    "zz",
    [],
    ["a", "b"],
    {},
    {"a": []},
    [[1, "61", ""]],
    [[4, "61", ""]],
    "6" * 64,
)
"""Where something else should be, or just that."""


def _json_with_odd_parts(fields: Any, choices: Choices) -> bytes:
    """What is written of these fields, in which some parts are replaced, and some bytes damaged."""
    for _ in range(choices.byte() % 3):
        fields = _replaced(fields, choices)
    data = bytearray(json.dumps(fields).encode())
    if choices.byte() > 240:
        data[choices.byte() % len(data)] = choices.byte()
    if choices.byte() > 250:
        return b"[" * 5000 if choices.flag() else b'{"version": ' + b"9" * 5000 + b"}"
    return bytes(data)


def _replaced(fields: Any, choices: Choices) -> Any:
    """The same with another value somewhere, or with a part that is missing."""
    deeper = choices.byte() % 4
    if deeper and isinstance(fields, dict) and fields:
        name = choices.one_of(sorted(fields))
        if deeper == 3 and choices.byte() > 200:
            return {key: value for key, value in fields.items() if key != name}
        return {**fields, name: _replaced(fields[name], choices)}
    if deeper and isinstance(fields, list) and fields:
        at = choices.byte() % len(fields)
        return [*fields[:at], _replaced(fields[at], choices), *fields[at + 1 :]]
    return choices.one_of(ODD)


NAMES = ("root", "alice", "bob", "é", "")
KEYS = (b"", b"a", b"b", b"\xff")


def _change(choices: Choices, revision: int) -> Change:
    users, roles, tokens = {}, {}, {}
    for _ in range(choices.byte() % 3):
        user = User(choices.one_of(("", "hash")), tuple(choices.one_of(NAMES) for _ in range(choices.byte() % 3)))
        users[choices.one_of(NAMES)] = user if choices.byte() < 200 else None
    for _ in range(choices.byte() % 3):
        permissions = [
            Permission(Access(1 + choices.byte() % 3), choices.one_of(KEYS), choices.one_of((*KEYS, FROM_KEY)))
            for _ in range(choices.byte() % 3)
        ]
        roles[choices.one_of(NAMES)] = Role(tuple(permissions)) if choices.byte() < 200 else None
    for _ in range(choices.byte() % 3):
        token = Token(choices.one_of(NAMES), choices.small())
        tokens[bytes([choices.byte() % 4]) * 32] = token if choices.byte() < 200 else None
    enabled = choices.one_of((None, True, False))
    return Change(revision, users, roles, tokens, enabled, choices.one_of((b"", b"secret")))


def _look_at_users(found: Users) -> None:
    """What the gate does with them."""
    for token in found.tokens.values():
        assert token.expires_at_ms < 1 or token.expires_at_ms > 0
        if token.user in found.users:
            caller = caller_of(found, token.user, token.expires_at_ms)
            assert isinstance(caller.expires_at_ms <= 1.0, bool)
            for key in KEYS:
                assert isinstance(caller.may(Access.READ, key), bool)
    assert isinstance(found.is_enabled, bool)


def users(data: bytes) -> None:
    """Changes of users and roles, and their records as a disk or a snapshot has them: right ones, and nearly right."""
    choices, found, stored = Choices(data), Users(), dict[bytes, bytes]()
    for _ in range(8):
        if not choices:
            break
        encoded = _change(choices, found.revision + (choices.byte() > 240)).encode()
        with suppress(Corruption):
            change = Change.decode(_json_with_odd_parts(json.loads(encoded), choices))
            assert Change.decode(change.encode()) == change
            for key, record in found.apply(change) or ():
                if record is None:
                    stored.pop(key, None)
                else:
                    stored[key] = record
            _look_at_users(found)
    assert vars(Users().load(sorted(stored.items()))) == vars(found), "what is stored is not what is in memory"
    with suppress(Corruption):
        again = Users()
        for key, record in sorted(stored.items()):
            name = key[:2] + choices.chunk() if choices.byte() > 200 else key
            take_record(again, name, _json_with_odd_parts(json.loads(record), choices))
        _look_at_users(again)


def state_records(data: bytes) -> None:
    """Other records of the state: members, sessions, the position, the level; and what a change of members carries."""
    choices, path = Choices(data), Path("kv")
    members = Members(
        Configuration.of((1, 2, 3)),
        {number: Member("a:1", "b:1", number) for number in (1, 2, 3)},
        ((4, 5), (6, 7)),
        choices.byte() % 3,
    )
    with suppress(Corruption):
        found = Members.decode(_json_with_odd_parts(json.loads(members.encode()), choices))
        assert Members.decode(found.encode()) == found
        assert found.after(ConfChange((RoleChange(ChangeKind.REMOVE, 2),)), members.configuration)
    with suppress(Corruption):
        context = decode_context(_json_with_odd_parts(json.loads(encode_context(members.by_id)), choices))
        assert decode_context(encode_context(context)) == context
    rest = choices.rest()
    with suppress(Corruption):
        assert decode_session(b"\x01" + rest).encode()[:33] == (b"\x01" + rest)[:33]
    with suppress(Corruption):
        decode_position(path, b"\x01" + rest)
    with suppress(Corruption, ReleaseTooOld):
        decode_level(path, rest)


# A damaged database

FLUSHED, LAST = 40, 60
CUT = 20
"""Entries up to here are not in the log any more."""

CHANGES: Final = {
    5: Change(0, {"root": User("hash", ("root",))}, {"reader": Role((Permission(Access.READ, b"a", FROM_KEY),))}),
    30: Change(1, {"alice": User("", ("reader",))}, tokens={b"t" * 32: Token("alice", 1)}),
}


def _entry(index: int) -> Entry:
    if index == 1:
        return Entry(1, 1, b"the first member", EntryKind.CONF_CHANGE)
    commands = [Command(Operation.RAISE_LEVEL, 0, 0, 0, False, b"", b"\x01")] if index == 2 else []
    if index in CHANGES:
        commands.append(Command(Operation.CHANGE_USERS, 0, 0, 0, False, b"", CHANGES[index].encode()))
    for number in range(4):
        key = b"key%d" % ((index * 7 + number) % 50)
        value = Random(index * 4 + number).randbytes(400)
        commands.append(Command(Operation.PUT, 1 + number, index, index, False, key, value))
    if index % 5 == 0:
        commands.append(Command(Operation.DELETE, 0, 0, 0, False, b"key%d" % (index % 50)))
    return Entry(1, index, encode_batch(commands))


def _apply(machine: StateMachine, up_to: int) -> None:
    for index in range(machine.applied_index + 1, up_to + 1):
        entry = _entry(index)
        if entry.kind is EntryKind.CONF_CHANGE:
            machine.apply_membership(entry, Members(Configuration.of((1,)), {1: Member("a:1", "b:1", 1)}).encode())
        else:
            machine.apply([entry])


def _files(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != "LOCK" and not file.name.startswith("LOG")
    }


def _everything(machine: StateMachine) -> tuple[dict[bytes, bytes], dict[str, object]]:
    """All records, and the users in memory."""
    return dict(machine._database.scan(b"", b"\xff")), dict(vars(machine.users))


@contextmanager
def _opened(root: Path) -> Iterator[tuple[StateMachine, RaftLog]]:
    """State and log, as a node opens them."""
    disk = DiskThread("fuzz")
    try:
        machine = StateMachine.open(current_state_path(root))
        try:
            log = RaftLog.open(root / "raft", disk, machine.applied_index)
            try:
                yield machine, log
            finally:
                log.close()
        finally:
            with suppress(StorageError):
                machine.close()
    finally:
        disk.close()


@cache
def _healthy() -> tuple[dict[str, bytes], tuple[dict[bytes, bytes], dict[str, object]]]:
    """The files of a node whose state was flushed, and whose log was cut, and what its state is at the end."""
    root = scratch() / "healthy-node"
    root.mkdir()

    async def live(machine: StateMachine, log: RaftLog) -> None:
        entries = [_entry(index) for index in range(1, LAST + 1)]
        await log.append(entries, HardState(1, 1, LAST))
        for part in (CUT, FLUSHED):
            _apply(machine, part)
            await machine.flush()
        log.release(FLUSHED)
        await log.compact(CUT)
        # As a crash leaves it: what comes after is in the log only.
        shutil.copytree(root, scratch() / "crashed-node")
        _apply(machine, LAST)

    with _opened(root) as (machine, log):
        asyncio.run(live(machine, log))
        everything = _everything(machine)
    return _files(scratch() / "crashed-node"), everything


def state_directory(data: bytes) -> None:
    """A real directory of a state, with bytes changed or files gone: refused, or right; never silently wrong."""
    choices = Choices(data)
    files, everything = _healthy()
    names = [name for name in files if name.startswith("kv/")]
    root = scratch() / "damaged-node"
    shutil.rmtree(root, ignore_errors=True)
    for name, content in damage(files, names, choices).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    if choices.flag():
        check_state(root / "kv", lambda _: None)
    try:
        with _opened(root) as (machine, log):
            replay(log, machine)
            assert machine.applied_index == LAST
            with suppress(StorageError):
                assert _everything(machine) == everything, "a state that opens is another one than there was"
            asyncio.run(_read_each(machine, everything[0]))
    except (StorageError, ReleaseTooOld, InvariantViolation):
        pass


async def _read_each(machine: StateMachine, pairs: dict[bytes, bytes]) -> None:
    for key, value in pairs.items():
        if key[:1] == b"k":
            with suppress(StorageError):
                assert await machine.get_many([key[1:]]) == [value], "a wrong value"


# A snapshot that comes damaged


@cache
def _healthy_snapshot() -> tuple[Manifest, tuple[bytes, ...], dict[bytes, bytes]]:
    """A snapshot of some tables, and the records in it."""
    before, snapshot_files.TABLE_BYTES = snapshot_files.TABLE_BYTES, 1_000  # type: ignore[misc]  # so that it has some
    try:
        machine = StateMachine.open(scratch() / "sender")
        _apply(machine, LAST)
        directory = scratch() / "sent"
        manifest = asyncio.run(machine.create_snapshot(directory))
        assert manifest is not None
        assert len(manifest.tables) > 2
        tables = tuple((directory / f"{number:06d}").read_bytes() for number in range(len(manifest.tables)))
        pairs = _everything(machine)[0]
        machine.close()
    finally:
        snapshot_files.TABLE_BYTES = before  # type: ignore[misc]  # as above
    return manifest, tables, pairs


def snapshot_files_(data: bytes) -> None:
    """A snapshot that is received in damaged pieces, over damaged files, or is not what its manifest says."""
    choices, root = Choices(data), scratch() / "receiver"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    manifest, tables, pairs = _healthy_snapshot()
    is_lie = choices.byte() % 3 == 0
    if is_lie:
        # Made wrong where it was made: its digests are those of what it has.
        named = damage({f"{number}": table for number, table in enumerate(tables)}, [], choices)
        tables = tuple(named.values())
        described = tuple(Table(max(1, len(table)), new_digest(table).hexdigest()) for table in tables)
        manifest = Manifest(index=manifest.index, term=manifest.term, membership=manifest.membership, tables=described)
    if choices.flag():
        _leave_pieces(root / "snapshot-in", manifest, tables, choices)
    disk = DiskThread("fuzz")
    machine = StateMachine.open(root / "kv")
    try:
        receiver = SnapshotReceiver(root / "snapshot-in", disk)
        manifest_here = asyncio.run(_receive(receiver, manifest, tables, choices))
        state = None if manifest_here is None else asyncio.run(_build(root, machine, manifest_here))
        if state is not None and not is_lie:
            assert dict(state.database.scan(b"", b"\xff")) == pairs, "a snapshot brings other records than were sent"
        assert state is not None or not (root / "kv-60").exists(), "something is left of a state that was refused"
        assert asyncio.run(machine.get_many([b"key1"])) == [None]
    finally:
        machine.close()
        disk.close()


def _leave_pieces(directory: Path, manifest: Manifest, tables: tuple[bytes, ...], choices: Choices) -> None:
    """What an interrupted transfer, and a bad disk, may have left."""
    files = {"manifest": manifest.encode(), **{f"{number:06d}": table for number, table in enumerate(tables)}}
    directory.mkdir()
    for name, content in damage(files, [], choices).items():
        (directory / name).write_bytes(content)


async def _receive(
    receiver: SnapshotReceiver, manifest: Manifest, tables: tuple[bytes, ...], choices: Choices
) -> Manifest | None:
    """None if it never came."""
    position = await receiver.begin(manifest)
    for _ in range(200):
        if receiver.is_complete:
            return receiver.take()
        with suppress(SnapshotDamaged):
            position = await receiver.write(_chunk(position, tables, choices))
    return None


async def _build(root: Path, machine: StateMachine, manifest: Manifest) -> State | None:
    with suppress(SnapshotDamaged, ReleaseTooOld):
        return await machine.build(root / "snapshot-in", manifest, root / f"kv-{manifest.index}")
    return None


def _chunk(position: Position, tables: tuple[bytes, ...], choices: Choices) -> Chunk:
    """The chunk that is wanted, or nearly that."""
    number, offset = position
    size = 1 + choices.byte() * 16 if choices.byte() > 128 else 1 << 16
    piece = bytearray(tables[number][offset : offset + size])
    checksum = zlib.crc32(piece)
    match choices.byte():
        case 250:
            piece += choices.chunk()
            checksum = zlib.crc32(piece) if choices.flag() else checksum
        case 251 if piece:
            piece[choices.byte() % len(piece)] ^= 1 << choices.byte() % 8
            checksum = zlib.crc32(piece) if choices.flag() else checksum
        case 252:
            position = Position(choices.small(), choices.small())
        case 253:
            piece.clear()
    return Chunk(position, bytes(piece), checksum)
