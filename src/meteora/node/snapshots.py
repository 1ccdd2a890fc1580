"""The snapshots of one node: the one that it makes for others, and the one that it takes from another.

A snapshot is made when a peer lacks entries that the log no longer has, and serves all peers that do. It is kept while
it is being sent, and `KEEP_SECONDS` longer, so that a transfer that broke goes on with the same bytes. As long as it is
kept, the log keeps the entries after it: whoever got the snapshot goes on with those.

One snapshot is received at a time. One that is not whole yet gives way to that of a later leader, because who sent it
may be cut off, or stand still, and the cluster may need this node; and to another one of the same leader, which sends
one at a time, and so has found the stream of the first to be broken. Once it is whole, it waits for the core to say
that it is to be installed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path

from meteora.errors import Corruption, DiskFailure, MeteoraError, SnapshotDamaged
from meteora.kv.installation import INCOMING, OUTGOING, build, install
from meteora.kv.state import State
from meteora.kv.state_machine import StateMachine
from meteora.node.members import Members
from meteora.observability.logs import get_logger
from meteora.raft import HardState
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import RaftLog
from meteora.storage.snapshot_files import Manifest, decode_manifest, remove
from meteora.storage.snapshot_transfer import Chunk, Position, SnapshotReceiver, SnapshotSource
from meteora.transport.interface import SnapshotChunk, SnapshotNotSent, SnapshotPosition, SnapshotUnusable

KEEP_SECONDS = 60.0
"""How long a snapshot that nobody takes any more is kept: longer than the pauses between attempts to send it."""

PROGRESS_SECONDS = 5.0
"""Between log lines about one that is received."""

_log = get_logger("snapshot")


class SnapshotUnwanted(MeteoraError):
    """A snapshot that was offered is not taken. The sender is told why."""


class SnapshotOvertaken(SnapshotUnwanted):
    """A snapshot that was offered holds nothing that is not here."""

    def __init__(self, manifest: Manifest, commit_index: int) -> None:
        super().__init__(f"the log is committed up to {commit_index} here, beyond {manifest.index}")
        self.manifest = manifest


class Outgoing:
    """A snapshot on its way to a peer: a `meteora.transport.interface.OutgoingSnapshot`."""

    def __init__(self, term: int, source: SnapshotSource) -> None:
        self.term = term
        self.manifest = source.manifest.encode()
        self._source = source

    async def read(self, position: SnapshotPosition) -> tuple[SnapshotChunk, SnapshotPosition] | None:
        """The chunk at `position`, and where the next one begins; None at the end.

        Raises `SnapshotNotSent` if there is no such place, `SnapshotUnusable` if the snapshot can't be read.
        """
        wanted = Position(*position)
        if not self._source.has(wanted):
            raise SnapshotNotSent(f"{wanted} was asked for, which the snapshot does not have")
        try:
            chunk = await self._source.read(wanted)
        except (SnapshotDamaged, DiskFailure) as error:
            # What is on this disk is only a copy: another one can be made of the state.
            raise SnapshotUnusable(str(error)) from error
        if chunk is None:
            return None
        table_number, end_bytes = position.table_number, position.offset_bytes + len(chunk.data)
        is_whole = end_bytes == self._source.manifest.tables[table_number].size_bytes
        after = SnapshotPosition(table_number + 1, 0) if is_whole else SnapshotPosition(table_number, end_bytes)
        return SnapshotChunk(position, chunk.data, chunk.checksum), after


class OutgoingSnapshots:
    """Makes a snapshot when one is wanted, and keeps it for as long as it is of use."""

    def __init__(self, root: Path, state_machine: StateMachine, disk: DiskThread) -> None:
        self._directory = root / OUTGOING
        self._state_machine = state_machine
        self._disk = disk
        self._manifest: Manifest | None = None
        self.created = 0
        """How many were made."""
        self._users = 0
        self._used_at = 0.0
        self._changed = asyncio.Condition()
        self.held_index: float = inf
        """The log keeps the entries after this one, for whom the snapshot is made, or was made."""

    @asynccontextmanager
    async def lent(self, least_index: int) -> AsyncIterator[SnapshotSource | None]:
        """A snapshot at `least_index` or later, for as long as it is being sent; None if it was abandoned.

        Raises `Corruption`, `DiskFull` or `DiskFailure`.
        """
        manifest = await self._take(least_index)
        if manifest is None:
            yield None
            return
        try:
            yield SnapshotSource(self._directory, manifest, self._disk)
        finally:
            self._users -= 1
            self._used_at = asyncio.get_running_loop().time()
            async with self._changed:
                self._changed.notify_all()

    async def _take(self, least_index: int) -> Manifest | None:
        async with self._changed:
            while self._manifest is None or self._manifest.index < least_index:
                if self._users:
                    # An older one is on its way to somebody, in the place of the new one.
                    await self._changed.wait()
                    continue
                self.doubt()
                # It will be at this index or later, and whoever gets it goes on after it.
                self.held_index = self._state_machine.applied_index
                try:
                    self._manifest = await self._state_machine.create_snapshot(self._directory)
                finally:
                    self.held_index = inf if self._manifest is None else self._manifest.index
                if self._manifest is None:
                    return None
                self.created += 1
                _log.info("made a snapshot", index=self._manifest.index, mebibytes=_mebibytes(self._manifest))
            self._users += 1
            return self._manifest

    def doubt(self) -> None:
        """It is of no use any more: lend it to nobody else."""
        self._manifest, self.held_index = None, inf

    async def drop_unused(self, now: float) -> None:
        """Remove the snapshot if nobody has taken it for long. Raises `DiskFailure`."""
        if self._manifest is None or self._users or now - self._used_at < KEEP_SECONDS or self._changed.locked():
            return
        async with self._changed:
            self.doubt()
            await self._disk.run(remove, self._directory)


class Incoming:
    """A snapshot that a peer sends: a `meteora.transport.interface.IncomingSnapshot`."""

    def __init__(
        self, snapshots: "IncomingSnapshots", term: int, manifest: Manifest, take: Callable[[Manifest], Awaitable[None]]
    ) -> None:
        self.term = term
        """Of the leader that sends it."""
        self.is_taken = False
        """Whether it is whole, and what becomes of it is the node's."""
        self._snapshots = snapshots
        self._receiver = snapshots.receiver
        self._manifest = manifest
        self._take = take
        self._told_at = asyncio.get_running_loop().time()

    async def begin(self) -> SnapshotPosition:
        """From where on it is wanted. Raises `SnapshotUnwanted` if another one has taken its place."""
        async with self._in_its_place():
            return SnapshotPosition(*await self._receiver.begin(self._manifest))

    async def write(self, chunk: SnapshotChunk) -> SnapshotPosition:
        """Take in a chunk; what is wanted now. Raises as `begin`."""
        async with self._in_its_place():
            wanted = await self._receiver.write(Chunk(Position(*chunk.position), chunk.data, chunk.checksum))
        self._tell_progress()
        return SnapshotPosition(*wanted)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is wanted any more."""
        return self._has_its_place and self._receiver.is_complete

    @property
    def _has_its_place(self) -> bool:
        return self._snapshots.current is self

    @asynccontextmanager
    async def _in_its_place(self) -> AsyncIterator[None]:
        """With the receiver for itself: what another one has begun there comes to its end before."""
        async with self._snapshots.turn:
            if not self._has_its_place:
                raise SnapshotUnwanted("another one has come in its place")
            yield

    async def finish(self) -> None:
        """All of it is here: returns once the node has taken it over."""
        self.is_taken = True
        await self._take(self._receiver.take())

    def _tell_progress(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told_at >= PROGRESS_SECONDS:
            self._told_at = now
            received, size = self._receiver.received_bytes, self._manifest.size_bytes
            _log.info("receiving a snapshot", received_mebibytes=received >> 20, of_mebibytes=size >> 20)

    def close(self) -> None:
        """Nothing more comes."""
        if self._has_its_place and not self.is_taken:
            self._snapshots.settled()


class IncomingSnapshots:
    """Takes one snapshot at a time."""

    def __init__(self, root: Path, disk: DiskThread) -> None:
        self.receiver = SnapshotReceiver(root / INCOMING, disk)
        self.turn = asyncio.Lock()
        """Of who works with the receiver."""
        self.current: Incoming | None = None
        """What is received, or was and is not settled yet."""

    def open(
        self,
        sender: int,
        term: int,
        encoded_manifest: bytes,
        commit_index: int,
        take: Callable[[Manifest], Awaitable[None]],
    ) -> Incoming:
        """Begin to receive; once all of it is here, `take` takes it over, and says by `settled` when it is done with.

        Raises `SnapshotUnwanted`, `SnapshotOvertaken` among them, or `SnapshotDamaged` if the manifest, or the
        membership in it, can't be read.
        """
        manifest = _readable(encoded_manifest)
        if manifest.index <= commit_index:
            raise SnapshotOvertaken(manifest, commit_index)
        current = self.current
        if current is not None and (current.is_taken or term < current.term):
            raise SnapshotUnwanted("another snapshot is being received here")
        _log.info("receiving a snapshot", sender=sender, index=manifest.index, mebibytes=_mebibytes(manifest))
        self.current = Incoming(self, term, manifest, take)
        return self.current

    def settled(self) -> None:
        """What was received is installed, or of no use any more."""
        self.current = None


class Snapshots:
    """All that a node does with snapshots, but when."""

    def __init__(self, root: Path, log: RaftLog, state_machine: StateMachine, disk: DiskThread) -> None:
        """`root` is the data directory. What is sent and received is read and written on `disk`."""
        self.outgoing = OutgoingSnapshots(root, state_machine, disk)
        self.incoming = IncomingSnapshots(root, disk)
        self._root = root
        self._log = log
        self._state_machine = state_machine

    async def build(self, manifest: Manifest) -> State | None:
        """A state, durable and opened, of the snapshot that was received; None if the node stops.

        Raises `SnapshotDamaged` if it can't be one, `DiskFull` or `DiskFailure`.
        """
        state: State | None = None
        try:
            state = await build(self._root, manifest, self._state_machine)
        finally:
            if state is None:
                self.incoming.settled()
        return state

    async def install(self, state: State, hard_state: HardState | None) -> None:
        """Replace log and state. Nothing may be applied meanwhile. Raises as `meteora.kv.installation.install`."""
        await install(state, self._state_machine, self._log, hard_state)
        self.incoming.settled()

    async def discard(self, state: State) -> None:
        """Remove a state that is not to be installed. Raises `DiskFailure`."""
        await self._state_machine.discard(state)
        self.incoming.settled()

    def abandon(self) -> None:
        """Let what is being made or installed end soon: the node stops."""
        self._state_machine.abandon_snapshots()


def _readable(encoded_manifest: bytes) -> Manifest:
    manifest = decode_manifest(encoded_manifest)
    try:
        Members.decode(manifest.membership)
    except Corruption as error:
        raise SnapshotDamaged(f"the manifest of a snapshot can't be used: {error}") from error
    return manifest


def _mebibytes(manifest: Manifest) -> float:
    return round(manifest.size_bytes / (1 << 20), 1)
