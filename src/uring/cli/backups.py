"""Backups: take one from a running cluster, check it, make a new cluster of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from attrs import define

from uring import restore as restoring
from uring.backup import BackupDamaged
from uring.cli import exits
from uring.cli.run import Settings, show_json, with_client
from uring.client import Client
from uring.store.failures import DirectoryError

MIB = 1024 * 1024


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say what is wrong in one line."""
    try:
        yield
    except (BackupDamaged, DirectoryError, OSError, ValueError) as problem:
        click.echo(f"uring: {path}: {problem}", err=True)
        raise SystemExit(exits.FAILED) from None


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@with_client
async def backup(client: Client, settings: Settings, file: Path, force: bool) -> None:
    """Write everything the cluster knows to FILE, while it goes on."""
    if file.exists() and not force:
        raise click.UsageError(f"{file} exists; name another file, or say --force")
    partial = file.with_name(f"{file.name}.part")
    try:
        with partial.open("wb") as target:
            await client.backup(target, Counter().add)
            target.flush()
            os.fsync(target.fileno())
        with _explained(file):
            manifest = restoring.check(partial)
            partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    if settings.json:
        show_json({"file": str(file), "revision": manifest.revision, "index": manifest.index})
    else:
        size = file.stat().st_size
        click.echo(f"{file}: {size} bytes, revision {manifest.revision}, index {manifest.index}")


@define
class Counter:
    """Shows a person how much has come, where nobody knows how much there will be."""

    size: int = 0
    _shown: int = 0

    def add(self, size: int) -> None:
        """Count ``size`` bytes more."""
        self.size += size
        if self.size - self._shown >= MIB and sys.stderr.isatty():
            self._shown = self.size
            click.echo(f"\r{self.size // MIB} MiB ", nl=False, err=True)


@contextmanager
def _bar(size: int) -> Iterator[Callable[[int], None]]:
    """Show a person how much of ``size`` bytes is done; tell a log nothing."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    with click.progressbar(length=size, label="restoring", file=sys.stderr) as bar:
        yield bar.update


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--id", "node_id", type=click.IntRange(1, 2**63 - 1), help="Id of the new node.")
@click.option("--advertise", metavar="HOST:PORT", help="Where the node will be reached.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="A new one. [default: raft-leveldb-<id>]"
)
@click.option("--check", is_flag=True, help="Only say whether the backup is whole.")
def restore(
    file: Path, node_id: int | None, advertise: str | None, data_dir: Path | None, check: bool
) -> None:
    """Make a new cluster of one node from the backup FILE.  No node needs to run for it."""
    with _explained(file):
        if check:
            manifest = restoring.check(file)
        elif node_id is None or advertise is None:
            raise click.UsageError("say which node it shall be, and where: --id 1 --advertise ...")
        else:
            directory = data_dir or Path(f"raft-leveldb-{node_id}")
            with _bar(file.stat().st_size) as progress:
                manifest = restoring.restore_file(file, directory, node_id, advertise, progress)
    done = "whole" if check else "restored"
    click.echo(f"{file}: {done}; cluster {manifest.cluster}, revision {manifest.revision}")


COMMANDS = (backup, restore)
