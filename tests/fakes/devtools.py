"""A page in a real browser, driven as a person would: keys, clicks, the width of the window, the scheme of colours."""

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync --remote-debugging-port=0 --hide-scrollbars"
PATIENCE = 30.0  # seconds


class Tab:
    """One page. `complaints`: errors and warnings of the console, refused content, exceptions that nothing caught."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket, self.numbers, self.complaints = socket, itertools.count(1), []

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The browser's answer to one command of the DevTools protocol."""
        number = next(self.numbers)
        await self.socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            said = json.loads((await self.socket.receive(PATIENCE)).data)
            if said.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(json.dumps(said["params"]))
            if said.get("method") == "Runtime.consoleAPICalled" and said["params"]["type"] in ("error", "warning"):
                self.complaints.append(json.dumps(said["params"]))
            if said.get("id") == number:
                assert "error" not in said, said["error"]
                return said["result"]

    async def see(self, expression: str) -> Any:
        """What a JavaScript expression is on the page."""
        found = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str) -> Any:
        """The expression's value, when it has become true."""
        async with asyncio.timeout(PATIENCE):
            while not (value := await self.see(expression)):
                await asyncio.sleep(0.02)
            return value

    async def press(self, *keys: str) -> None:
        """Presses one key after the other: a character, or a name such as ArrowDown."""
        codes = {"Enter": 13, "Tab": 9, "ArrowUp": 38, "ArrowDown": 40}
        for key in keys:
            text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
            pressed = {"key": key, "code": key, "windowsVirtualKeyCode": codes.get(key, 0)}
            await self.ask("Input.dispatchKeyEvent", type="keyDown", **pressed, **text)
            await self.ask("Input.dispatchKeyEvent", type="keyUp", **pressed)

    async def screen(self, width: int, dark: bool = False) -> None:
        """As wide as that, in CSS pixels."""
        phone = {"deviceScaleFactor": 1, "mobile": width < 500}
        await self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, **phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.ask("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, path: Path, selector: str) -> None:
        """A PNG of one element, all of it."""
        box = await self.see(
            f"(() => {{const r = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return {x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height}})()"
        )
        shot = await self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=box | {"scale": 1})
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.asynccontextmanager
async def tab(folder: Path) -> AsyncIterator[Tab]:
    """An empty page of a browser that is closed at the end; the test is skipped where there is none."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip(f"no {', '.join(NAMES[:-1])} or {NAMES[-1]} on this machine")
    profile = folder / "profile"
    process = subprocess.Popen(
        [browser, *FLAGS.split(), f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while not (said := profile / "DevToolsActivePort").is_file() or not said.read_text().count("\n"):
                await asyncio.sleep(0.05)
        port = said.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                pages = [page for page in await answer.json() if page["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                found = Tab(socket)
                for part in ("Page", "Runtime", "Log"):
                    await found.ask(f"{part}.enable")
                yield found
    finally:
        process.terminate()
        process.wait(PATIENCE)
