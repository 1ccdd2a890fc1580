"""The directory that a node's state lives in: whose it is, and that only one process uses it.

    LOCK                        held while a process uses the directory; says which
    identity                    whose state this is, as JSON with a checksum
    raft/, kv/                  the two databases; kv-INDEX/ in place of kv/ once a snapshot was installed
    snapshot-in/, snapshot-out/ a snapshot that is received, and one that was made (see `meteora.kv.installation`)
    unfinished-restore/         a directory like this one, as a backup is restored (see `meteora.server.restoration`)
    removed-YYYYmmdd-HHMMSS/    identity and databases of a node that was removed and joined anew

Every change is one atomic rename, fsynced, and a crash between two of them leaves a directory that opens:

- `identity` comes first and goes last: raft/ or kv/ without it are not ours to touch.
- An aside directory without `identity` in it is unfinished; setting aside goes on with it.
"""

import errno
import fcntl
import itertools
import json
import os
import re
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from meteora.errors import DataDirectoryError
from meteora.features import ensure_supported
from meteora.raft.errors import ensure
from meteora.storage.durable_files import make_directory, move, replace_file

FORMAT_VERSION: Final = 2
"""1 while the feature level is 0: releases that know no other level refuse a directory of format 2, and say why."""

LOCK: Final = "LOCK"

_ASIDE: Final = "removed-"

UNFINISHED_RESTORE: Final = "unfinished-restore"
"""While it is there, and no identity, no node may start."""

_FROM_OTHERS: Final = re.compile(r"\..*|lost\+found")
"""What is in a directory that is as good as empty: hidden files, what a file system keeps there."""

_MAY_BE_THERE: Final = re.compile(
    r"\..*|lost\+found|LOCK|identity.*|raft|kv(-[0-9]+)?|snapshot-(in|out)|removed-.*|auto-tls"
)
"""What may be in a directory before a node has it: hidden files, what a file system keeps there, what is ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose state a data directory holds."""

    node_id: int
    instance_id: int
    """Drawn once for this state; tells a node that joins again from another with the same id. Never 0."""
    cluster_id: int = 0
    """0 while the node has not joined one."""
    removed: bool = False
    """The node was removed from its cluster: it must not take part with this state again."""
    recovering: bool = False
    """The node is being made a cluster of its own, `cluster_id`, and that is not done yet: it must not take part."""
    diverged: str = ""
    """How its state was found to differ from that of the others: it must not take part. Empty if it was not."""
    peers: tuple[str, ...] = ()
    """Of a removed node: the Raft addresses of the members that it knew last, any of which can let it in anew."""
    level: int = 0
    """The feature level that its cluster had at least, so that an older release is told so before it opens anything."""


