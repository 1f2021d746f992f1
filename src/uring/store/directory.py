"""The data directory: created whole, opened by one process, refused when anything is wrong."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import plyvel
from attrs import define, evolve, field

from uring.raft.types import HardState, Snapshot, SnapshotMeta
from uring.store.failures import DirectoryError, Health, StoreDamaged, StoreFailed
from uring.store.history import HistoryStore
from uring.store.identity import ID_BYTES, Identity, decode_identity, encode_identity
from uring.store.leveldb import (
    LOG_WRITE_BUFFER,
    STATE_WRITE_BUFFER,
    Database,
    open_database,
    read,
    sync_directory,
)
from uring.store.log import WINDOW_BYTES, LogStore
from uring.store.records import (
    FORMAT_VERSION,
    IDENTITY,
    LOG_FORMAT,
    STATE_FORMAT,
    decode_version,
    encode_version,
)
from uring.store.segments import SegmentFiles
from uring.store.snapshots import (
    STATE,
    STATE_NEW,
    complete,
    remove_leftovers,
    repair,
)
from uring.store.state import StateStore

__all__ = ["DataDirectory", "DirectoryError", "open_directory"]

LOCK = "LOCK"
LOG = "log"
LOG_NEW = "log.new"
HISTORY = "history"


@define(eq=False)
class DataDirectory:
    """An open data directory: who the node is, its log and its state."""

    path: Path
    identity: Identity
    log: LogStore
    state: StateStore
    history: HistoryStore
    """The changes of late; opened by who knows the state's revision."""
    _lock: BinaryIO
    _closed: bool = field(default=False, init=False)

    def set_cluster_id(self, cluster_id: bytes, replace: bool = False) -> None:
        """Join a cluster for good: 16 bytes, synced before this returns.

        Raises :exc:`ValueError` if the directory belongs to another cluster and ``replace`` is not
        given, :exc:`StoreFailed`.
        """
        if len(cluster_id) != ID_BYTES:
            raise ValueError(f"a cluster id has {ID_BYTES} bytes")
        if self.identity.cluster_id == cluster_id:
            return
        if self.identity.cluster_id and not replace:
            raise ValueError(f"{self.path} belongs to another cluster")
        identity = evolve(self.identity, cluster_id=cluster_id)
        with self.log.health.guard():
            self.log.db.put(IDENTITY, encode_identity(identity), sync=True)
        self.identity = identity

    @property
    def failed(self) -> bool:
        """True once a write or read failed: nothing is taken any more."""
        return self.log.health.failure is not None

    def close(self) -> None:
        """Close both databases and let others in; jobs of disk threads must have ended."""
        if not self._closed:
            self._closed = True
            self.state.close()
            self.history.close()
            self.log.db.close()
            self._lock.close()


def open_directory(
    path: str | os.PathLike[str],
    node_id: int,
    paranoid: bool = True,
    window_bytes: int = WINDOW_BYTES,
) -> DataDirectory:
    """Open the data directory of ``node_id``; create it at the first use.

    Counts the incarnation up, synced.  Raises :exc:`DirectoryError`, having changed nothing that
    was stored.
    """
    directory = Path(path)
    with _explained(directory):
        lock = _lock(directory)
    opened: list[Database] = []
    try:
        with _explained(directory):
            return _open(directory, node_id, paranoid, window_bytes, lock, opened)
    except BaseException:
        for db in reversed(opened):
            db.close()
        lock.close()
        raise


def _open(
    directory: Path,
    node_id: int,
    paranoid: bool,
    window_bytes: int,
    lock: BinaryIO,
    opened: list[Database],
) -> DataDirectory:
    if not (directory / LOG).exists():
        _create(directory, node_id)
    log_db = open_database(directory / LOG, LOG_WRITE_BUFFER, create=False, paranoid=paranoid)
    opened.append(log_db)
    _check_format(directory, LOG_FORMAT, read(log_db, LOG_FORMAT))
    identity = _check_identity(directory, log_db, node_id)
    repair(directory, paranoid)
    state_db = open_database(directory / STATE, STATE_WRITE_BUFFER, create=False, paranoid=paranoid)
    opened.append(state_db)
    _check_format(directory, STATE_FORMAT, read(state_db, STATE_FORMAT))
    health = Health()
    state = StateStore(directory, state_db, health, paranoid)
    state.load()
    if state.instance_id != identity.instance_id:
        raise StoreDamaged("log and state come from different directories")
    log = LogStore(log_db, health, state.conf_state, window_bytes)
    log.load(state.applied_index)
    _reconcile(log, state)
    log.applied_floor = lambda: state.synced_index
    log.snapshot_source = lambda: Snapshot(state.snapshot_meta)
    identity = evolve(identity, incarnation=identity.incarnation + 1)
    log_db.put(IDENTITY, encode_identity(identity), sync=True)
    remove_leftovers(directory)
    history = HistoryStore(SegmentFiles(directory / HISTORY), health)
    state.before_write = history.flush
    return DataDirectory(directory, identity, log, state, history, lock)


