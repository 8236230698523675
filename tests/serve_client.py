#!/usr/bin/env python3
"""serve_client.py STRATA MODEL FOLDER: drives `strata serve` over loopback, for tests/test_serve.sh. FOLDER/r holds a removal sweep.

Prints what fails and the measured latencies; the last line is "N passed, N failed". Standard library only."""
import base64
import concurrent.futures
import http.client
import json
import math
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

STRATA, MODEL, FOLDER = sys.argv[1:4]
RESULTS = os.path.join(FOLDER, "r")
API = open("tools/web/API.md", encoding="utf-8").read()
TEXT = "The captain of the ship looked at the sea."
SLOW = {"text": "the sea and the land and the sky " * 12, "order": ",".join(["3x50"] * 12)}
passed = failed = 0
seen_keys = {}
servers = []


def check(condition, what):
    global passed, failed
    if condition:
        passed += 1
    else:
        failed += 1
        print("failed: " + what)


class Server:
    def __init__(self, *arguments, model=True):
        command = [STRATA, "serve", "--port", "0", "--output_dir", RESULTS, "--threads", "2"]
        if model:
            command += ["--model_name", MODEL]
        self.process = subprocess.Popen(command + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        match = re.match(r"http://([^:/]+):(\d+)/(\?token=(.*))?$", self.url)
        if not match:
            raise SystemExit("serve said %r, %r" % (self.url, self.process.stderr.read()))
        servers.append(self)
        self.host = "127.0.0.1"
        self.port = int(match.group(2))
        self.token = match.group(4)

    def ask(self, method, path, body=None, headers=None, timeout=60):
        """Status, headers, bytes of one request on a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        headers = dict(headers or {})
        if isinstance(body, dict):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, answer.headers, data

    def get(self, path):
        status, _, data = self.ask("GET", path)
        return status, json.loads(data)

    def post(self, path, body):
        status, _, data = self.ask("POST", path, body)
        answer = json.loads(data)
        if status == 200:
            collect(answer, path)
        return status, answer

    def raw(self, data, wait=5):
        """What comes back for raw bytes, until the other side closes or nothing comes for a while."""
        got = b""
        with socket.create_connection((self.host, self.port), timeout=wait) as s:
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while len(got) < 1 << 20:
                    piece = s.recv(65536)
                    if not piece:
                        break
                    got += piece
            except OSError:
                pass
        return got

    def end(self):
        self.process.send_signal(signal.SIGINT)
        try:
            out, err = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            check(False, "the server does not end")
        return self.process.returncode, err


def collect(value, where):
    """Keys of an answer, to be looked up in the documentation. Numbers as keys are token ids."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not key.isdigit():
                seen_keys.setdefault(key, where)
            collect(inner, where)
    elif isinstance(value, list):
        for inner in value[:3]:
            collect(inner, where)


def matrix(m):
    data = base64.b64decode(m["base64"])
    n = math.prod(m["shape"])
    check(len(data) == 4 * n, "a matrix has %d bytes for %s" % (len(data), m["shape"]))
    return struct.unpack("<%df" % n, data)


def make_diff():
    """A small result of Study B, as the contract has it."""
    folder = os.path.join(RESULTS, "diff")
    os.makedirs(folder)
    shape = [13, 192]
    values = [math.sin(i) for i in range(shape[0] * shape[1])]
    entries, data = {}, b""
    for name in ("corpus_mean", "mean.tense.edited", "sigma"):
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * len(values)]}
        data += struct.pack("<%df" % len(values), *values)
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    with open(os.path.join(folder, "diff.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(header)) + header + data)
    with open(os.path.join(folder, "diff.json"), "w") as f:
        json.dump({"schema": "strata.diff/1", "model": MODEL, "n_pairs": 3, "categories": [{"name": "tense"}, {"name": "place"}]}, f)
    with open(os.path.join(folder, "pairs.jsonl"), "w") as f:
        for i, (a, b, category) in enumerate([("He was ill.", "He is ill.", "tense"), ("She was out.", "She is out.", "tense"),
                                              ("We are in Rome.", "We are in Paris.", "place")]):
            json.dump({"a": a, "b": b, "category": category, "template": "t%d" % i, "words": ["x", "y"], "ids_a": [5, 6 + i, 7],
                       "ids_b": [5, 60 + i, 7], "edit_index": 1, "error_side": "b" if category == "tense" else None,
                       "onset_index": None}, f)
            f.write("\n")
    return values


def test_lab(s):
    status, model = s.get("/api/model.json")
    collect(model, "api/model.json")
    check(status == 200 and model["model"]["n_layers"] == 12 and model["live"] is True, "model.json")
    status, a = s.post("/api/tokenize", {"text": "H\u00e9llo w\u00f6rld"})
    check(status == 200 and "".join(t["piece"] for t in a["tokens"] if "\ufffd" not in t["piece"]) != "", "tokenize")
    check(a["tokens"][-1]["end"] == len("H\u00e9llo w\u00f6rld".encode()), "spans count bytes")
    status, run = s.post("/api/run", {"text": TEXT, "order": "0-4,6-11", "top": 5})
    check(status == 200 and run["order"] == "0-4,6-11" and not run["intact"] and len(run["steps"]) == 11, "run: the order")
    n = len(run["tokens"])
    for side in ("variant", "baseline"):
        x = run[side]
        check(len(x["nll"]) == n and x["nll"][0] is None and all(v > 0 for v in x["nll"][1:]), "run: losses of the " + side)
        check(all(len(c["ids"]) == 5 and c["p"] == sorted(c["p"], reverse=True) for c in x["candidates"][1:]), "run: candidates of the " + side)
        for i in range(1, n):
            if x["rank"][i] == 0:
                check(x["candidates"][i]["ids"][0] == run["tokens"][i]["id"] and
                      abs(-math.log(x["candidates"][i]["p"][0]) - x["nll"][i]) < 1e-5, "run: rank 0 is the first candidate")
        check(abs(x["mean_nll"] - sum(x["nll"][1:]) / (n - 1)) < 1e-5, "run: the mean")
    check(all(abs(v - (a - b)) < 1e-5 for v, a, b in zip(run["delta_nll"][1:], run["variant"]["nll"][1:], run["baseline"]["nll"][1:])), "run: deltas")
    check(all(v > -1e-6 for v in run["variant"]["kl"][1:]), "run: KL")
    check(set(map(str, run["variant"]["next"]["ids"])) <= set(run["pieces"]), "run: pieces")
    status, same = s.post("/api/run", {"text": TEXT, "order": " 0-4, 6-11 ", "top": 5})
    check(same["cached"] and same["variant"] == run["variant"], "an equal request is answered from what is there")
    status, intact = s.post("/api/run", {"text": TEXT})
    check(intact["intact"] and intact["mean_delta_nll"] == 0 and all(k == 0 for k in intact["variant"]["kl"][1:]), "run: intact")
    check(intact["variant"]["nll"] == run["baseline"]["nll"], "run: the baseline is the intact run")
    status, alone = s.post("/api/run", {"text": TEXT, "order": "0-4,6-11", "intact": False, "top": 5})
    check(alone["baseline"] is None and alone["variant"]["nll"] == run["variant"]["nll"], "run: without the intact model")
    status, by_ids = s.post("/api/run", {"ids": [t["id"] for t in run["tokens"]], "order": "0-4,6-11", "top": 5})
    check(by_ids["variant"]["nll"] == run["variant"]["nll"] and by_ids["tokens"][0]["start"] is None, "run: ids")
    for order, steps in (("none", 0), ("11-0", 12), ("0-5,6x3,7-11", 14), ("0-9,10.attn,11", 12), ("0-9,10+11", 12)):
        status, a = s.post("/api/run", {"text": TEXT, "order": order})
        check(status == 200 and len(a["steps"]) == steps and len(a["variant"]["norm"]) == steps + 1, "run: order " + order)
    check(a["steps"][10]["group"] == a["steps"][11]["group"] != a["steps"][9]["group"], "run: a group")
    return run


def test_inside(s, run):
    n = len(run["tokens"])
    status, lens = s.post("/api/lens", {"text": TEXT, "order": "0-4,6-11", "top": 5})
    check(status == 200 and len(lens["ids"]) == 12 and len(lens["ids"][0]) == n, "lens: shape")
    last = lens["next_nll"][-1]
    check(all(abs(a - b) < 1e-4 for a, b in zip(last[:-1], run["variant"]["nll"][1:])) and last[-1] is None, "lens: the last point is the model")
    check(all(v == 0 for v in lens["kl_to_final"][-1]) and all(v > 0 for v in lens["kl_to_final"][0]), "lens: KL")
    status, one = s.post("/api/lens", {"text": TEXT, "order": "0-4,6-11", "position": 3})
    check(one["positions"] == [3] and one["ids"][6][0] == lens["ids"][6][3], "lens: one position")
    status, stream = s.post("/api/stream", {"text": TEXT, "order": "0-4,6.attn,7-11"})
    check(status == 200 and len(stream["norm"]) == 12 and len(stream["mid"]) == 11, "stream: shape")
    check(stream["mid"][5] is None and stream["mlp_update"][5] is None and stream["attn_update"][5], "stream: a half layer")
    check(all(-1.000001 < v < 1.000001 for row in stream["cosine"] for v in row), "stream: cosines")
    status, a = s.post("/api/attention", {"text": TEXT, "step": 2})
    values = matrix(a["pattern"])
    check(a["pattern"]["shape"] == [6, n, n] and a["heads"] == list(range(6)), "attention: shape")
    for row in range(6 * n):
        check(abs(sum(values[row * n : (row + 1) * n]) - 1) < 1e-5, "attention: rows sum to 1")
        check(all(v == 0 for v in values[row * n + row % n + 1 : (row + 1) * n]), "attention: nothing of the future")
    status, b = s.post("/api/attention", {"text": TEXT, "step": 2, "head": 4})
    check(matrix(b["pattern"]) == values[4 * n * n : 5 * n * n], "attention: one head")
    status, e = s.post("/api/router", {"text": TEXT})
    check(status == 400 and "mixture" in e["error"], "router of a dense model")
    status, ops = s.post("/api/arithmetic", {"text": TEXT, "op": "list"})
    names = {o["op"] for step in ops["ops"] for o in step["ops"]}
    for name in ("embed", "attn_norm", "q", "k", "v", "q_rotated", "k_rotated", "score", "softmax", "mix", "o", "attn_add", "mlp_norm", "gate",
                 "up", "hidden", "down", "mlp_add", "final_norm", "logit"):
        check(name in names, "arithmetic: no " + name)
        body = {"text": TEXT, "op": name, "position": n - 1}
        if name not in ("embed", "final_norm", "logit"):
            body["step"] = 7
        body.update({"head": 2, "key": 1} if name in ("score", "softmax") else {"coordinate": 5})
        status, x = s.post("/api/arithmetic", body)
        check(status == 200 and x["agrees"] is not False, "arithmetic: %s: %s" % (name, x))
        if status == 200 and x["kind"] == "dot":
            scalars = {v["name"]: v["value"] for v in x["scalars"]}
            total = math.fsum(p * q for p, q in zip(x["operands"][0]["values"], x["operands"][1]["values"]))
            value = scalars.get("factor", 1) * (total + scalars.get("bias", 0))
            check(abs(value - x["value"]) <= 1e-12 * (1 + abs(value)), "arithmetic: %s does not add up" % name)
    status, q = s.post("/api/arithmetic", {"text": TEXT, "op": "q", "step": 7, "position": 2, "coordinate": 5})
    first = q["operands"][0]
    status, inner = s.post("/api/arithmetic", {"text": TEXT, "op": first["op"], "step": 7, "position": 2, "coordinate": 9})
    check(abs(inner["engine"] - first["values"][9]) == 0, "arithmetic: an operand is its operation's output")


def test_pairs(s):
    a, b = "The captain was very happy.", "The captain is very happy."
    status, p = s.post("/api/pair", {"a": a, "b": b})
    check(status == 200 and p["ok"] and p["differs"] == [p["edit"]] and p["positions"]["edited"] == p["edit"], "pair: found")
    d = matrix(p["difference"]["edited"])
    norms = [math.sqrt(sum(v * v for v in d[i * 192 : (i + 1) * 192])) for i in range(13)]
    check(all(abs(x - y[p["edit"]]) < 1e-4 * (1 + x) for x, y in zip(norms, p["norm"])), "pair: the difference has the norms told")
    check(all(v == 0 for row in p["norm"] for v in row[: p["edit"]]), "pair: nothing before the edit")
    check(p["kl"][0] == 0 and p["kl"][-1] > 0 and p["difference"]["onset"] is None, "pair: KL at the last token")
    matrix(p["difference"]["all"])
    status, with_onset = s.post("/api/pair", {"a": a, "b": b, "onset": 4, "logits": False})
    check(with_onset["kl"] is None and with_onset["difference"]["onset"] is not None, "pair: onset, without logits")
    for other, reason in ((a, "the same"), ("The captain was.", "tokens"), ("A captain is very happy.", "differ")):
        status, e = s.post("/api/pair", {"a": a, "b": other})
        check(status == 200 and not e["ok"] and reason in e["reason"] and e["difference"] is None, "pair: refused: " + other)
    edit = p["edit"]
    every = [[0, i] for i in range(192)]
    status, x = s.post("/api/ablate", {"a": a, "b": b, "dims": every, "mode": "zero"})
    check(status == 200 and all(v == 0 for v in x["pair"]["norm_ablated"]) and x["pair"]["area"] > 0, "ablate: without the embedding nothing differs")
    check(x["nll_ablated"][: edit + 1] == x["nll"][: edit + 1] and x["delta_nll"][-1] != 0, "ablate: only from the edit on")
    status, x = s.post("/api/ablate", {"a": a, "b": b, "dims": every, "mode": "swap"})
    check(x["nll_ablated"][edit + 1 :] == x["b_nll"][edit + 1 :] if x["nll"][-1] != x["b_nll"][-1] else True, "ablate: swapped embeddings swap the losses")
    status, x = s.post("/api/ablate", {"text": a, "dims": [[6, 3]], "mode": "mean", "from": 2})
    check(status == 200 and x["mean_source"] == "text" and x["from"] == 2 and x["pair"] is None, "ablate: mean of the text")
    status, y = s.post("/api/ablate", {"text": a, "dims": [[6, 3]], "mode": "mean", "result": "diff"})
    check(status == 200 and y["mean_source"] == "corpus", "ablate: mean of the corpus")
    status, y = s.post("/api/ablate", {"text": a, "dims": [[6, 3]], "mode": "mean", "result": "diff", "order": "11-0"})
    check(status == 400 and "intact order" in y["error"], "ablate: the corpus' means are of no other order's points")


def test_results(s, values):
    status, listing = s.get("/api/results.json")
    collect(listing, "results.json")
    ids = {r["id"]: r for r in listing["results"]}
    sweep = next(i for i in ids if i.startswith("removal/"))
    check(ids[sweep]["has_tokens"] and not ids[sweep]["has_pos"] and ids["diff"]["categories"] == ["tense", "place"], "results.json")
    with open(os.path.join(RESULTS, sweep, "ppl.json"), "rb") as f:
        check(s.ask("GET", "/api/results/%s/ppl.json" % sweep)[2] == f.read(), "ppl.json as it is")
    status, windows = s.get("/api/results/%s/windows.json" % sweep)
    collect(windows, "windows.json")
    window = next(w for w in windows["windows"] if w["n_tokens"] > 20)
    status, t = s.get("/api/results/%s/tokens/%d.json" % (sweep, window["window"]))
    collect(t, "tokens")
    ppl = s.get("/api/results/%s/ppl.json" % sweep)[1]
    check(t["orders"][0] == "intact" and len(t["nll"]) == 13 == len(t["rank"]) and len(t["start"]) == window["n_tokens"], "tokens: shape")
    # the sweep and the live model agree: f32 sums in another batch
    text = t["text"].encode()[: t["end"][-1]].decode()
    for order in (0, 6):
        spec = ppl["baseline"]["spec"] if order == 0 else ppl["orders"][order - 1]["spec"]
        status, run = s.post("/api/run", {"text": text, "order": spec})
        live = run["variant"]["nll"][1:]
        check(len(live) == len(t["nll"][order]) and all(abs(a - b) < 1e-3 for a, b in zip(live, t["nll"][order])), "tokens equal the live run under " + spec)
    status, maps = s.get("/api/results/diff/maps.json")
    collect(maps, "maps.json")
    check({m["name"] for m in maps["maps"]} == {"corpus_mean", "mean.tense.edited", "sigma"}, "maps.json")
    status, headers, data = s.ask("GET", "/api/results/diff/maps/mean.tense.edited.f32")
    check(status == 200 and data == struct.pack("<%df" % len(values), *values) and headers["Content-Type"] == "application/octet-stream", "a map")
    status, pairs = s.get("/api/results/diff/pairs.json")
    collect(pairs, "pairs.json")
    check(pairs["n_pairs"] == 3 == len(pairs["pairs"]), "pairs.json")
    for query, n in (("category=tense", 2), ("search=ROME", 1), ("error=none", 1), ("error=b", 2), ("template=t1", 1), ("from=1&count=1", 3)):
        status, found = s.get("/api/results/diff/pairs.json?" + query)
        check(status == 200 and found["n_matching"] == n, "pairs.json?" + query)
    check(s.get("/api/results/diff/pairs.json?category=verbs")[0] == 400, "pairs: an unknown category")
    check(s.get("/api/results/diff/pairs.json?count=x")[0] == 400, "pairs: no number")
    check(s.get("/api/results/diff/pairs.json?sort=a")[0] == 400, "pairs: an unknown parameter")
    for path in ("removal/none/ppl.json", sweep + "/pos.json", sweep + "/ledger.safetensors", sweep + "/tokens/99999.json", "diff/maps/none.f32",
                 "diff/tokens/0.json", sweep + "/maps.json", sweep + "/figures/layers.svg", "../r/diff/diff.json", "%2e%2e/r/diff/diff.json",
                 "diff/../diff/diff.json", "diff/maps/../diff.json", ".hidden/ppl.json", "link/ppl.json", "", "/", "diff//diff.json", "diff"):
        status, _, data = s.ask("GET", "/api/results/" + path)
        check(status == 404 and "error" in json.loads(data), "GET results/%s is %d" % (path, status))
    check(s.get("/api/results/%s/tokens/1x.json" % sweep)[0] == 400, "tokens: no number")
    # a link out of the folder is not followed
    status, again = s.post("/api/rescan", {})
    check(status == 200 and {r["id"] for r in again["results"]} == set(ids), "rescan lists no link")
    return sweep


def test_errors(s):
    good = {"text": TEXT}
    for path, body, status, words in (
        ("run", {}, 400, "neither"), ("run", {"text": 5}, 400, "a number"), ("run", {"text": ""}, 400, "empty"), ("run", {"text": "a" * 9000}, 400, "bytes"),
        ("run", {"text": "word " * 400}, 400, "tokens"), ("run", dict(good, ids=[1]), 400, "both"), ("run", {"ids": []}, 400, "1 to"),
        ("run", {"ids": [4096]}, 400, "0 to 4095"), ("run", {"ids": [1.5]}, 400, "whole"), ("run", {"ids": "1,2"}, 400, "an array"),
        ("run", dict(good, order="0-99"), 400, "12 layers"), ("run", dict(good, order="0-5,"), 400, "order"), ("run", dict(good, order=3), 400, "order"),
        ("run", dict(good, order="3x1000,3x100"), 400, "at most 1024"), ("run", dict(good, top=0), 400, "1 to 50"), ("run", dict(good, top="3"), 400, "whole"),
        ("run", dict(good, intact=1), 400, "true or false"), ("run", dict(good, client="a b"), 400, "A-Z"), ("run", dict(good, slot="x" * 65), 400, "A-Z"),
        ("run", dict(good, nonsense=1), 400, "unknown key"), ("lens", dict(good, position=999), 400, "a token"), ("lens", dict(good, top=21), 400, "1 to 20"),
        ("attention", good, 400, "step"), ("attention", dict(good, step=12), 400, "steps"), ("attention", dict(good, step=0, head=6), 400, "0 to 5"),
        ("attention", dict(good, step=0, order="3.mlp"), 400, "no attention"), ("arithmetic", good, 400, "op"), ("arithmetic", dict(good, op="x"), 400, "list"),
        ("arithmetic", dict(good, op="q", position=1, coordinate=0), 400, "step"), ("arithmetic", dict(good, op="q", step=0, position=99, coordinate=0), 400, "position"),
        ("arithmetic", dict(good, op="q", step=0, position=1, coordinate=999), 400, "coordinate"), ("arithmetic", dict(good, op="embed", step=0, position=1, coordinate=1), 400, "no step"),
        ("arithmetic", dict(good, op="score", step=0, position=1, head=0, key=2), 400, "sees"), ("arithmetic", dict(good, op="router", step=0, position=1, coordinate=0), 400, "no \"router\""),
        ("arithmetic", dict(good, order="3.attn", op="gate", step=0, position=1, coordinate=0), 400, "without its MLP"),
        ("pair", {"a": "x"}, 400, "\"b\""), ("pair", {"a": "He was.", "b": "He is.", "onset": 77}, 400, "onset"),
        ("ablate", dict(good), 400, "dims"), ("ablate", dict(good, dims=[]), 400, "1 to"), ("ablate", dict(good, dims=[[1]]), 400, "two whole"),
        ("ablate", dict(good, dims=[[13, 0]]), 400, "points 0 to 12"), ("ablate", dict(good, dims=[[0, 192]]), 400, "0 to 191"),
        ("ablate", dict(good, dims=[[0, 0]], mode="x"), 400, "mode"), ("ablate", dict(good, dims=[[0, 0]], mode="swap"), 400, "swap"),
        ("ablate", dict(good, dims=[[0, 0]], **{"from": 99}), 400, "from"), ("ablate", dict(good, dims=[[0, 0]], result="../x"), 400, "no result"),
        ("ablate", {"a": "x", "b": "y z w", "dims": [[0, 0]]}, 400, "no pair"), ("ablate", dict(good, a="x", b="y", dims=[[0, 0]]), 400, "one of"),
        ("tokenize", {}, 400, "text"), ("cancel", {}, 400, "client"), ("nothing", {}, 404, "no such request"), ("results.json", {}, 405, "GET"),
    ):
        got, answer = s.post("/api/" + path, body)
        check(got == status and words in answer.get("error", ""), "POST %s %s: %d %s" % (path, str(body)[:60], got, answer.get("error", answer) if got != 200 else ""))
    for body, words in (("", "expected"), ("{", "expected"), ("[]", "an array"), ("null", "null"), ('{"text":"a","text":"b"}', "twice"), ('{"text":"\\ud800"}', None),
                        ("[" * 50000, "deep"), (b'{"text":"\xff"}', "UTF-8"), ('{"text":"a\\u0000b"}', None)):
        status, _, data = s.ask("POST", "/api/run", body, {"Content-Type": "application/json"})
        answer = json.loads(data)
        check(status == 200 if words is None else status == 400 and "error" in answer, "body %r: %d %s" % (body[:20], status, str(answer)[:100]))
    for method, path, headers, body, status in (
        ("PUT", "/api/run", {}, None, 405), ("DELETE", "/", {}, None, 405), ("GET", "/api/run", {}, None, 405), ("GET", "/api/none", {}, None, 404),
        ("GET", "/no.html", {}, None, 404), ("GET", "/../etc/passwd", {}, None, 404), ("GET", "/%2e%2e/etc/passwd", {}, None, 404), ("GET", "/js/../index.html", {}, None, 404),
        ("POST", "/api/run", {"Content-Type": "text/plain"}, "{}", 415), ("POST", "/api/run", {}, "{}", 415), ("POST", "/", {"Content-Type": "application/json"}, "{}", 405),
        ("POST", "/api/run", {"Content-Type": "application/json"}, "x" * 70000, 413), ("GET", "/", {"Host": "evil.example"}, None, 403), ("GET", "/", {"Host": "127.0.0.1"}, None, 403),
        ("GET", "/", {"Origin": "http://evil.example"}, None, 403), ("GET", "/", {"Origin": "null"}, None, 403), ("GET", "/api/progress.json", {}, None, 400),
        ("GET", "/api/progress.json?client=a%20b", {}, None, 400), ("GET", "/api/model.json", {"X-Long": "y" * 20000}, None, 431),
    ):
        try:
            got, _, _ = s.ask(method, path, body, headers)
        except (OSError, http.client.HTTPException):
            got = None # a body that is not read any more may be cut off
        check(got == status or (got is None and status in (413, 431)), "%s %s %s: %s, expected %d" % (method, path, str(headers)[:40], got, status))
    own = "http://127.0.0.1:%d" % s.port
    check(s.ask("POST", "/api/tokenize", {"text": "a"}, {"Origin": own})[0] == 200, "the page's own origin")
    check(s.ask("GET", "/api/model.json", headers={"Host": "localhost:%d" % s.port})[0] == 200, "localhost")
    status, headers, data = s.ask("GET", "/")
    if status == 200:
        check("default-src 'self'" in headers["Content-Security-Policy"] and headers["X-Content-Type-Options"] == "nosniff", "security headers")
        check(b"<script>" not in data and b"javascript:" not in data, "no inline script")
        check(s.ask("GET", "/", headers={"If-None-Match": headers["ETag"]})[0] == 304, "an unchanged file")
        check(s.ask("HEAD", "/")[2] == b"" and s.ask("HEAD", "/")[0] == 200, "HEAD")
        for name in re.findall(rb'(?:src|href)="([^"#:]+)"', data):
            check(s.ask("GET", "/" + name.decode())[0] == 200, "the page's %s" % name.decode())


def test_queue(s):
    slow = dict(SLOW, client="slow", slot="run")
    got = []

    def send(body):
        got.append(s.post("/api/run", body))

    threads = [threading.Thread(target=send, args=(dict(slow),))]
    threads[0].start()
    running = False
    for _ in range(200):
        progress = s.get("/api/progress.json?client=slow")[1]
        running = running or progress["running"]
        if progress["running"] and progress["done"] > 0:
            break
        time.sleep(0.01)
    collect(progress, "progress.json")
    check(running, "progress: the request runs")
    begin = time.time()
    status, answer = s.post("/api/run", {"text": TEXT, "client": "slow", "slot": "run", "order": "11-0"})
    threads[0].join()
    check(status == 200 and got[0][0] == 409 and "superseded" in got[0][1]["error"], "a newer request takes the older one's place: %s" % str(got[0])[:80])
    check(time.time() - begin < 5, "the older one is stopped")
    got.clear()
    bodies = [dict(slow, order=SLOW["order"] + ",%d" % i, slot="s%d" % i) for i in range(4)]
    threads = [threading.Thread(target=send, args=(b,)) for b in bodies]
    for t in threads:
        t.start()
    time.sleep(0.3)
    other = s.get("/api/progress.json?client=slow")[1]
    status, cancelled = s.post("/api/cancel", {"client": "slow"})
    for t in threads:
        t.join()
    check(cancelled["cancelled"] >= 3 and sum(g[0] == 409 for g in got) == cancelled["cancelled"], "cancel: %s %s" % (cancelled, [g[0] for g in got]))
    check(other["waiting"] >= 2, "progress: %s wait" % other)
    got.clear()
    check(s.post("/api/run", {"text": TEXT, "slot": ""})[0] == 400, "an empty slot")
    # a newer request keeps the turn of the one it replaces
    threads = [threading.Thread(target=send, args=(dict(slow, slot="front"),))]
    threads[0].start()
    until = time.time() + 10
    while time.time() < until and not s.get("/api/progress.json?client=slow")[1]["running"]:
        time.sleep(0.01)
    for name, order in (("first", "0-10"), ("second", "0-9"), ("first", "0-8")):
        threads.append(threading.Thread(target=send, args=({"text": "Whose turn is it now?", "order": order, "client": name, "slot": "drag"},)))
        threads[-1].start()
        time.sleep(0.1)
    ahead = [s.get("/api/progress.json?client=" + name)[1]["ahead"] for name in ("first", "second")]
    s.post("/api/cancel", {"client": "slow"})
    for t in threads:
        t.join()
    check(ahead == [1, 2], "who drags on keeps the turn: %s ahead" % ahead)
    got.clear()
    # sixteen of one client wait, the rest is told to be patient
    got.clear()
    threads = [threading.Thread(target=send, args=({"text": SLOW["text"], "order": SLOW["order"] + ",%d,%d" % (i % 12, i // 12), "client": "many"},))
               for i in range(30)]
    for t in threads:
        t.start()
    time.sleep(0.5)
    status, quick = s.post("/api/tokenize", {"text": "short", "client": "other"})
    s.post("/api/cancel", {"client": "many"})
    for t in threads:
        t.join()
    check(status == 200, "another client gets its turn")
    refused = sum(g[0] == 429 for g in got)
    check(refused >= 10 and all(g[0] in (200, 409, 429) for g in got), "too many of one client: %s" % [g[0] for g in got])


def begin_slow_clients(s):
    """Connections that say nothing, and some that trickle: open while the tests run, ended by the server. Returns what checks that."""
    silent = [socket.create_connection((s.host, s.port)) for _ in range(60)]
    trickle = [socket.create_connection((s.host, s.port)) for _ in range(3)]
    for t in trickle:
        t.sendall(b"GET /api/model.json HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-Slow: " % s.port)
    closed = [0]

    def drip():
        for _ in range(140):
            for t in list(trickle):
                try:
                    t.sendall(b"a")
                    t.setblocking(False)
                    try:
                        if t.recv(1) == b"":
                            raise OSError
                    except BlockingIOError:
                        pass
                    t.setblocking(True)
                except OSError:
                    trickle.remove(t)
                    closed[0] += 1
            time.sleep(0.1)
            if not trickle:
                return

    dripping = threading.Thread(target=drip)
    dripping.start()

    def finish():
        dripping.join()
        check(closed[0] == 3, "clients that trickle are ended: %d of 3" % closed[0])
        ended = 0
        for c in silent:
            c.settimeout(1)
            try:
                ended += c.recv(1) == b""
            except OSError:
                pass
            c.close()
        check(ended == 60, "silent connections are ended: %d of 60" % ended)

    return finish


def test_hostile(s):
    """Garbage, half requests, floods; between them the server answers."""
    host = b"Host: 127.0.0.1:%d\r\n" % s.port
    rng = random.Random(6)
    shots = [
        b"", b"\r\n\r\n", b"\x00" * 5000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\n" + host + b"\r\n", b"\xff\xfe" * 3000,
        b"POST /api/run HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
        b"POST /api/run HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\nContent-Length: -5\r\n\r\n{}",
        b"POST /api/run HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n{}",
        b"POST /api/run HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{}",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET http://evil/ HTTP/1.1\r\n" + host + b"\r\n", b"OPTIONS * HTTP/1.1\r\n" + host + b"\r\n",
        (b"GET /api/model.json HTTP/1.1\r\n" + host + b"\r\n") * 50,
    ]
    pool = concurrent.futures.ThreadPoolExecutor(24)
    for shot, answer in zip(shots, pool.map(lambda shot: s.raw(shot, wait=3), shots)):
        check(b" 200 " not in answer[:15] or shot.count(b"GET") == 50, "%r gets %r" % (shot[:40], answer[:40]))
    body = json.dumps({"text": TEXT, "order": "0-4,6-11"}).encode()
    whole = b"POST /api/run HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    shots = []
    for _ in range(300):  # some bytes changed, and mostly cut short
        shot = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            shot[rng.randrange(len(shot))] = rng.randrange(256)
        shots.append(bytes(shot[: rng.randrange(1, len(shot) + 1)]) if rng.randrange(4) else bytes(shot))
    list(pool.map(lambda shot: s.raw(shot, wait=0.3), shots))
    for _ in range(40): # gone before the answer
        c = socket.create_connection((s.host, s.port))
        c.sendall(whole)
        c.close()
    # asks for much and does not read
    lazy = socket.create_connection((s.host, s.port))
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lazy.sendall((b"GET /api/results.json HTTP/1.1\r\n" + host + b"\r\n") * 200)
    begin = time.time()
    status, _ = s.post("/api/run", {"text": TEXT, "order": "0-6,8-11", "client": "honest"})
    check(status == 200 and time.time() - begin < 5, "the server answers among them: %d (%.2f s)" % (status, time.time() - begin))
    lazy.close()
    check(s.process.poll() is None and s.get("/api/model.json")[0] == 200, "the server lives")


def quantiles(values):
    values = sorted(values)
    return "median %.0f ms, 95 %% below %.0f ms, longest %.0f ms" % tuple(
        1000 * values[min(len(values) - 1, int(len(values) * q))] for q in (0.5, 0.95, 1))


def drag(s, name, turns, out):
    """One pupil: a connection kept, a text, and layers dragged one after another."""
    rng = random.Random(name)
    connection = http.client.HTTPConnection(s.host, s.port, timeout=60)
    for turn in range(turns):
        order = list(range(12))
        layer = order.pop(rng.randrange(12))
        order.insert(rng.randrange(12), layer)
        body = json.dumps({"text": TEXT, "order": ",".join(map(str, order)), "client": name, "slot": "run"})
        begin = time.time()
        connection.request("POST", "/api/run", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = json.loads(answer.read())
        out.append((answer.status, time.time() - begin, data.get("cached")))
    connection.close()


def test_latency(s):
    alone = []
    drag(s, "alone", 30, alone)
    check(all(status == 200 for status, _, _ in alone), "drags alone are answered")
    print("a drag alone: " + quantiles([t for _, t, _ in alone]))


def test_class():
    s = Server("--class", "40", "--read_only")
    status, model = s.get("/api/model.json")
    check(model["limits"]["class"] == 40 and model["limits"]["read_only"] and model["limits"]["tokens"] == 128, "class: limits")
    check(s.post("/api/rescan", {})[0] == 403, "class: read only")
    out = [[] for _ in range(40)]
    threads = [threading.Thread(target=drag, args=(s, "pupil%d" % i, 5, out[i])) for i in range(40)]
    begin = time.time()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    answers = [a for pupil in out for a in pupil]
    check(len(answers) == 200 and all(status == 200 for status, _, _ in answers), "class: forty drag at once and are answered: %s" % {a[0] for a in answers})
    print("forty drag at once, 5 times each: %s; %.1f answers a second" % (quantiles([t for _, t, _ in answers]), 200 / (time.time() - begin)))
    same, lock = [], threading.Barrier(40)

    def ask_same(i):
        lock.wait()
        same.append(s.post("/api/run", {"text": "All ask the same of the model here.", "order": "0-2,4-11", "client": "same%d" % i}))

    threads = [threading.Thread(target=ask_same, args=(i,)) for i in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(all(status == 200 for status, _ in same) and sum(not a["cached"] for _, a in same) == 1, "class: equal requests are computed once")
    status, err = s.end()
    check(status == 0 and err == "", "class: ends cleanly: %d %r" % (status, err[-300:]))


def test_token():
    s = Server("--host", "0.0.0.0", model=False)
    check(s.token and len(s.token) == 32, "another address asks for a token")
    check(s.ask("GET", "/api/model.json")[0] == 401, "without the token: 401")
    check(s.ask("GET", "/api/model.json?token=" + "0" * 32)[0] == 401, "with a wrong one: 401")
    check(s.ask("GET", "/api/model.json", headers={"Authorization": "Bearer " + s.token})[0] == 200, "Bearer")
    status, headers, _ = s.ask("GET", "/?token=" + s.token)
    cookie = headers.get("Set-Cookie", "")
    check(status == 404 or ("HttpOnly" in cookie and "SameSite=Strict" in cookie), "the token becomes a cookie: %s" % cookie)
    check(s.ask("GET", "/api/model.json", headers={"Cookie": "strata_token=" + s.token})[0] == 200, "the cookie")
    check(s.ask("GET", "/api/model.json", headers={"Cookie": "strata_token=" + s.token, "Host": "evil.example"})[0] == 403, "the host is checked all the same")
    status, model = json.loads(s.ask("GET", "/api/model.json", headers={"Authorization": "Bearer " + s.token})[2]), None
    check(status["model"] is None and status["live"] is False, "without a model")
    check(s.ask("POST", "/api/run", {"text": "a"}, {"Authorization": "Bearer " + s.token})[0] == 404, "without a model nothing is run")
    again = subprocess.run([STRATA, "serve", "--port", str(s.port), "--host", "0.0.0.0", "--output_dir", RESULTS], capture_output=True, text=True, timeout=30)
    check(again.returncode == 1 and "in use" in again.stderr and again.stderr.count("\n") == 1, "a port in use: %r" % again.stderr)
    s.end()


def test_export(s, sweep):
    site = os.path.join(FOLDER, "site")
    own = os.path.join(FOLDER, "own.jsonl")
    os.rename(os.path.join(RESULTS, "diff", "pairs.jsonl"), own)
    done = subprocess.run([STRATA, "serve", "--export", site, "--pairs", own, "--output_dir", RESULTS], capture_output=True, text=True, timeout=120)
    check(done.returncode == 0 and "files" in done.stdout, "export: %s" % done.stderr)
    for path in ("results.json", "results/%s/ppl.json" % sweep, "results/%s/tokens/1.json" % sweep, "results/%s/windows.json" % sweep, "results/diff/pairs.json",
                 "results/diff/maps.json", "results/diff/maps/sigma.f32"):
        with open(os.path.join(site, "api", path), "rb") as f:
            exported = f.read()
        if "pairs.json" in path:
            check(json.loads(exported)["n_pairs"] == 3, "export: pairs of --pairs")
        elif path != "results.json":  # tells of the pairs
            check(exported == s.ask("GET", "/api/" + path)[2], "export: " + path)
    check(s.ask("GET", "/api/results/diff/pairs.json")[0] == 404, "pairs that are gone")
    with open(os.path.join(site, "api/model.json")) as f:
        check(json.load(f)["live"] is False, "export: not live")
    if s.ask("GET", "/")[0] == 200:
        check(os.path.exists(os.path.join(site, "index.html")), "export: the page")


def main():
    values = make_diff()
    os.symlink("/", os.path.join(RESULTS, "link"))
    os.makedirs(os.path.join(RESULTS, "outside"))
    with open(os.path.join(FOLDER, "secret.json"), "w") as f:
        f.write('{"model": "secret"}')
    os.symlink(os.path.join(FOLDER, "secret.json"), os.path.join(RESULTS, "outside", "ppl.json"))
    s = Server()
    check_slow_clients = begin_slow_clients(s)
    run = test_lab(s)
    test_inside(s, run)
    test_pairs(s)
    sweep = test_results(s, values)
    test_errors(s)
    test_latency(s)
    test_queue(s)
    test_hostile(s)
    test_export(s, sweep)
    check_slow_clients()
    for key, where in sorted(seen_keys.items()):
        check('"%s"' % key in API or "`%s`" % key in API, "\"%s\" of %s is not in API.md" % (key, where))
    last = []
    thread = threading.Thread(target=lambda: last.append(s.post("/api/run", SLOW)))  # ending with work under way
    thread.start()
    time.sleep(0.1)
    begin = time.time()
    status, err = s.end()
    thread.join()
    check(status == 0 and err == "" and time.time() - begin < 10, "Ctrl-C ends it: %d %r" % (status, err[-2000:]))
    check(last and last[0][0] in (200, 409, 503), "who waits at the end is told: %s" % [status for status, _ in last])
    test_class()
    test_token()
    print("%d passed, %d failed" % (passed, failed))
    return failed != 0


try:
    status = main()
except Exception:
    for server in servers:  # a server that died says why
        if server.process.poll() is not None:
            print("".join(line for line in server.process.stderr)[:6000])
        server.process.kill()
    raise
sys.exit(status)
