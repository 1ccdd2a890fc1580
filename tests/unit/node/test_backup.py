import asyncio
import io
from pathlib import Path

import pytest

from meteora.kv.backup_file import BackupReader
from meteora.kv.state_scan import PAGE_RECORDS
from meteora.node.backup import Piece, backup_pieces
from tests.unit.kv.state_machines import entry_of, opened, put

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_the_pieces_are_the_file_of_the_state_at_its_index(tmp_path: Path) -> None:
    async def made() -> list[Piece]:
        scan = await machine.scan()
        pieces = [piece async for piece in backup_pieces(scan, 0xAB, 7)]
        await scan.close()
        return pieces

    with opened(tmp_path) as machine:
        machine.apply([entry_of(1, *(put(b"%06d" % number, b"") for number in range(2 * PAGE_RECORDS)), term=5)])
        pieces = asyncio.run(made())
        state = dict(machine._database.scan(b"", b"\xff"))
    reader = BackupReader(io.BytesIO(b"".join(piece.data for piece in pieces)))
    assert dict(reader.records()) == state
    assert (reader.header.cluster_id, reader.header.node_id) == ("00000000000000ab", 7)
    assert reader.summary is not None
    assert (reader.summary.index, reader.summary.term) == (1, 5)
    assert [piece.records for piece in pieces] == [0, PAGE_RECORDS, 2 * PAGE_RECORDS, len(state), len(state)]