def _create(directory: Path, node_id: int) -> None:
    """Make both databases aside and rename them, log first, so that none is ever half made."""
    if (directory / STATE).exists():
        raise StoreDamaged("the directory log is missing")
    for name in (LOG_NEW, STATE_NEW):
        if (directory / name).exists():
            shutil.rmtree(directory / name)
    identity = Identity(b"", node_id, os.urandom(ID_BYTES), 0)
    state = open_database(directory / STATE_NEW, STATE_WRITE_BUFFER, create=True, paranoid=True)
    complete(state, identity.instance_id, (0, 0))
    state.close()
    log = open_database(directory / LOG_NEW, LOG_WRITE_BUFFER, create=True, paranoid=True)
    with log.write_batch(transaction=True, sync=True) as batch:
        batch.put(LOG_FORMAT, encode_version(LOG_FORMAT))
        batch.put(IDENTITY, encode_identity(identity))
    log.close()
    sync_directory(directory)
    (directory / LOG_NEW).rename(directory / LOG)
    sync_directory(directory)
    (directory / STATE_NEW).rename(directory / STATE)
    sync_directory(directory)


def _check_format(directory: Path, key: bytes, value: bytes | None) -> None:
    if value is None:
        raise StoreDamaged("the format record is missing")
    version = decode_version(key, value)
    if version > FORMAT_VERSION:
        raise DirectoryError(
            f"{directory}: has format {version}, newer than this program's {FORMAT_VERSION}; "
            "use the program that wrote it"
        )
    if version < FORMAT_VERSION:
        raise DirectoryError(
            f"{directory}: has format {version}, this program reads {FORMAT_VERSION} only; "
            "use the program that wrote it, or add the node again with an empty directory"
        )


def _check_identity(directory: Path, db: Database, node_id: int) -> Identity:
    value = read(db, IDENTITY)
    if value is None:
        raise StoreDamaged("the identity record is missing")
    identity = decode_identity(value)
    if identity.node_id != node_id:
        raise DirectoryError(
            f"{directory}: belongs to node {identity.node_id}, not {node_id}; "
            "start with that id or with another directory"
        )
    return identity


def _reconcile(log: LogStore, state: StateStore) -> None:
    """Check that log and state fit; finish a snapshot that reached only the state."""
    applied, term = state.applied_index, state.applied_term
    boundary = log.first_index() - 1
    if state.installed == (applied, term) and applied > boundary and not _holds(log, applied, term):
        old = log.hard_state
        hard = old if old.term >= term else HardState(term)
        batch = log.prepare(
            evolve(hard, commit=max(old.commit, applied)),
            snapshot_meta=SnapshotMeta(applied, term, state.conf_state),
        )
        batch.write()
        batch.done()
    if not _holds(log, applied, term):
        raise StoreDamaged(
            f"the state stands at {applied} (term {term}), but the log has "
            f"{log.first_index()} to {log.last_index()}"
        )
    log.raise_commit(applied)


def _holds(log: LogStore, index: int, term: int) -> bool:
    return log.first_index() - 1 <= index <= log.last_index() and log.term(index) == term


def _lock(directory: Path) -> BinaryIO:
    """Make the directory if need be and take the lock that lasts until it is closed."""
    if directory.exists() and not directory.is_dir():
        raise DirectoryError(f"{directory}: is not a directory; name another data directory")
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_directory(path.parent)
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        raise PermissionError(f"no permission to write in {directory}")
    file = (directory / LOCK).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise DirectoryError(
            f"{directory}: is in use by another process; stop that one or name another directory"
        ) from None
    return file


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Turn every failure into one line that names the path and says what to do."""
    try:
        yield
    except (plyvel.Error, StoreFailed, OSError) as error:
        raise DirectoryError(f"{directory}: {_explain(error)}") from error


def _explain(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return "is on a file system that cannot be written to; mount it read-write"
    if "No space left on device" in text:
        return f"is on a disk that is full ({text}); make room and start again: nothing is lost"
    if isinstance(error, PermissionError) or "Permission denied" in text:
        return f"is not writable ({text}); give this user the right to write there"
    if isinstance(error, NotADirectoryError | FileExistsError):
        return f"is not a directory ({text}); name another data directory"
    if "error: lock " in text and isinstance(error, plyvel.IOError):
        return f"is in use by another process ({text}); stop that one or name another directory"
    if isinstance(error, plyvel.Error | StoreDamaged):
        return (
            f"is damaged ({text}); keep it for inspection, remove this node from the cluster "
            "and add it again with an empty directory"
        )
    return f"cannot be used ({text}); mend the disk and start again"