class DataDirectory:
    """A directory that this process holds the lock of."""

    def __init__(self, path: Path, lock: int, identity: Identity | None) -> None:
        """Use `open`."""
        self._path = path
        self._lock = lock
        self._identity = identity
        self._changing = threading.Lock()

    @classmethod
    def open(cls, path: Path, node_id: int) -> "DataDirectory":
        """Lock the directory at `path`, made if it isn't there, for the node `node_id`.

        It may be that of a node with another id if that one never became a member of a cluster. Raises
        `DataDirectoryError` if it is in use, can't be written, or holds anything but this node's state.
        """
        _refuse_strangers(path)
        lock = _lock(path)
        try:
            refuse_unfinished_restore(path)
            identity = read_identity(path)
            _refuse_foreign(path, identity, node_id)
        except BaseException:
            os.close(lock)
            raise
        return cls(path, lock, identity)

    @property
    def identity(self) -> Identity | None:
        """Whose state this is; None in a new directory."""
        return self._identity

    @property
    def path(self) -> Path:
        """Where all of it is."""
        return self._path

    @property
    def former(self) -> Identity | None:
        """Whose state was set aside last; None if none was. Raises `DataDirectoryError` if that can't be told."""
        asides = sorted(path for path in self._path.glob(f"{_ASIDE}*") if (path / "identity").exists())
        return read_identity(asides[-1]) if asides else None

    @property
    def raft_path(self) -> Path:
        """Where the raft log is."""
        return self._path / "raft"

    def create_identity(self, node_id: int, instance_id: int) -> Identity:
        """Make a directory this node's, durably, whose node, if it has one, is in no cluster.

        `instance_id` is random and not 0.
        """
        ensure(self._identity is None or not self._identity.cluster_id, f"{self._path} has an identity already")
        ensure(instance_id != 0, "instance id 0")
        return self._store(Identity(node_id=node_id, instance_id=instance_id))

    def set_cluster(self, cluster_id: int) -> Identity:
        """Note, durably, which cluster the node belongs to, now that it does."""
        identity = self._known_identity()
        ensure(cluster_id != 0 and identity.cluster_id in (0, cluster_id), f"{self._path} has a cluster already")
        return self._store(replace(identity, cluster_id=cluster_id))

    def mark_removed(self, peers: Iterable[str]) -> Identity:
        """Note, durably, that the node was removed from its cluster, and the Raft addresses of those who stay."""
        return self._update(removed=True, peers=tuple(peers))

    def mark_diverged(self, how: str) -> Identity:
        """Note, durably, that the state here is not what the log led to elsewhere."""
        return self._update(diverged=how)

    def note_level(self, level: int) -> Identity:
        """Note, durably, the feature level of the cluster."""
        return self._update(level=level)

    def begin_recovery(self, cluster_id: int, instance_id: int) -> Identity:
        """Note, durably, that this becomes another node, in a new cluster of its own, and that this is not done yet.

        Both ids are random and not 0.
        """
        ensure(cluster_id != 0 and instance_id != 0, "id 0")
        return self._update(cluster_id=cluster_id, instance_id=instance_id, recovering=True)

    def end_recovery(self) -> Identity:
        """Note, durably, that the node is in its new cluster."""
        # In a cluster of one there is nobody to differ from. Until then, whoever goes on with it is told.
        return self._update(recovering=False, diverged="")

    def set_aside(self, now: datetime) -> Path:
        """Move the state of a removed node to a directory named for `now`, and return that; nothing is deleted.

        The databases must be closed. Afterwards the directory is as new. Raises `DataDirectoryError`.
        """
        ensure(self._known_identity().removed, f"{self._path} is not of a removed node")
        try:
            aside = self._unfinished_aside() or self._new_aside(now)
            states = sorted(self._path.glob("kv*"))
            for source in (self._path / "raft", *states, self._path / "identity"):
                if source.exists():
                    move(source, aside / source.name)
        except OSError as error:
            raise unusable(self._path, error) from error
        self._identity = None
        return aside

    def close(self) -> None:
        """Let another process use the directory."""
        os.close(self._lock)

    def _known_identity(self) -> Identity:
        ensure(self._identity is not None, f"{self._path} has no identity yet")
        assert self._identity is not None
        return self._identity

    def _update(self, **changes: Any) -> Identity:
        with self._changing:
            return self._store(replace(self._known_identity(), **changes))

    def _store(self, identity: Identity) -> Identity:
        try:
            replace_file(self._path / "identity", _encode(identity))
        except OSError as error:
            raise unusable(self._path, error) from error
        self._identity = identity
        return identity

    def _unfinished_aside(self) -> Path | None:
        asides = (path for path in sorted(self._path.glob(f"{_ASIDE}*")) if not (path / "identity").exists())
        return next(asides, None)

    def _new_aside(self, now: datetime) -> Path:
        name = f"{_ASIDE}{now:%Y%m%d-%H%M%S}"
        names = itertools.chain((name,), (f"{name}-{number}" for number in itertools.count(1)))
        aside = next(self._path / each for each in names if not (self._path / each).exists())
        make_directory(aside)
        return aside


