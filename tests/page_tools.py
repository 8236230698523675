"""page_tools.py: what the parts of the page's test share: the counted check, a server of its own, the views and how each shows that it has drawn."""
import json
import os
import subprocess
import urllib.request

BUILD = os.environ.get("BUILD", "build")
STRATA = f"{BUILD}/strata"
MODEL = "tools/demo/model"
TEXT = "tools/demo/wikitext-2-excerpt.txt"
WIDTH = 192
VIEWS = ["#/lab", "#/inside?part=lens", "#/inside?part=stream", "#/inside?part=attention", "#/inside?part=router", "#/inside?part=arithmetic", "#/orders", "#/pairs?bpart=pair", "#/pairs?bpart=study", "#/tours", "#/tours?tour=embed&card=0"]
# A sign that a view has drawn what it has to draw.
DRAWN = {"#/lab": "document.querySelectorAll('.tok').length > 5", "#/inside?part=router": "document.querySelector('.notice')", "#/pairs?bpart=pair": "document.querySelector('[data-card=pair_tokens] svg')",
         "#/pairs?bpart=study": "document.querySelector('[data-card=pairs] td') && document.querySelector('[data-card=diff_map] canvas')", "#/tours": "document.querySelector('.tour')", "#/tours?tour=embed&card=0": "document.querySelector('.tourfigure .tok')",
         "#/orders": "document.querySelector('[data-card=orders_row] .tok') && document.querySelector('[data-card=orders_tags] svg')", "#/inside?part=arithmetic": "document.querySelector('.terms td')"}

counts = {"passed": 0, "failed": 0}


def check(name, good, more=""):
    counts["passed" if good else "failed"] += 1
    if not good:
        print(f"failed: {name}{': ' + str(more)[:300] if more != '' else ''}", flush=True)
    return good


class Server:
    def __init__(self, *arguments):
        self.process = subprocess.Popen([STRATA, "serve", "--port", "0", *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"})
        self.url = self.process.stdout.readline().strip()

    def post(self, name, body):
        request = urllib.request.Request(f"{self.url}api/{name}", json.dumps(body).encode(), {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=60))

    def close(self):
        self.process.terminate()
        self.process.wait(20)
