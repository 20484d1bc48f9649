"""A headless Chromium, driven by its own protocol over two pipes: opens a page, measures it, takes its picture."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # nothing on a page may need the network
)
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Opened:
    """A page as the browser has it.

    seconds : from the begin of navigation to the end of the load event
    messages : errors and warnings of the console, uncaught exceptions, failed requests
    """

    seconds: float
    messages: tuple[str, ...]


class Browser:
    """One tab. ``profile`` is a folder for the browser's own files."""

    def __init__(self, program: str, profile: Path) -> None:
        to_browser, commands = os.pipe()
        answers, from_browser = os.pipe()

        def place_pipes() -> None:  # the browser reads from 3 and writes to 4
            low, high = os.dup(to_browser), os.dup(from_browser)
            os.dup2(low, 3)
            os.dup2(high, 4)

        command = [program, *_FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        # A sanitizer's library, preloaded for the tests' own process, ends the browser.
        environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
        self._process = subprocess.Popen(
            command,
            preexec_fn=place_pipes,
            close_fds=False,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._commands, self._answers, self._read = os.fdopen(commands, "wb", 0), answers, b""
        self._session: str | None = None
        self._number = 0
        self._events: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._commands.close()
        os.close(self._answers)

    def show(self, width: int, height: int, *, dark: bool = False, scale: float = 1) -> None:
        """Size of the window, and whether the user wants it dark."""
        mobile = width < 600
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, page: Path) -> Opened:
        """Load a file and wait for the end of its load event."""
        self._events.clear()
        began = time.monotonic()
        self._call("Page.navigate", url=page.resolve().as_uri())
        while not any(e["method"] == "Page.loadEventFired" for e in self._events):
            self._events.append(self._receive())
            assert time.monotonic() < began + 60
        seconds = self.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd / 1000")
        return Opened(float(seconds), tuple(filter(None, map(_message, self._events))))

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        result = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        data = self._call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self._events.append(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            assert select.select([self._answers], [], [], _TIMEOUT_S)[0], "the browser does not answer"
            data = os.read(self._answers, 1 << 16)
            assert data, "the browser is gone"
            self._read += data
        message, _, self._read = self._read.partition(b"\0")
        return dict(json.loads(message))


def _message(event: dict[str, Any]) -> str | None:
    """The text of an event that a page should not give rise to."""
    method, values = event["method"], event.get("params", {})
    if method == "Runtime.exceptionThrown" or method == "Network.loadingFailed":
        return json.dumps(values)
    if method == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
        return str(values["entry"]["text"])
    if method == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert"):
        return json.dumps(values["args"])
    return None
