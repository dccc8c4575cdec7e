"""Chromium without a window, controlled over a pipe by the DevTools protocol: for the tests and timings of pages."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""Names of the program on different systems."""

_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "about:blank",
)

_LAUNCHER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
"""Chromium reads commands from file descriptor 3 and writes answers to 4."""


def find_chromium() -> str | None:
    """Return the path of Chromium or Chrome; None if it is not installed."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextmanager
def chromium() -> Iterator["Chromium"]:
    """Start Chromium with an empty profile; it ends with the block.

    Raises:
        FileNotFoundError: Chromium is not installed.
    """
    program = find_chromium()
    if program is None:
        raise FileNotFoundError(f"none of {', '.join(PROGRAMS)} is installed")
    commands, answers = os.pipe(), os.pipe()
    # Above the numbers that the launcher assigns.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (commands[0], answers[1])]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        arguments = [sys.executable, "-c", _LAUNCHER, *map(str, ends), program, *_FLAGS, f"--user-data-dir={profile}"]
        process = subprocess.Popen(arguments, pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in (commands[0], answers[1], *ends):
            os.close(end)
        with os.fdopen(commands[1], "wb", buffering=0) as writer, os.fdopen(answers[0], "rb") as reader:
            try:
                yield Chromium(writer, reader)
            finally:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()


class Chromium:
    """A running Chromium."""

    def __init__(self, writer: Any, reader: Any) -> None:
        self._writer, self._reader, self._buffer, self._number = writer, reader, b"", 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, Page] = {}
        os.set_blocking(reader.fileno(), False)

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False) -> "Page":
        """Open a file in a new tab; returns before it is loaded. All its requests are recorded from the start."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Network", "Runtime", "DOM"):
            page.call(f"{domain}.enable")
        # Workers wait until their requests are recorded too.
        page.call("Target.setAutoAttach", {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True})
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        page.call("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", {"features": [scheme]})
        page.call("Page.navigate", {"url": path.absolute().as_uri()})
        return page

    def call(self, method: str, parameters: dict[str, Any] | None = None, session: str | None = None) -> dict[str, Any]:
        """Call a method of the DevTools protocol and return its result.

        Raises:
            RuntimeError: Chromium reports an error, ends, or does not answer within a minute.
        """
        number = self._send(method, parameters, session)
        deadline = time.monotonic() + 60
        while number not in self._answers:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{method} was not answered")
            self._receive()
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return dict(answer["result"])

    def _send(self, method: str, parameters: dict[str, Any] | None, session: str | None) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters or {}}
        content = json.dumps({**message, **({"sessionId": session} if session else {})}).encode() + b"\0"
        while content:
            content = content[self._writer.write(content) :]
        return self._number

    def _receive(self) -> None:
        """Read what Chromium has written: answers, and events of the pages."""
        chunk = self._reader.read(1 << 20)
        if chunk == b"":
            raise RuntimeError("Chromium ended")
        if chunk is None:
            time.sleep(0.001)
            return
        *messages, self._buffer = (self._buffer + chunk).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            elif page := self._pages.get(message.get("sessionId", "")):
                self._handle(page, message["method"], message["params"])

    def _handle(self, page: "Page", method: str, event: dict[str, Any]) -> None:
        if method == "Target.attachedToTarget":
            session = event["sessionId"]
            self._pages[session] = page
            self._send("Network.enable", None, session)
            self._send("Runtime.enable", None, session)
            self._send("Runtime.runIfWaitingForDebugger", None, session)
        elif method == "Network.requestWillBeSent":
            page.requests.append(event["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            page.exceptions.append(event["exceptionDetails"].get("exception", {}).get("description", ""))
        elif method == "Runtime.consoleAPICalled":
            page.console.append((event["type"], " ".join(str(each.get("value")) for each in event["args"])))


class Segmented(NamedTuple):
    """The result of a page: class ids `[h, w]` uint8, milliseconds of the model, and of the whole call."""

    ids: np.ndarray
    model_milliseconds: float
    call_milliseconds: float


class Page:
    """A tab of Chromium.

    Attributes:
        requests: addresses of all requests of the page and its workers.
        exceptions: texts of the exceptions that nothing caught.
        console: kind ("error", "warning", "debug", ...) and text of the lines on the console.
    """

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser, self._session = browser, session
        self.requests: list[str] = []
        self.exceptions: list[str] = []
        self.console: list[tuple[str, str]] = []

    def call(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call a method of the DevTools protocol in this tab."""
        return self._browser.call(method, parameters, self._session)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; promises are awaited.

        Raises:
            RuntimeError: the expression throws.
        """
        parameters = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", parameters)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def wait_until(self, condition: str, seconds: float = 30.0) -> None:
        """Wait until a JavaScript expression is true; raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(condition):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{condition} is not true after {seconds:.0f} s")
            time.sleep(0.01)

    def state(self) -> str:
        """Return the state of a page of a .tflite file, "ready" or "error", when it is no longer loading."""
        self.wait_until("!['loading', undefined].includes(document.documentElement?.dataset.state)")
        return str(self.evaluate("document.documentElement.dataset.state"))

    def segment(self, image: bytes) -> "Segmented":
        """Segment an image file with the page of a .tflite file."""
        encoded = json.dumps(base64.b64encode(image).decode())
        answer = self.evaluate(
            f"(async () => {{ const blob = new Blob([Uint8Array.from(atob({encoded}), (c) => c.charCodeAt(0))]); "
            "const started = performance.now(); const result = await segment(blob); "
            "const call = performance.now() - started; "
            "const ids = btoa(Array.from(result.ids, (id) => String.fromCharCode(id)).join('')); "
            "return {...result, ids, call}; })()"
        )
        ids = np.frombuffer(base64.b64decode(answer["ids"]), np.uint8).reshape(answer["height"], answer["width"])
        return Segmented(ids, answer["milliseconds"], answer["call"])

    def choose_files(self, selector: str, files: Sequence[Path]) -> None:
        """Choose files in a file input, as the dialog does."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
        self.call("DOM.setFileInputFiles", {"nodeId": node, "files": [str(file.absolute()) for file in files]})

    def screenshot(self, path: Path, full: bool = True) -> None:
        """Write a PNG of the page: all of it, or what the window shows."""
        data = self.call("Page.captureScreenshot", {"captureBeyondViewport": full})["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """Close the tab."""
        with suppress(RuntimeError):
            self.call("Page.close")
