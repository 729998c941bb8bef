"""Drives a headless Chromium through its debugging pipe: no driver, no WebSocket, nothing to install beside it."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

COMMAND = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowRight": 39, "Delete": 46}


class Chromium:
    """One browser with one page; a context manager.

    Attributes:
        problems: exceptions, errors and violated policies that the page met, as text.
    """

    def __init__(self):
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb"]
        # The pipe is file descriptors 3 and 4 by definition; only a shell can place them there without a fork hook.
        self._process = subprocess.Popen(
            [
                *("bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "bash", COMMAND),
                *flags,
                "--remote-debugging-pipe",
                f"--user-data-dir={self._profile.name}",
            ],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._received = b""
        self._number = 0
        self.problems = []
        target = self.call("Target.createTarget", url="about:blank", session=None)["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True, session=None)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(20)
        os.close(self._read)
        os.close(self._write)
        self._profile.cleanup()

    def call(self, method: str, session="", timeout: float = 60, **parameters) -> dict:
        """Send one command of the DevTools protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            answer = self._next_message(deadline, method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def _next_message(self, deadline: float, method: str) -> dict:
        while b"\0" not in self._received:
            if not select.select([self._read], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"{method}: no answer from Chromium")
            block = os.read(self._read, 1 << 20)
            if not block:
                raise RuntimeError(f"{method}: Chromium ended with exit code {self._process.poll()}")
            self._received += block
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        elif event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")

    def open(self, url: str) -> None:
        """Go to a page; returns as soon as it is asked for, see `wait`."""
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str, timeout: float = 60):
        """The value of a JavaScript expression, awaited if it is a promise."""
        answer = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
            timeout=timeout,
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def wait(self, condition: str, timeout: float = 60) -> None:
        """Poll a JavaScript expression until it is true."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                true = self.evaluate(f"Boolean({condition})")
            except RuntimeError:  # the page is being replaced
                true = False
            if true:
                return
            if time.monotonic() > deadline:
                text = self.evaluate("document.body.innerText")
                raise TimeoutError(f"{condition} did not come true; problems: {self.problems}; the page says: {text}")
            time.sleep(0.05)

    def press(self, key: str, modifiers: int = 0) -> None:
        """Press and release a key on the focused element; modifiers: 1 Alt, 2 Ctrl, 8 Shift."""
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        event = {"key": key, "windowsVirtualKeyCode": _KEYS.get(key, 0), "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def type(self, text: str) -> None:
        """Insert text into the focused element, as a keyboard or a paste would."""
        self.call("Input.insertText", text=text)

    def give_files(self, selector: str, paths: list) -> None:
        """Choose files in a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def emulate(self, width: int, height: int, dark: bool = False, scale: float = 1, mobile: bool = False) -> None:
        """Set the size of the window in CSS pixels, the colour scheme and the pixel ratio."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path, whole: bool = True) -> None:
        """Write a PNG of the page, or of the window alone."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
