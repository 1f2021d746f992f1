"""A headless Chromium, where one is installed."""

from __future__ import annotations

import shutil

from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SkipTest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
)


def find_browser() -> str:
    """Return the path of a browser.  Raises SkipTest."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise SkipTest(f"no browser: none of {', '.join(NAMES)} is installed")
    return found


async def dom(address: str, profile: str, *options: str) -> str:
    """Return the document at ``address`` as it is after some seconds of the page's own time."""
    words = [*OPTIONS, *options, f"--user-data-dir={profile}", "--virtual-time-budget=6000"]
    ended: Deferred[tuple[bytes, bytes, int]] = getProcessOutputAndValue(
        find_browser(), [*words, "--dump-dom", address], env=None
    )
    out, err, code = await ended
    if code:
        raise AssertionError(f"the browser ended with {code}: {err.decode()[-500:]}")
    return out.decode()
