"""A headless Chromium, told what to do by its DevTools protocol: for the tests of the status page and its pictures."""

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

from websockets.sync.client import connect

PATIENCE_SECONDS: Final = 30.0
"""For Chromium to start, or to answer: generous, because the machine may be busy."""


OPTIONS: Final = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0")


def path() -> str | None:
    """Where Chromium is; None if it is not installed."""
    return shutil.which("chromium")


class Chromium:
    """One browser with one page, from `with` to its end."""

    def __enter__(self) -> Self:
        self.events: list[dict[str, Any]] = []
        """What the page has told so far, of the domains that were enabled."""
        self._numbers = itertools.count(1)
        with ExitStack() as parts:
            profile = parts.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            command = [path() or "chromium", *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            parts.callback(process.wait)
            parts.callback(process.terminate)
            self._socket = parts.enter_context(connect(_page_address(Path(profile)), max_size=None, proxy=None))
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.tell(f"{domain}.enable")
            self._parts = parts.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def tell(self, method: str, **parameters: object) -> Any:
        """Does what `method` of the protocol says; its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(PATIENCE_SECONDS))
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def evaluate(self, expression: str) -> Any:
        """The value of some JavaScript."""
        result = self.tell("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait_until(self, expression: str) -> None:
        """Until some JavaScript is true."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.evaluate(expression):
            if time.monotonic() > deadline:
                text = self.evaluate("document.body.innerText")
                raise AssertionError(f"not within {PATIENCE_SECONDS:g} s: {expression}; the page says: {text}")
            time.sleep(0.05)

    def resize(self, width: int, height: int) -> None:
        """Gives the page another size, in CSS pixels."""
        self.tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def prefer(self, scheme: str) -> None:
        """Lets the page know that its reader likes it `light` or `dark`."""
        self.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, address: str) -> None:
        """Leads to a page, and waits until it is there."""
        self.tell("Page.navigate", url=address)
        self.wait_until(f"location.href.startsWith({json.dumps(address)}) && document.readyState === 'complete'")

    def picture(self) -> bytes:
        """The whole page, as PNG."""
        result = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(result["data"])


def _page_address(profile: Path) -> str:
    """Where the page of a browser that was just started is told what to do."""
    deadline, port_file = time.monotonic() + PATIENCE_SECONDS, profile / "DevToolsActivePort"
    while time.monotonic() < deadline:
        if port_file.exists() and (lines := port_file.read_text().splitlines()):
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json/list", timeout=10) as answer:
                pages = [each for each in json.load(answer) if each["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.05)
    raise TimeoutError(f"Chromium did not start within {PATIENCE_SECONDS:g} s")
