"""From a scan of everything to the pieces of a backup file."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import meteora
from meteora.kv.backup_file import BackupWriter, Header
from meteora.kv.state import APPLIED_KEY, decode_position
from meteora.kv.state_scan import Pairs, StateScan
from meteora.kv.users import META_KEY, with_secret


class Piece(NamedTuple):
    """Bytes of the file, and how many records were in all that was made so far."""

    data: bytes
    records: int


async def backup_pieces(scan: StateScan, cluster_id: int, node_id: int) -> AsyncGenerator[Piece, None]:
    """The backup file of `scan`, piece by piece; one or two of them are in memory. Raises as `StateScan.page` does."""
    backup = _Backup()
    created_at = datetime.now(UTC).isoformat(timespec="seconds")
    header = Header(
        cluster_id=f"{cluster_id:016x}", node_id=node_id, release=meteora.__version__, created_at=created_at
    )
    yield Piece(backup.writer.begin(header), 0)
    while (piece := await scan.page(backup.add)) is not None:
        yield piece
    yield Piece(backup.end(), backup.writer.records)


class _Backup:
    """One that is being made. The position of the state is among its records: it is known once they are read."""

    def __init__(self) -> None:
        self.writer = BackupWriter()
        self._position: bytes | None = None

    def add(self, pairs: Pairs) -> Piece | None:
        if not pairs:
            return None
        self._position = next((value for key, value in pairs if key == APPLIED_KEY), self._position)
        # Whoever has the file must not be taken for a member by the cluster that goes on.
        without = [(key, with_secret(value, b"") if key == META_KEY else value) for key, value in pairs]
        return Piece(self.writer.add(without), self.writer.records)

    def end(self) -> bytes:
        return self.writer.end(*decode_position(Path("kv"), self._position))
