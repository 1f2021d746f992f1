"""Where the nodes keep their data: a file system of each node's own, if one can be mounted.

An ext4 in a loop device can be shut down without writing out what was not synced (the ioctl that
xfstests calls "godown"): after it is mounted again it holds what a power cut leaves.  A tmpfs can
at least be full.  A plain directory can do neither.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

from attrs import define, field

from tests.faults.sandbox import run, works

SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN."""
NO_LOG_FLUSH = 2
MEGABYTES = 256
"""More than a node needs: 128 MiB is what LevelDB may keep in write-ahead logs."""
FILLER = "filler"


@define
class Folder:
    """A directory of the machine's own disk."""

    path: Path
    cuts: bool = field(default=False, init=False)
    """Whether the power can be cut."""
    fills: bool = field(default=False, init=False)
    """Whether the disk can be full without harm to anybody else."""

    def __attrs_post_init__(self) -> None:
        self.path.mkdir(parents=True)

    def cut(self) -> None:
        """Lose everything that was not synced; nobody may have the directory open."""
        raise NotImplementedError

    def shut_down(self) -> None:
        """Let nothing reach the disk any more; ``cut`` must follow."""
        raise NotImplementedError

    def fill(self, left: int) -> None:
        """Leave only so many bytes free."""
        with open(self.path / FILLER, "ab") as filler:
            while True:
                free = os.statvfs(self.path)
                size = free.f_bavail * free.f_frsize - left
                if size <= 0:
                    return
                try:
                    os.posix_fallocate(filler.fileno(), os.fstat(filler.fileno()).st_size, size)
                except OSError as problem:  # the node was faster
                    if problem.errno != errno.ENOSPC or left > 2**22:
                        raise
                    left += 65_536

    def empty(self) -> None:
        """Give the space back."""
        (self.path / FILLER).unlink(missing_ok=True)


@define
class Tmpfs(Folder):
    """A file system in memory."""

    fills: bool = field(default=True, init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        run("mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "none", str(self.path))


@define
class Ext4(Folder):
    """A file system in a file, behind a loop device."""

    cuts: bool = field(default=True, init=False)
    fills: bool = field(default=True, init=False)

    @property
    def image(self) -> Path:
        """The file that holds it."""
        return self.path.with_suffix(".ext4")

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        with open(self.image, "wb") as image:
            image.truncate(MEGABYTES * 2**20)
        run("mkfs.ext4", "-q", "-m", "0", "-F", str(self.image))
        self._mount()

    def _mount(self) -> None:
        run("mount", "-o", "loop", str(self.image), str(self.path))

    def shut_down(self) -> None:
        directory = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(directory)

    def cut(self) -> None:
        run("umount", str(self.path))
        self._mount()


def best(directory: Path) -> type[Folder]:
    """Return the most capable kind that can be had; to be called inside the sandbox."""
    probe = directory / "probe"
    for kind in (Ext4, Tmpfs):
        try:
            disk = kind(probe)
            if disk.cuts:
                disk.shut_down()
                disk.cut()
        except (RuntimeError, OSError):
            continue
        finally:
            works("umount", str(probe))
            probe.with_suffix(".ext4").unlink(missing_ok=True)
            if probe.exists():
                probe.rmdir()
        return kind
    return Folder
