#!/usr/bin/env python3
"""http_server.py: a server on loopback that misbehaves on purpose, for the tests of the HTTP client (standard library only).

Prints its port, then answers until its standard input ends. The path says how:
  /echo              what came in, as JSON: method, headers, body
  /status/N          that status; /status/N/after/K: N for the first K requests of this path, then 200
  /retry/N/S         429 with Retry-After: S for the first N requests, then 200
  /bytes/N           N bytes, byte i is i % 251, with a strong ETag, ranges understood
  /broken/N/K        like /bytes/N, but every answer breaks off after K bytes
  /broken-plain/N/K  the same without ETag and without ranges; the third request is whole
  /changed/N/K       like /broken, and the content (and ETag) is another one from the second request on
  /wrong-range/N     a 206 whose Content-Range is not what was asked for
  /slow/S            S seconds of silence, then 200; /drip/N: N bytes, one every 50 ms
  /endless           a body without end; /headers: headers without end
  /redirect/CODE/TO  to the address behind it; /loop; /to-file
  /reset             the connection is closed without an answer; /garbage: not HTTP
  /leak              status 401 whose body repeats the Authorization
  /hits/PATH         how often that path was asked for; /authorization: the last Authorization that a chat had
  /chat/HOW/v1/chat/completions   a chat endpoint that writes pairs (see chat_reply)
"""
import collections
import http.server
import json
import socket
import socketserver
import sys
import threading
import time
import urllib.parse

hits = collections.Counter()
seen = {"authorization": ""}

NOUNS = ["man", "woman", "king", "player", "team", "family", "group", "army", "city", "ship"]
PLACES = ["house", "city", "town", "church", "river", "school", "park", "station", "field", "sea", "island", "world", "game", "war"]


