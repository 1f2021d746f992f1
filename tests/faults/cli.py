"""The command line: what this machine allows, a run, its report, and how to run it again."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson
from attrs import asdict
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from tests.faults import clocks, disks, sandbox, timeline
from tests.faults.campaign import Campaign, plan
from tests.faults.figures import lines
from tests.faults.history import History
from tests.faults.injector import KINDS
from tests.faults.network import Loopback, Namespaces, Network
from tests.faults.sandbox import is_inside

WHY = {
    "cuts": "dropping packets needs network namespaces and iptables",
    "delays": "this kernel has no tc netem",
    "throttles": "this kernel has no tc tbf",
    "power": "cutting the power needs an ext4 in a loop device, which needs root",
    "space": "a full disk needs a file system that this run can mount",
}


def parser() -> argparse.ArgumentParser:
    """Return what understands the arguments."""
    found = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    found.add_argument("--minutes", type=float, default=5.0, help="how long faults are injected")
    found.add_argument("--seed", type=int, help="choose the same faults as another run did")
    found.add_argument("--only", default="", help="kinds of faults, with commas between them")
    found.add_argument("--nodes", type=int, default=0, choices=(0, 3, 5), help="0: by the seed")
    found.add_argument("--plain", action="store_true", help="no sandbox, even if there could be")
    found.add_argument("--preload", default="", help="a library that all nodes load (LD_PRELOAD)")
    found.add_argument("--keep", action="store_true", help="keep the nodes' logs in any case")
    found.add_argument("--directory", help="where results go [default: a new one in /tmp]")
    return found


def main(arguments: list[str]) -> int:
    """Return 0 if nothing was wrong, 1 if something was, 2 if the arguments are no good."""
    asked = parser().parse_args(arguments)
    unknown = set(filter(None, asked.only.split(","))) - KINDS.keys()
    if unknown:
        print(f"no such fault: {', '.join(sorted(unknown))}", file=sys.stderr)
        print(f"faults: {', '.join(KINDS)}", file=sys.stderr)
        return 2
    lacking = ""
    if not is_inside():
        lacking = "as asked" if asked.plain else sandbox.lacking()
        if not lacking:
            return abs(sandbox.run_inside("tests.faults", arguments))
    directory = Path(asked.directory or tempfile.mkdtemp(prefix="uring-faults-")).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    result: list[int] = []
    campaigns: list[Campaign] = []

    def session(reactor: Any) -> Deferred[None]:
        work = _session(reactor, asked, directory, lacking, result, campaigns)
        return Deferred.fromCoroutine(work)

    try:
        react(session)
    except SystemExit as ended:
        if ended.code:
            return 1
    finally:
        for campaign in campaigns:
            campaign.cluster.abandon()
    return result[0] if result else 1


def _surroundings(directory: Path, lacking: str) -> tuple[Network, type[disks.Folder], set[str]]:
    """Return network and disks as good as they can be had, and what is possible with them."""
    network: Network = Loopback()
    disk: type[disks.Folder] = disks.Folder
    if is_inside():
        try:
            network = Namespaces()
        except (RuntimeError, OSError) as problem:
            print(f"no network namespaces: {problem}", flush=True)
        disk = disks.best(directory)
    else:
        print(f"no sandbox: {lacking}", flush=True)
    able = {"": True, "cuts": network.cuts, "delays": network.delays}
    able["throttles"] = network.throttles
    able |= {"power": disk is disks.Ext4, "space": disk is not disks.Folder}
    return network, disk, {name for name, possible in able.items() if possible}


async def _session(
    reactor: Any,
    asked: Any,
    directory: Path,
    lacking: str,
    result: list[int],
    campaigns: list[Campaign],
) -> None:
    seed = random.SystemRandom().randrange(2**31) if asked.seed is None else asked.seed
    network, disk, able = _surroundings(directory, lacking)
    only = list(filter(None, asked.only.split(",")))
    planned = plan(seed, asked.minutes * 60, only, asked.nodes, able)
    for kind in KINDS.values():
        if kind.needs not in able and (not only or kind.name in only):
            print(f"SKIPPED {kind.name}: {WHY[kind.needs]}", flush=True)
    print(f"wall clocks: {clocks.library() or 'a shim of time.time'}", flush=True)
    print(f"results: {directory}", flush=True)
    again = f"python -m tests.faults --minutes {asked.minutes:g} --seed {seed}"
    again += f" --only {asked.only}" if only else ""
    again += f" --nodes {asked.nodes}" if asked.nodes else ""
    again += " --plain" if asked.plain else ""
    again += f" --preload {asked.preload}" if asked.preload else ""
    print(f"to choose the same faults again: {again}", flush=True)
    campaign = Campaign(planned, reactor, directory, network, disk, asked.preload)
    campaigns.append(campaign)
    await campaign.run()
    result.append(_report(campaign, directory, again, asked.keep))


def _report(campaign: Campaign, directory: Path, again: str, keep: bool) -> int:
    """Write what is worth keeping, print the summary, return the exit code."""
    history = campaign.history
    summary = [
        f"{again}   ({campaign.plan.nodes} nodes, {' '.join(campaign.cluster.options)})",
        *lines(history),
        f"values compared on all nodes at the end: {campaign.finals}",
        "changes told to watches: "
        + ", ".join(
            f"{len(watcher.events)} ({len(watcher.begun_anew)} snapshots)"
            for watcher in campaign.watchers
        ),
        f"violations: {len(history.violations)}",
        *history.violations[:20],
    ]
    (directory / "timeline.html").write_text(timeline.write(history, summary))
    (directory / "summary.txt").write_text("\n".join(summary) + "\n")
    print("\n".join(summary))
    _clean(directory, history, keep)
    print(f"timeline: {directory / 'timeline.html'}", flush=True)
    return 1 if history.violations else 0


def _clean(directory: Path, history: History, keep: bool) -> None:
    """Keep logs and calls if anything was wrong; disk images never."""
    for image in (directory / "disks").glob("*.ext4"):
        image.unlink()
    if history.violations or keep:
        calls = [asdict(call) for call in history.calls]
        (directory / "calls.json").write_bytes(orjson.dumps(calls, default=str))
        print(f"logs and data of the nodes: {directory}", flush=True)
        return
    shutil.rmtree(directory / "logs", ignore_errors=True)
    shutil.rmtree(directory / "clocks", ignore_errors=True)
