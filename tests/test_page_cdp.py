"""test_page_cdp.py: a headless Chromium driven over its debugging pipe (Chrome DevTools Protocol: JSON messages that end with a zero byte, read on file
descriptor 3 and written on 4), with Python's standard library alone. Shared by the tests of the page; run by itself it does nothing."""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_browser():
    asked = os.environ.get("CHROMIUM")
    return shutil.which(asked) if asked else next((p for p in map(shutil.which, NAMES) if p), None)


class Browser:
    def __init__(self, program, language="en-US"):
        self.profile = tempfile.mkdtemp(prefix="strata-browser-")
        self.downloads = os.path.join(self.profile, "downloads")
        os.mkdir(self.downloads)
        to_read, self.write_fd = os.pipe()
        self.read_fd, to_write = os.pipe()

        def wire():  # ends the pipe where the browser looks for it
            a, b = os.dup(to_read), os.dup(to_write)
            os.dup2(a, 3)
            os.dup2(b, 4)
            os.set_inheritable(3, True)
            os.set_inheritable(4, True)

        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe", "--no-first-run",
             "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", f"--lang={language}",
             f"--user-data-dir={self.profile}/data", "about:blank"],
            preexec_fn=wire, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "LANGUAGE": language[:2]})
        os.close(to_read)
        os.close(to_write)
        self.buffer, self.number = b"", 0
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=self.downloads, eventsEnabled=False)

    def receive(self, until):
        while b"\0" not in self.buffer:
            left = until - time.time()
            if left <= 0 or not select.select([self.read_fd], [], [], left)[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self.read_fd, 1 << 20)
            if not part:
                raise ConnectionError("the browser has ended")
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, seconds=60, **params):
        self.number += 1
        mine = self.number
        message = {"id": mine, "method": method, "params": params}
        if session:
            message["sessionId"] = session.id
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.write_fd, data):]
        until = time.time() + seconds
        while True:
            answer = self.receive(until)
            if answer.get("id") == mine:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            if "method" in answer and answer.get("sessionId") in Page.all:
                Page.all[answer["sessionId"]].event(answer["method"], answer["params"])

    def close(self):
        try:
            self.call("Browser.close", seconds=10)
            self.process.wait(10)
        except (OSError, RuntimeError, TimeoutError, ConnectionError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)


class Page:
    """One tab. js(): an expression's value; wait(): until it is true; complaints: what the console and the network reported as errors."""
    all = {}

    def __init__(self, browser, width=1280, height=720):
        self.browser, self.complaints, self.requests = browser, [], []
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.target = target
        self.id = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        Page.all[self.id] = self
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.size(width, height)

    def send(self, method, **params):
        return self.browser.call(method, session=self, **params)

    def event(self, method, params):
        if method == "Runtime.exceptionThrown":
            detail = params["exceptionDetails"]
            self.complaints.append(detail.get("exception", {}).get("description", detail["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def size(self, width, height):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def go(self, url):
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=url)

    def js(self, expression):
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"].get("exception", {}).get("description", "an exception") + f" in {expression[:200]}")
        return result["result"].get("value")

    def wait(self, expression, seconds=20):
        until = time.time() + seconds
        while time.time() < until:
            try:
                if self.js(f"Boolean({expression})"):
                    return True
            except RuntimeError:
                pass  # the page is between two documents
            time.sleep(0.04)
        return False

    def mouse(self, kind, x, y, **more):
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left" if kind != "mouseMoved" or more.get("buttons") else "none", clickCount=1, **more)

    def middle(self, selector, n=0):
        box = self.js(f"(() => {{ const e = document.querySelectorAll({json.dumps(selector)})[{n}]; e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2, b.width, b.height]; }})()")
        return box

    def click(self, selector, n=0):
        x, y = self.middle(selector, n)[:2]
        self.mouse("mousePressed", x, y, buttons=1)
        self.mouse("mouseReleased", x, y)

    def drag(self, from_, to, steps=8, pause=0.02, held=None):
        (x0, y0), (x1, y1) = from_, to
        self.mouse("mousePressed", x0, y0, buttons=1)
        for i in range(1, steps + 1):
            self.mouse("mouseMoved", x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps, buttons=1)
            time.sleep(pause)
        seen = held() if held else None
        self.mouse("mouseReleased", x1, y1)
        return seen

    def key(self, key, shift=False):
        codes = {"ArrowLeft": 37, "ArrowRight": 39, "ArrowUp": 38, "ArrowDown": 40, "Tab": 9, "Delete": 46, " ": 32, "Enter": 13, "Home": 36, "End": 35}
        code = codes.get(key, ord(key.upper()) if len(key) == 1 else 0)
        more = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key if len(key) > 1 else "", windowsVirtualKeyCode=code, modifiers=8 if shift else 0, **(more if kind == "keyDown" else {}))

    def shot(self, path, whole=False):
        more = {}
        if whole:
            width, height = self.js("[innerWidth, document.documentElement.scrollHeight]")
            more = {"captureBeyondViewport": True, "clip": {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}}
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.send("Page.captureScreenshot", format="png", **more)["data"]))

    def close(self):
        Page.all.pop(self.id, None)
        self.browser.call("Target.closeTarget", targetId=self.target)
