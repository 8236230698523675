#!/usr/bin/env python3
"""hub_server.py FOLDER: a hub of models on loopback for the tests of `strata pull` (standard library only).

Prints two ports, the hub's and that of the store it redirects large files to, then answers until its standard input ends. Every
repository holds the files of FOLDER; its name says how it behaves:
  org/good      as a hub does: small files itself, large ones by a redirect to the store, ranges understood
  org/cut       every answer of the store breaks off after 2,500,000 bytes
  org/wrong     the weights in the store are not those of the hash that the hub names
  org/norange   the store knows no ranges
  org/busy      the list and the weights are answered by 503 once, then served
  org/shards    lists shards beside model.safetensors, a consolidated file and a folder
  org/ggufs     lists only GGUF files
  org/gated     403 unless the token is "right"; org/private: 404 unless it is; org/escape: lists names that lead elsewhere
  /rows         the dataset server: 257 rows of org/rows; org/short cuts a cell; org/holes sends another row than asked for
  /leaks        how many requests brought an Authorization to the store; /hits: how many requests came in all
"""
import collections
import hashlib
import http.server
import json
import os
import socketserver
import sys
import threading
import urllib.parse

folder = sys.argv[1]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 4096
CUT = 2500000
hits = collections.Counter()
leaks = [0]
ports = {}


def content(name):
    with open(os.path.join(folder, name), "rb") as f:
        return f.read()


def row(i):
    return " = Title %d = \n" % i if i % 7 == 0 else "" if i % 5 == 0 else "row %d \u00e9 \"quoted\"\tand \u65e5\u672c\n" % i


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def reply(self, status, body=b"", headers=(), cut=None):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name == "Content-Length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None and cut < len(body):
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hits["all"] += 1
        url = urllib.parse.urlsplit(self.path)
        parts = [urllib.parse.unquote(p) for p in url.path.split("/")[1:]]
        if url.path == "/leaks":
            return self.reply(200, str(leaks[0]).encode())
        if url.path == "/hits":
            return self.reply(200, str(hits["all"]).encode())
        if url.path == "/rows":
            return self.rows(dict(urllib.parse.parse_qsl(url.query)))
        if self.server.server_address[1] == ports["store"]:
            return self.store(parts)
        repository = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        token = self.headers.get("Authorization")
        if repository == "org/gated" and token != "Bearer right":
            return self.reply(403 if token else 401, b'{"error":"gated"}', [("X-Error-Code", "GatedRepo")])
        if not os.path.exists(os.path.join(folder, "config.json")) or repository.split("/")[0] != "org" or (
                repository == "org/private" and token != "Bearer right"):
            return self.reply(401, b"{}", [("X-Error-Code", "RepoNotFound")])
        if repository == "org/busy" and not self.path.endswith("json"):
            hits[self.command + self.path] += 1
            if hits[self.command + self.path] <= 1:
                return self.reply(503, b"busy", [("Retry-After", "0")])
        if parts[0] == "api":
            return self.listing(repository, parts[5])
        return self.resolve(repository, parts[3], parts[4])

    def listing(self, repository, revision):
        if revision not in ("main", "refs/pr/1", COMMIT):
            return self.reply(404, b"{}", [("X-Error-Code", "RevisionNotFound")])
        names = sorted(os.listdir(folder)) + ["README.md", "onnx/model.onnx", ".gitattributes"]
        if repository == "org/shards":
            names += ["model-00001-of-00002.safetensors", "consolidated.safetensors", "original/model.safetensors", "pytorch_model.bin"]
        if repository == "org/ggufs":
            names = ["a-Q8_0.gguf", "a-Q4_0.gguf", "README.md"]
        if repository == "org/escape":
            names = ["../../model.safetensors", "config.json"]
        self.reply(200, json.dumps({"sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}).encode())

    def resolve(self, repository, commit, name):
        if repository == "org/ggufs":
            name = "model.safetensors"
        if commit != COMMIT or not os.path.exists(os.path.join(folder, name)):
            return self.reply(404, b"", [("X-Error-Code", "EntryNotFound")])
        body = content(name)
        headers = [("X-Repo-Commit", COMMIT)]
        if len(body) < LARGE:
            git = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            return self.reply(200, body, headers + [("ETag", '"%s"' % git)])
        headers += [("X-Linked-Etag", '"%s"' % hashlib.sha256(body).hexdigest()), ("X-Linked-Size", str(len(body))),
                    ("Location", "http://127.0.0.1:%d/%s/%s?signature=secret" % (ports["store"], repository, name))]
        self.reply(302, b"", headers)

    def store(self, parts):
        leaks[0] += "Authorization" in self.headers
        repository, name = "/".join(parts[:2]), parts[2]
        body = content(name)
        if repository == "org/wrong" and name == "model.safetensors":
            body = body[:-1] + bytes([body[-1] ^ 1])
        etag, first, last = '"%s"' % hashlib.md5(body).hexdigest(), 0, len(body) - 1
        cut = CUT if repository == "org/cut" else None
        asked = self.headers.get("Range")
        if not asked or repository == "org/norange":
            return self.reply(200, body, [("ETag", etag)], cut)
        low, high = asked.split("=")[1].split("-")
        first, last = int(low), int(high) if high else last
        self.reply(206, body[first:last + 1], [("ETag", etag), ("Content-Range", "bytes %d-%d/%d" % (first, last, len(body)))], cut)

    def rows(self, query):
        if query.get("split") not in ("test", "train") or query.get("config") not in ("c", "wikitext-2-raw-v1"):
            return self.reply(404, b'{"error":"no such split"}')
        hits[self.path] += 1
        if hits[self.path] == 1 and query["offset"] == "100":
            return self.reply(429, b"", [("Retry-After", "0")])
        offset, length, total = int(query["offset"]), int(query["length"]), 257
        out = []
        for i in range(offset, min(offset + length, total)):
            out.append({"row_idx": i + (query["dataset"] == "org/holes" and i >= 100), "row": {"text": row(i)},
                        "truncated_cells": ["text"] if query["dataset"] == "org/short" and i == 150 else []})
        self.reply(200, json.dumps({"features": [], "rows": out, "num_rows_total": total, "partial": False}).encode())


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments):
        pass


hub, store = Server(("127.0.0.1", 0), Handler), Server(("127.0.0.1", 0), Handler)
ports.update(hub=hub.server_address[1], store=store.server_address[1])
for server in (hub, store):
    threading.Thread(target=server.serve_forever, daemon=True).start()
print(ports["hub"], ports["store"], flush=True)
sys.stdin.read()
