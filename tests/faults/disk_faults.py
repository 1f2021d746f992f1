"""Faults of disks: power cuts, no space, damaged files, directories copied at any instant."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.faults.injector import PROCESSES, Injector, kind
from tests.faults.nodes import Slot
from tests.faults.process_faults import again
from tests.faults.sandbox import run
from uring.errors import UringError

TORN_MAX = 512
"""Bytes that are cut off the state's write-ahead log; what is synced ends long before."""
TORN_FROM = 65_536
"""Only a write-ahead log that is larger is torn: a small one may have just been synced."""


@kind("power", PROCESSES, needs="power", weight=2)
async def power(faults: Injector) -> None:
    """The power is cut: what was not synced is gone, whichever of the node's files it is in."""
    cluster = faults.cluster
    slots = faults.victims("one", "leader", "all")
    sees = faults.random.random() < 0.3
    detail = "the disk is gone, then the process" if sees else "all at once"
    with faults.doing("power", detail, slots):
        for slot in slots:
            slot.excused = True
            if not sees:
                cluster.freeze(slot)
            slot.disk.shut_down()
        if sees:
            await faults.pause(0.0, 0.5)
        await faults.each(slots, cluster.kill)
        for slot in slots:
            slot.disk.cut()
        await faults.pause(0.0, 1.5)
        for slot in slots:
            slot.excused = False
            cluster.start(slot)
        await faults.each(slots, faults.serving)


@kind("copy", PROCESSES)
async def copy(faults: Injector) -> None:
    """A node goes on from a copy of its directory that was made at an arbitrary instant."""
    cluster = faults.cluster
    (slot,) = faults.victims("one", "leader")
    with faults.doing("copy", "of the directory, as it is", [slot]) as fault:
        cluster.freeze(slot)
        beside = slot.data.with_suffix(".copy")
        shutil.copytree(slot.data, beside)
        await cluster.kill(slot)
        torn = _tear(beside / "state", faults)
        if torn:
            fault.detail += f", {torn} bytes of the state's write-ahead log are missing"
        cluster.wipe(slot)
        beside.rename(slot.data)
        # What the node had synced must not be lost to a later power cut because we copied it.
        run("sync", "--file-system", str(slot.data))
        await faults.pause(0.0, 1.0)
        cluster.start(slot)
        await faults.serving(slot)


def _tear(state: Path, faults: Injector) -> int:
    """Cut some of the last, unsynced writes off; return how many bytes."""
    logs = sorted(state.glob("*.log"))
    if not logs or logs[-1].stat().st_size < TORN_FROM:
        return 0
    bytes_ = faults.random.randint(1, TORN_MAX)
    with open(logs[-1], "r+b") as log:
        log.truncate(logs[-1].stat().st_size - bytes_)
    return bytes_


@kind("full", PROCESSES, needs="space", weight=1.5)
async def full(faults: Injector) -> None:
    """The disk is full for some seconds."""
    cluster = faults.cluster
    slots = faults.victims("one", "leader", "few")
    left = faults.random.choice((0, 4096, 65_536, 2**20))
    with faults.doing("full", f"{left} bytes left", slots):
        for slot in slots:
            slot.excused = True
            slot.disk.fill(left)
        await faults.pause(0.5, 5.0)
        for slot in slots:
            slot.disk.empty()
            if slot.server is not None and not slot.server.running:
                cluster.start(slot)
        await faults.each(slots, faults.serving)
        await faults.cluster.sleep(3.0)  # a node that could not write takes a moment to end
        for slot in slots:
            slot.excused = False
            if slot.server is not None and not slot.server.running:
                cluster.start(slot)


@kind("damage", PROCESSES, needs="cuts", weight=1.5)
async def damage(faults: Injector) -> None:
    """A file is damaged: the node refuses to start, or makes do; it is added again empty.

    A log that lost its end looks like one that never had it, and the node would break its word
    with it.  So it is started alone, and never meets the others again with that directory.
    """
    cluster = faults.cluster
    (slot,) = faults.victims("one", "leader")
    with faults.doing("damage", "", [slot]) as fault:
        slot.excused = True
        await cluster.kill(slot)
        fault.detail = _spoil(slot.data, faults)
        faults.history.note(f"damage: {fault.detail}")
        cluster.network.seal(slot.number)
        cluster.start(slot)
        try:
            outcome = await _outcome(faults, slot)
        finally:
            await cluster.kill(slot)
            cluster.network.unseal(slot.number)
        fault.detail += f": {outcome}"
        faults.history.note(f"damage: {outcome}")
        await again(faults, slot)
        slot.excused = False


def _spoil(data: Path, faults: Injector) -> str:
    """Damage one file of a LevelDB; return what was done."""
    names = ("*.ldb", "*.log", "MANIFEST-*", "CURRENT")
    files = [path for name in names for path in sorted(data.glob(f"*/{name}"))]
    path = faults.random.choice([path for path in files if path.stat().st_size])
    size, where = path.stat().st_size, f"{path.parent.name}/{path.name}"
    if faults.random.random() < 0.5:
        left = faults.random.randrange(size)
        with open(path, "r+b") as file:
            file.truncate(left)
        return f"{where} of {size} bytes cut to {left}"
    at = faults.random.randrange(size)
    with open(path, "r+b") as file:
        file.seek(at)
        old = file.read(1)[0]
        file.seek(at)
        file.write(bytes([old ^ faults.random.randint(1, 255)]))
    return f"{where} of {size} bytes, one of them changed at {at}"


async def _outcome(faults: Injector, slot: Slot) -> str:
    """Wait until the node refuses or serves; note a refusal that is not one clear line."""
    server = slot.server
    if server is None:
        return "never started"

    async def decided() -> str:
        if not server.running:
            return "refused"
        try:
            await slot.admin.status()
        except UringError:
            return ""
        return "served"

    outcome = await faults.cluster.until("the start of a damaged node", decided, 20.0)
    if outcome == "served":
        return "the node made do"
    said = [line for line in server.output().splitlines() if "is damaged" in line]
    if len(said) != 1 or "Traceback" in server.output():
        end = " | ".join(server.output().splitlines()[-4:])
        faults.history.violated(f"not one clear line about damage: {end}")
        return "refused"
    return said[0].strip()
