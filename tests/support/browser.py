"""A headless Chromium, where one is installed, driven over its DevTools protocol."""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64decode
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
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
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
ANSWER_SECONDS = 30.0
"""For one command: a busy machine takes its time to start a browser."""
PAGE_SECONDS = 30.0
POLL_SECONDS = 0.05
KEPT_BYTES = 4096
TO_BROWSER, FROM_BROWSER = 3, 4
"""The descriptors that ``--remote-debugging-pipe`` speaks on."""


class BrowserFailed(AssertionError):
    """The browser ended, or refused a command; the text says what it said."""


def find_browser() -> str:
    """Return the path of a browser.  Raises SkipTest."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise SkipTest(f"no browser: none of {', '.join(NAMES)} is installed")
    return found


class Browser(ProcessProtocol):
    """One process of a browser, with a profile of its own in ``directory``."""

    def __init__(self, reactor: Any, directory: Path, *options: str) -> None:
        """Start it.  Raises SkipTest where there is none."""
        program = find_browser()
        self.reactor = reactor
        self.ended: Deferred[None] = Deferred()
        self._said = b""
        self._received = b""
        self._numbers = count(1)
        self._waiting: dict[int, Deferred[dict[str, Any]]] = {}
        words = [program, *OPTIONS, *options, f"--user-data-dir={directory / 'profile'}"]
        reactor.spawnProcess(
            self,
            program,
            [*words, "about:blank"],
            env={"HOME": str(directory), "PATH": os.defpath},
            path=str(directory),
            childFDs={0: "w", 1: "r", 2: "r", TO_BROWSER: "w", FROM_BROWSER: "r"},
        )

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Take answers, and the end of what it prints."""
        if childFD != FROM_BROWSER:
            self._said = (self._said + data)[-KEPT_BYTES:]
            return
        *messages, self._received = (self._received + data).split(b"\0")
        for message in map(json.loads, messages):
            waiter = self._waiting.pop(message.get("id", 0), None)
            if waiter is not None and not waiter.called:
                waiter.callback(message)

    def processEnded(self, reason: Failure) -> None:
        """Fail whatever waits."""
        for waiter in self._waiting.values():
            if not waiter.called:
                waiter.errback(BrowserFailed(f"it ended: {self._said.decode(errors='replace')}"))
        self.ended.callback(None)

    def kill(self) -> Deferred[None]:
        """End it, with all that it started."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")  # type: ignore[union-attr]
        return self.ended

    async def command(self, method: str, session: str | None = None, **params: Any) -> Any:
        """Run one command of the protocol; return its result.  Raises BrowserFailed."""
        number = next(self._numbers)
        words: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session is not None:
            words["sessionId"] = session
        waiter: Deferred[dict[str, Any]] = Deferred()
        self._waiting[number] = waiter
        self.transport.writeToChild(  # type: ignore[union-attr]
            TO_BROWSER, json.dumps(words).encode() + b"\0"
        )
        waiter.addTimeout(ANSWER_SECONDS, self.reactor)
        answer = await waiter
        if "error" in answer:
            raise BrowserFailed(f"{method}: {answer['error']}")
        return answer["result"]

    async def open(self, address: str) -> Page:
        """Open a page."""
        target = await self.command("Target.createTarget", url="about:blank")
        attached = await self.command(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        page = Page(self, attached["sessionId"])
        await page.go(address)
        return page


class Page:
    """One tab.  Conditions are JavaScript, and waited for."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser = browser
        self._session = session

    async def command(self, method: str, **params: Any) -> Any:
        """Run a command of the protocol in this tab."""
        return await self.browser.command(method, self._session, **params)

    async def go(self, address: str) -> None:
        """Load a page.  Raises BrowserFailed if that cannot be done."""
        answer = await self.command("Page.navigate", url=address)
        if answer.get("errorText"):
            raise BrowserFailed(f"{address}: {answer['errorText']}")

    async def evaluate(self, expression: str) -> Any:
        """Return what ``expression`` amounts to.  Raises BrowserFailed where it throws."""
        answer = await self.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise BrowserFailed(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def until(self, expression: str, seconds: float = PAGE_SECONDS) -> Any:
        """Wait until ``expression`` is true; return what it was.  Raises BrowserFailed."""
        reactor = self.browser.reactor
        end = reactor.seconds() + seconds
        while True:
            try:
                found, last = await self.evaluate(expression), ""
            except BrowserFailed as failure:  # the page it was asked of may just have gone
                found, last = None, str(failure)
            if found:
                return found
            if reactor.seconds() >= end:
                text = await self.text()
                raise BrowserFailed(f"never {expression}; {last}; the page says: {text}")
            await deferLater(reactor, POLL_SECONDS)

    async def until_text(self, *parts: str) -> str:
        """Wait until the page shows all ``parts``; return all its text."""
        for part in parts:
            await self.until(f"document.body.innerText.includes({json.dumps(part)})")
        return await self.text()

    async def text(self) -> str:
        """Return what a reader sees of the page."""
        return str(await self.evaluate("document.body ? document.body.innerText : ''"))

    async def html(self) -> str:
        """Return the document as it is now."""
        return str(await self.evaluate("document.documentElement.outerHTML"))

    async def type(self, selector: str, text: str) -> None:
        """Type ``text`` into an element, as a person would."""
        await self.click(selector)
        await self.command("Input.insertText", text=text)

    async def press_enter(self) -> None:
        """Press the key."""
        for kind in ("keyDown", "keyUp"):
            await self.command(
                "Input.dispatchKeyEvent",
                type=kind,
                key="Enter",
                code="Enter",
                windowsVirtualKeyCode=13,
                text="\r" if kind == "keyDown" else "",
            )

    async def click(self, selector: str) -> None:
        """Click the middle of an element."""
        quoted = json.dumps(selector)
        where = await self.until(
            f"(() => {{ const e = document.querySelector({quoted}); if (!e) return null;"
            "e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            "return r.width ? [r.x + r.width / 2, r.y + r.height / 2] : null; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.command(
                "Input.dispatchMouseEvent",
                type=kind,
                x=where[0],
                y=where[1],
                button="left",
                clickCount=1,
            )

    async def look_like(self, width: int, height: int, dark: bool = False, **more: Any) -> None:
        """Have a screen of so many pixels, and prefer dark colours or light ones."""
        size = {"deviceScaleFactor": 1, "mobile": False, **more}
        await self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.command("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self, whole: bool = False) -> bytes:
        """Return a picture of what is in view, or of the whole page, as a PNG."""
        answer = await self.command(
            "Page.captureScreenshot", format="png", captureBeyondViewport=whole
        )
        return b64decode(answer["data"])