def _lock(path: Path) -> int:
    try:
        make_directory(path)
        if not os.access(path, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise unusable(path, error) from error
    try:
        _flock(lock, path)
        _refuse_if_removed(lock, path)
        _sign(lock, path)
    except BaseException:
        os.close(lock)
        raise
    return lock


@contextmanager
def held_anew(path: Path) -> Iterator[None]:
    """Be the first to have the directory at `path`, which is there, and keep all others out of it.

    Raises `DataDirectoryError` if another process was first.
    """
    try:
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError as error:
        raise DataDirectoryError(f"data directory {path} is no longer empty: another process was faster") from error
    except OSError as error:
        raise unusable(path, error) from error
    try:
        _flock(lock, path)
        try:
            _sign(lock, path)
        except DataDirectoryError:
            (path / LOCK).unlink()
            raise
        yield
    finally:
        os.close(lock)


@contextmanager
def held_still(path: Path) -> Iterator[None]:
    """Keep every node out of the directory at `path` without writing anything there.

    Raises `DataDirectoryError` if one is using it, or none ever has.
    """
    try:
        lock = os.open(path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise DataDirectoryError(f"{path} is not the data directory of a node: there is no LOCK in it") from error
    except OSError as error:
        raise unusable(path, error) from error
    try:
        _flock(lock, path)
        yield
    finally:
        os.close(lock)


def _sign(lock: int, path: Path) -> None:
    """Write into the file which process has locked it."""
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        raise unusable(path, error) from error


def _refuse_if_removed(lock: int, path: Path) -> None:
    """Raise `DataDirectoryError` if what is locked is not what others would find: it would keep nobody out."""
    try:
        is_there = os.path.samestat(os.fstat(lock), (path / LOCK).stat())
    except FileNotFoundError:
        is_there = False
    except OSError as error:
        raise unusable(path, error) from error
    if not is_there:
        raise DataDirectoryError(
            f"data directory {path} was emptied just now, as by a restore into it that failed: start the node again"
        )


def _flock(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        raise DataDirectoryError(
            f"data directory {path} is in use by another process{f' (pid {holder})' if holder else ''}: stop that one, "
            "or choose another directory with -d"
        ) from error
    except OSError as error:
        raise DataDirectoryError(
            f"data directory {path} can't be locked ({error.strerror}): choose one on a local disk with -d"
        ) from error


def read_identity(path: Path) -> Identity | None:
    """Whose state is in the directory at `path`; None if nobody's. Changes nothing. Raises `DataDirectoryError`."""
    try:
        content = (path / "identity").read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(path, error) from error
    try:
        return _decode(path, content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataDirectoryError(
            f"data directory {path}: the file identity is damaged ({error!r}): restore it from a copy, or remove this "
            "node from the cluster and let it join anew with an empty directory"
        ) from error


def _refuse_strangers(path: Path) -> None:
    """Raise `DataDirectoryError` if the directory is somebody else's; before anything is written there."""
    try:
        names = sorted(each.name for each in path.iterdir()) if path.is_dir() else []
    except OSError as error:
        raise unusable(path, error) from error
    strangers = [name for name in names if name != UNFINISHED_RESTORE and not _MAY_BE_THERE.fullmatch(name)]
    if strangers and "identity" not in names:
        more = f" and {len(strangers) - 3} more" if len(strangers) > 3 else ""
        raise DataDirectoryError(
            f"data directory {path} has things in it that are not Meteora's ({', '.join(strangers[:3])}{more}): choose "
            "an empty one with -d"
        )


def refuse_unfinished_restore(path: Path) -> None:
    """Raise `DataDirectoryError` if a restore into the directory has not come to its end; to be asked with its lock."""
    if (path / UNFINISHED_RESTORE).exists() and not (path / "identity").exists():
        raise DataDirectoryError(
            f"data directory {path}: the restore of a backup into it was not finished: remove what is in it, and "
            "restore again"
        )


def contents(path: Path) -> list[Path]:
    """What is in the directory at `path`; nothing, if that is as good as empty, or not there. Raises `OSError`."""
    return [each for each in path.iterdir() if not _FROM_OTHERS.fullmatch(each.name)] if path.exists() else []


def _refuse_foreign(path: Path, identity: Identity | None, node_id: int) -> None:
    if identity is None:
        databases = [name for name in ("raft", "kv") if (path / name).exists()]
        if databases:
            raise DataDirectoryError(
                f"data directory {path} has {' and '.join(databases)} but no identity, so it is not Meteora's, or not "
                "whole: restore identity from a copy, or choose another directory with -d"
            )
    elif identity.node_id != node_id and identity.cluster_id:
        raise DataDirectoryError(
            f"data directory {path} belongs to node {identity.node_id}, and this is node {node_id}: start it with "
            f"-i {identity.node_id}, or choose another directory with -d"
        )


def _encode(identity: Identity) -> bytes:
    fields = {"format_version": FORMAT_VERSION if identity.level else 1, **asdict(identity)}
    if not identity.level:
        del fields["level"]
    return json.dumps({**fields, "checksum": _checksum(fields)}, indent=2).encode() + b"\n"


def _decode(path: Path, content: bytes) -> Identity:
    """The identity in a file. Raises `ValueError` and its like if there is none."""
    fields: dict[str, Any] = json.loads(content)
    if fields.pop("checksum") != _checksum(fields):
        raise ValueError("its checksum does not match")
    version = fields.pop("format_version")
    if version > FORMAT_VERSION:
        raise DataDirectoryError(
            f"data directory {path} has format {version}, and this release knows formats up to {FORMAT_VERSION}: start "
            "it with the newer release that wrote it"
        )
    ensure_supported(fields.get("level", 0), f"data directory {path}")
    return Identity(**{**fields, "peers": tuple(fields.get("peers", ()))})


def _checksum(fields: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(fields, sort_keys=True).encode()):08x}"


def unusable(path: Path, error: OSError) -> DataDirectoryError:
    """What to say of what the system says of a directory, or of what is to be one."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "make room there" if is_full else "make it a directory that this user may write"
    return DataDirectoryError(
        f"data directory {path} can't be used ({error.strerror}): {remedy}, or choose another with -d"
    )
