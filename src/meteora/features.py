"""What a cluster may do together, as one small number: its feature level.

A release supports all levels up to `SUPPORTED_LEVEL`. Members tell one another which they support; a cluster is at the
lowest level that all of its members support, learners too. The leader raises it by a command in the log, once it has
heard from every member, so that all replicas are at the new level from the same index on.

| level | since | brings |
|-------|-------|--------|
| 0     | 0.1.0 | puts and deletes |
| 1     | 0.2.0 | the command that raises the level; users, roles and tokens |

Rules for whoever adds to what nodes write for one another, be it in the log, the state, a snapshot or a message:

- What an older release would misread, or stop at, belongs to a new level, and is written only at that level: a new kind
  of command, another field in a record of the membership. The level, its release and what it brings go into the table.
- What an older release ignores without harm, as a new field of a protobuf message, needs no level.
- A level never falls, and what a level means never changes. A node that supports less than the cluster's level does not
  start, is not let in, and is not listened to.
"""

from typing import Final, NamedTuple

from meteora import __version__
from meteora.errors import ReleaseTooOld

LEVEL_OF_USERS: Final = 1
"""Users, roles and tokens."""

SUPPORTED_LEVEL: Final = 1
"""The highest level that this release knows."""

_SINCE: Final = {0: "0.1.0", 1: "0.2.0"}
"""The first release that supports a level."""


class Release(NamedTuple):
    """What a node says of its program. The default is what one of level 0 says, which is nothing."""

    level: int = 0
    """The highest feature level that it supports."""
    version: str = ""

    def __str__(self) -> str:
        return f"release {self.version}" if self.version else "an older release"


FIRST_RELEASE: Final = Release()
"""What a node of level 0 is taken to have said."""

OWN_RELEASE: Final = Release(SUPPORTED_LEVEL, __version__)
"""Of this program."""


def since(level: int) -> str:
    """The first release that supports `level`, for messages to users."""
    return f"release {_SINCE[level]} or later" if level in _SINCE else "a later release"


def ensure_supported(level: int, where: str) -> None:
    """Raises `ReleaseTooOld` if this release does not know a feature level that was found in `where`."""
    if level > SUPPORTED_LEVEL:
        raise ReleaseTooOld(
            f"{where} has feature level {level}, and this release knows levels up to {SUPPORTED_LEVEL}: start this "
            "node with a release like that of the other members, meteora status tells which; its data is kept"
        )
