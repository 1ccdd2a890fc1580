"""What comes of a backup, and whether it came whole. Pure."""

import hashlib
from typing import Final, NamedTuple

from meteora.errors import BackupDamaged

DIGEST_BYTES: Final = hashlib.sha256().digest_size
"""A backup file ends with the SHA-256 of all that is before it."""


class BackupPart(NamedTuple):
    """The next bytes of a backup file, and how far that is."""

    data: bytes
    records: int
    """How many records have come, with this part."""
    estimated_records: int
    """About how many there are."""


class BackupCheck:
    """Follows a backup file, to say in the end whether it is what was sent."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._held_back = b""
        """The last bytes so far: those of the file are the digest of the others."""

    def take(self, data: bytes) -> None:
        """The next bytes."""
        both = self._held_back + data
        self._digest.update(both[:-DIGEST_BYTES])
        self._held_back = both[-DIGEST_BYTES:]

    def end(self) -> None:
        """Nothing more comes. Raises `BackupDamaged` unless that was all of it, as it was sent."""
        if self._held_back != self._digest.digest():
            raise BackupDamaged("the backup did not come as it was sent: its checksum does not match. Try again")
