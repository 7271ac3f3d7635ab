"""Chromium for tests of pages, driven through pipes by the DevTools protocol."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time

CHROMIUM = shutil.which("chromium")


class Page:
    """A page in headless Chromium, which reaches no network but this machine.

    Attributes:
        problems: What the page wrote to the console, and exceptions of its script.
        requested: The addresses that the page has asked for.
    """

    def __init__(self, requests, answers):
        self._requests, self._answers = requests, answers
        self._rest, self._count, self._session = b"", 0, None
        self.problems, self.requested = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Calls a method of the protocol; returns its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._requests, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
            kinds = ("consoleAPICalled", "exceptionThrown", "entryAdded")
            if answer.get("method", "").endswith(kinds):
                self.problems.append(answer["params"])
            if answer.get("method") == "Network.requestWillBeSent":
                self.requested.append(answer["params"]["request"]["url"])

    def _read(self):
        while b"\0" not in self._rest:
            data = os.read(self._answers, 2**16)
            assert data, "Chromium has ended"
            self._rest += data
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def open(self, path, fragment=""):
        """Opens a file, or changes the fragment of the file that is open."""
        self.visit(f"{path.absolute().as_uri()}#{fragment}")

    def visit(self, address):
        """Opens an address."""
        self.call("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete'")

    def upload(self, path, selector="input[type=file]"):
        """Chooses a file, as a visitor does in the dialogue of a file input."""
        found = self.call(
            "Runtime.evaluate", expression=f"document.querySelector({selector!r})"
        )
        object_id = found["result"]["objectId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], objectId=object_id)

    def evaluate(self, expression):
        """Returns the value of JavaScript; promises are waited for."""
        answer = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression, seconds=20):
        """Waits until JavaScript is true; returns its value."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < end, (expression, self.problems)
            time.sleep(0.02)
        return value

    def resize(self, width, height, *, phone=False):
        """Sets the size of the window, in pixels of the page."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    def screenshot(self, file, *, whole=False):
        """Writes what is seen as a PNG; with `whole` also what scrolling would show."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def chromium(folder):
    """Starts Chromium with its profile in a folder, and gives a page of it."""
    assert CHROMIUM is not None
    from_us, requests = os.pipe()
    answers, to_us = os.pipe()
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--mute-audio",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={folder}",
        "--remote-debugging-pipe",
    ]  # fmt: skip
    # Chromium reads requests from descriptor 3 and writes answers to 4.
    shell = f'exec "$@" 3<&{from_us} 4>&{to_us}'
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", *command],
        pass_fds=(from_us, to_us),
        stderr=subprocess.DEVNULL,
    )
    os.close(from_us)
    os.close(to_us)
    try:
        yield Page(requests, answers)
    finally:
        process.terminate()
        process.wait(timeout=20)
        os.close(requests)
        os.close(answers)
