"""A page in headless Chromium, over its DevTools protocol: what a browser makes of it, and of a pointer on it."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = "no Chromium on this machine; on Debian: apt-get install chromium"
_LISTENING = re.compile(r"DevTools listening on ws://([^/]+)/")


@contextmanager
def browser(profile: Path) -> Iterator[str]:
    """Starts one; gives the address of its DevTools on 127.0.0.1."""
    assert BROWSER
    quiet = ["--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
    process = subprocess.Popen(
        [BROWSER, "--headless", "--no-sandbox", *quiet, "--remote-debugging-port=0", f"--user-data-dir={profile}"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stderr
        yield next(found[1] for line in process.stderr if (found := _LISTENING.search(line)))
    finally:
        process.terminate()
        process.wait(timeout=20)


class Tab:
    """A page that is open. `messages` is everything that the browser complained of, `requests` all that was fetched."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.loaded = False
        self.messages: list[str] = []
        self.requests: list[str] = []

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            answer = json.loads(await self._socket.receive_str(timeout=30))
            self._note(answer)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Log.entryAdded":
                self.messages.append(params["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.messages.append(params["exceptionDetails"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Page.loadEventFired":
                self.loaded = True

    async def run(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def point(self, x: float, y: float, kind: str = "mouseMoved", **more: Any) -> None:
        await self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    async def size(self, width: int, height: int) -> None:
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )


async def visit(devtools: str, page: Path, look: Any) -> Any:
    """Opens a file in a new tab, awaits `look(tab)`, and gives what that returns."""
    async with aiohttp.ClientSession() as session:
        async with session.put(f"http://{devtools}/json/new?about:blank") as answer:
            target = await answer.json(content_type=None)
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            tab = Tab(socket)
            for domain in ("Page", "Runtime", "Log", "Network"):
                await tab.ask(f"{domain}.enable")
            await tab.size(1280, 900)
            await tab.ask("Page.navigate", url=page.as_uri())
            while not tab.loaded:
                await tab.ask("Runtime.evaluate", expression="0")
                await asyncio.sleep(0.02)
            return await look(tab)
