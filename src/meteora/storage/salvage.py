"""Reads what can be read of a database of a stopped node, and says what can't.

Rule: nothing is written into the database's directory. Opening one to read only isn't enough for that, because
rocksdict writes its settings there all the same; so what is opened is a directory of links, elsewhere.

Every block of a table is read and its checksum compared, except for Bloom filters: RocksDB says nothing of a damaged
one, and does without it; no answer depends on it. Tables that overlap are read as one, so what shares its keys with a
damaged table may be skipped with it.

After a block that can't be read the scan goes on where the next table begins or ends: what lies between is skipped.
"""

import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from meteora.errors import StorageError
from meteora.storage.rocks import Profile, Rocks, without_advice

END: Final = b"\xff"
"""Above every key of either database."""

_NOT_LINKED: Final = ("LOG", "LOCK", "rocksdict-config")
"""What would be written to: text logs, the lock, and settings that are those of the profile."""

Tell = Callable[[str], None]
"""Takes one line that says what is wrong, and where."""


class Salvage:
    """What is left of one database."""

    def __init__(self, path: Path, links: Path, database: Rocks, tell: Tell) -> None:
        """Use `salvaged`."""
        self._path = path
        self._links = links
        self._database = database
        self._tell = tell
        self._told: set[str] = set()
        self.has_gaps = False
        """Whether anything was skipped: then what seems to be missing may be there."""

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`; None if there is none, or it can't be read, which is told."""
        try:
            return self._database.get(key)
        except StorageError as error:
            self._note(error)
            return None

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """All pairs that can be read, ascending; what can't be is told, once."""
        bounds = self._database.table_bounds()
        position: bytes | None = b""
        while position is not None:
            last = position
            try:
                for key, value in self._database.scan(position, END, fills_cache=False):
                    last = key
                    yield key, value
                return
            except StorageError as error:
                self._note(error)
            following = bisect_right(bounds, last)
            position = bounds[following] if following < len(bounds) else None

    def _note(self, error: StorageError) -> None:
        self.has_gaps = True
        text = _plain(error, self._links, self._path)
        if text not in self._told:
            self._told.add(text)
            self._tell(text)


@contextmanager
def salvaged(path: Path, profile: Profile, tell: Tell) -> Iterator[Salvage | None]:
    """What can be read of the database at `path`; None if it can't even be opened, which is told."""
    with tempfile.TemporaryDirectory(prefix="meteora-verify-") as folder:
        links = Path(folder)
        try:
            for file in path.iterdir():
                if not file.name.startswith(_NOT_LINKED):
                    (links / file.name).symlink_to(file.resolve())
            database = Rocks(links, profile, read_only=True)
        except (StorageError, OSError) as error:
            tell(_plain(error, links, path))
            yield None
            return
        try:
            yield Salvage(path, links, database, tell)
        finally:
            database.close()


def _plain(error: Exception, links: Path, path: Path) -> str:
    """What an error says, in one line: of the files themselves, and without advice for a node that is starting."""
    return " ".join(without_advice(error).replace(str(links), str(path)).split())