def chat_pairs(category, request_number, n=20):
    """Pairs of simple words, others in each request of a category."""
    pairs = []
    for i in range(n):
        k = (request_number - 1) * n + i
        noun, x = NOUNS[k % 10], PLACES[(k // 10) % 14]
        y = PLACES[(k // 10 + 1 + k // 140) % 14]
        if category == "tense":
            a, b, onset = f"In the {x} the {noun} was there last year.", f"In the {x} the {noun} is there last year.", "year"
        else:
            a, b, onset = f"After the war the {noun} was in the {x}.", f"After the war the {noun} was in the {y}.", ""
        pairs.append({"category": category, "a": a, "b": b, "pattern": f"after that {k % 3}", "onset_word": onset})
    return pairs


def pattern(n, salt=0):
    return bytes((i + salt) % 251 for i in range(n))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def reply(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def ranged(self, whole, etag, break_after=None):
        first, status, headers = 0, 200, [("ETag", etag), ("Accept-Ranges", "bytes")]
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if asked and (condition is None or condition == etag):
            first = int(asked.split("=")[1].split("-")[0])
            if first >= len(whole):
                return self.reply(416, b"", [("Content-Range", f"bytes */{len(whole)}")])
            status = 206
            headers.append(("Content-Range", f"bytes {first}-{len(whole) - 1}/{len(whole)}"))
        if break_after is None:
            return self.reply(status, whole[first:], headers)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(whole) - first))
        self.end_headers()
        self.wfile.write(whole[first : first + break_after])
        self.wfile.flush()
        self.hang_up()

    def hang_up(self):
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def stream(self, chunks):
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for chunk in chunks:
            self.wfile.write(chunk)
            self.wfile.flush()

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        path = urllib.parse.urlsplit(self.path).path
        hits[path] += 1
        n = hits[path]
        part = path.split("/")[1:]
        kind = part[0]
        if kind == "echo":
            text = {"method": self.command, "headers": dict(self.headers.items()), "body": body.decode(), "path": self.path}
            self.reply(200, json.dumps(text).encode(), [("X-Last", "here"), ("Content-Type", "application/json")])
        elif kind == "status":
            status = int(part[1])
            if len(part) > 3 and n > int(part[3]):
                status = 200
            self.reply(status, b"it is\n" + str(status).encode())
        elif kind == "retry":
            if n <= int(part[1]):
                self.reply(429, b"too fast", [("Retry-After", part[2])])
            else:
                self.reply(200, b"well")
        elif kind == "bytes":
            self.ranged(pattern(int(part[1])), '"one"')
        elif kind == "broken":
            self.ranged(pattern(int(part[1])), '"one"', int(part[2]))
        elif kind == "broken-plain":
            whole = pattern(int(part[1]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            self.wfile.write(whole if n >= 3 else whole[: int(part[2])])
            if n < 3:
                self.hang_up()
        elif kind == "changed":
            second = n > 1
            self.ranged(pattern(int(part[1]), 7 if second else 0), '"two"' if second else '"one"', None if second else int(part[2]))
        elif kind == "wrong-range":
            self.reply(206, b"xxxx", [("Content-Range", "bytes 7-10/11")])
        elif kind == "slow":
            time.sleep(float(part[1]))
            self.reply(200, b"late")
        elif kind == "drip":
            self.stream(iter_drip(int(part[1])))
        elif kind == "endless":
            self.stream(iter_endless())
        elif kind == "headers":
            self.send_response(200)
            for i in range(5000):
                self.send_header(f"X-{i}", "y" * 50)
            self.end_headers()
        elif kind == "redirect":
            to = self.path.split("/", 3)[3]
            self.reply(int(part[1]), b"elsewhere", [("Location", to), ("X-Repo-Commit", "c0ffee"), ("X-Linked-Etag", '"linked"')])
        elif kind == "loop":
            self.reply(302, b"", [("Location", "/loop")])
        elif kind == "to-file":
            self.reply(302, b"", [("Location", "file:///etc/passwd")])
        elif kind == "reset":
            self.hang_up()
        elif kind == "garbage":
            self.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")
            self.hang_up()
        elif kind == "leak":
            self.reply(401, ("bad key " + self.headers.get("Authorization", "")).encode())
        elif kind == "chat":
            seen["authorization"] = self.headers.get("Authorization", "")
            self.chat(part[1], n, json.loads(body))
        elif kind == "authorization":
            self.reply(200, seen["authorization"].encode())
        elif kind == "hits":
            self.reply(200, str(hits["/" + "/".join(part[1:])]).encode())
        else:
            self.reply(404, b"no such path")

    def chat(self, how, n, request):
        """good; fenced: prose around the JSON; cut: the reply ends in a pair; prose: no JSON; wrong: every other pair is of another category;
        busy: 429 first; flaky: 500 first; no-schema: 400 for json_schema; plain: 400 for any response_format; late: silence; html: a page
        with status 200; dies-K: 401 for request K + 1; refusal: the model refuses; empty: no choices; strange: items of every kind."""
        form = request.get("response_format", {}).get("type")
        category = request["messages"][1]["content"].split('category "')[1].split('"')[0]
        if how == "busy" and n == 1:
            return self.reply(429, b'{"error": {"message": "slow down"}}', [("Retry-After", "1")])
        if how == "flaky" and n == 1:
            return self.reply(500, b"oops")
        if (how == "no-schema" and form == "json_schema") or (how == "plain" and form):
            return self.reply(400, b'{"error": {"message": "response_format is not supported"}}')
        if how == "late":
            time.sleep(60)
        if how == "html":
            return self.reply(200, b"<html><body>Sign in</body></html>")
        if how.startswith("dies-") and n == int(how.split("-")[1]) + 1:
            return self.reply(401, ("key " + self.headers.get("Authorization", "") + " is worn out").encode())
        if how.startswith("dies-") and n > int(how.split("-")[1]):
            n -= 1
        number = seen[how, category] = seen.get((how, category), 0) + 1
        pairs = chat_pairs(category, number)
        if how == "wrong":
            for pair in pairs[::2]:
                pair["category"] = "place" if category != "place" else "tense"
        if how == "strange":
            pairs[:8] = [1, None, {}, {"a": 1, "b": 2}, {"a": "x", "b": None}, {"a": "", "b": ""}, [[]], {"a": pairs[9]["a"], "b": pairs[9]["a"]}]
        content = json.dumps({"pairs": pairs})
        if how == "fenced":
            content = "Sure, {here} they are:\n```json\n" + json.dumps(pairs, indent=1) + "\n```\nDone."
        if how == "cut":
            content = content[: content.rfind('"b"') + 12]
        if how == "prose":
            content = "I would rather talk about the weather."
        message = {"role": "assistant", "content": content}
        if how == "refusal":
            message = {"role": "assistant", "content": None, "refusal": "I will not."}
        answer = {"id": "x", "model": request["model"], "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        if how == "empty":
            answer["choices"] = []
        self.reply(200, json.dumps(answer).encode(), [("Content-Type", "application/json")])

    def do_GET(self):
        try:
            self.answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_POST = do_HEAD = do_GET


def iter_drip(n):
    for _ in range(n):
        yield b"."
        time.sleep(0.05)


def iter_endless():
    while True:
        yield b"x" * 65536


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
