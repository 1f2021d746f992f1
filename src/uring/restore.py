"""``python -m uring.restore``: a new cluster of one node from a backup.

The new cluster has an id of its own, so that no member of the old one joins it by mistake, and
revisions far above the old ones, so that nobody who watched the old one takes up the new one in the
middle: watchers are told to begin afresh.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from twisted.python import usage

from uring.backup import BackupDamaged, BackupReader, Manifest
from uring.machines.levels import LEVEL
from uring.machines.table import Machines
from uring.options import NODE_ID_MAX, split_host_port
from uring.raft.types import ConfState, HardState, SnapshotMeta
from uring.recover import recover
from uring.store.directory import DataDirectory, open_directory
from uring.store.failures import DirectoryError, StoreFailed
from uring.store.snapshots import SnapshotRejected, SnapshotSummary

REVISION_GAP = 1 << 32
"""More changes than the old cluster can have made since the backup."""


def restore(
    directory: DataDirectory,
    backup: BackupReader,
    advertise: str,
    progress: Callable[[int], None] = lambda size: None,
) -> Manifest:
    """Fill an open, new data directory; ``progress`` is told of the bytes of each chunk.

    Raises BackupDamaged, SnapshotRejected, StoreFailed, ValueError; the directory is then useless.
    """
    if directory.log.last_index() or directory.state.applied_index:
        raise ValueError(f"{directory.path} is not new; name a directory that does not exist")
    if backup.manifest.level > LEVEL:
        raise ValueError(
            f"the backup is of feature level {backup.manifest.level}, this program supports "
            f"{LEVEL} at the most: restore it with uring {backup.manifest.version}, or a newer one"
        )
    writer = directory.state.snapshot_writer()
    try:
        for chunk in backup.chunks():
            writer.write(chunk)
            progress(len(chunk))
        assert backup.summary is not None
        digest = bytes.fromhex(backup.summary.sha256)
        summary = SnapshotSummary(backup.summary.records, backup.summary.bytes, digest)
        meta = SnapshotMeta(backup.manifest.index, backup.manifest.term, ConfState())
        writer.finish(summary, meta)
    except BaseException:
        writer.abort()
        raise
    directory.state.install(writer).write()
    hard_state = HardState(term=meta.term, commit=meta.index)
    batch = directory.log.prepare(hard_state, snapshot_meta=meta)
    batch.write()
    batch.done()
    _raise_revision(directory)
    recover(directory, advertise)
    return backup.manifest


def _raise_revision(directory: DataDirectory) -> None:
    state = directory.state
    transaction = state.begin()
    Machines().raise_revision(transaction, REVISION_GAP)
    transaction.commit(state.applied_index, state.applied_term)


class RestoreOptions(usage.Options):
    """The command line of ``python -m uring.restore``."""

    synopsis = "Usage: python -m uring.restore --id N --advertise HOST:PORT [--data-dir DIR] BACKUP"
    optParameters = [
        ["id", "i", None, "Id of the node that the new cluster begins with", int],
        ["data-dir", "d", None, "Its data directory, a new one [default: ./raft-leveldb-<id>]"],
        ["advertise", None, None, "HOST:PORT where it will be reached"],
    ]
    optFlags = [["check", "c", "Only read the backup and say whether it is whole"]]

    def parseArgs(self, *arguments: str) -> None:
        """Take the backup's path."""
        if len(arguments) != 1:
            raise usage.UsageError("name one backup")
        self["backup"] = arguments[0]

    def postOptions(self) -> None:
        """Check what belongs together."""
        if self["check"]:
            return
        if self["id"] is None or not 1 <= self["id"] <= NODE_ID_MAX:
            raise usage.UsageError("say which node it shall be: --id N")
        if self["advertise"] is None or split_host_port(self["advertise"]) is None:
            raise usage.UsageError("say where it will be reached: --advertise HOST:PORT")
        if self["data-dir"] is None:
            self["data-dir"] = f"./raft-leveldb-{self['id']}"


def check(path: Path) -> Manifest:
    """Read a whole backup and return what it is of.  Raises BackupDamaged, OSError."""
    with path.open("rb") as file:
        reader = BackupReader(file)
        for _ in reader.chunks():
            pass
    return reader.manifest


def restore_file(
    path: Path,
    data_dir: Path,
    node_id: int,
    advertise: str,
    progress: Callable[[int], None] = lambda size: None,
) -> Manifest:
    """Make ``data_dir``, which must not exist, from the backup at ``path``.

    Raises DirectoryError, OSError, ValueError (BackupDamaged among them), each with a line to show.
    """
    if data_dir.exists():
        raise ValueError(f"{data_dir} exists; a backup is restored into a new directory")
    with path.open("rb") as file:
        reader = BackupReader(file)
        directory = open_directory(data_dir, node_id)
        try:
            manifest = restore(directory, reader, advertise, progress)
        except BaseException as problem:
            directory.close()
            shutil.rmtree(data_dir)  # half a state must not be started by mistake
            if isinstance(problem, SnapshotRejected | StoreFailed):
                raise ValueError(str(problem)) from problem
            raise
        directory.close()
        return manifest


def main(arguments: list[str]) -> int:
    """Return the exit code: 0 done, 1 not possible, 2 asked wrongly."""
    options = RestoreOptions()
    try:
        options.parseOptions(arguments)
    except usage.UsageError as problem:
        print(f"{options.synopsis}\n{problem}", file=sys.stderr)
        return 2
    path = Path(options["backup"])
    try:
        if options["check"]:
            manifest = check(path)
        else:
            manifest = restore_file(
                path, Path(options["data-dir"]), options["id"], options["advertise"]
            )
    except (BackupDamaged, DirectoryError, OSError, ValueError) as problem:
        print(f"uring: {path}: {problem}", file=sys.stderr)
        return 1
    where = f"cluster {manifest.cluster}, index {manifest.index}, revision {manifest.revision}"
    if options["check"]:
        print(f"A whole backup of {where}.")
    else:
        print(f"Restored {where}.  Start the node as usual, then add the others.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
