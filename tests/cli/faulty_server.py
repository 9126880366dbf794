#!/usr/bin/env python3
"""faulty_server.py ROOT LOG - a server of the files under ROOT, on a free port of the loopback address, that fails on
demand.

Prints the port. The first part of a path names the fault: /FAULT/ORG/NAME/resolve/REVISION/FILE is ROOT/NAME/FILE.
FAULT is a list of NAME or NAME=VALUE joined by "+". Every request adds a line "METHOD STATUS BYTES AUTHORIZATION PATH"
to LOG.
"""
import hashlib
import http.server
import itertools
import os
import sys
import threading
import time

root, log_path = sys.argv[1:]
lock = threading.Lock()
failures = {}
commits = itertools.count(1)


def fails_yet(path, times):
    """True for the first requests of the path."""
    with lock:
        failures[path] = failures.get(path, 0) + 1
        return failures[path] <= times


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *ignored):
        pass

    def note(self, status, sent):
        with lock, open(log_path, "a") as log:
            print(self.command, status, sent, self.headers.get("Authorization", "-").replace(" ", "_"), self.path, file=log)

    def answer(self, status, body=b"", headers=(), length=None):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        sent = 0
        if self.command == "GET":
            cut = self.fault.get("drop")
            sent = len(body) if cut is None else min(len(body), int(cut))
            if "drip" in self.fault:  # a byte at a time, so that the connection is never quiet for long
                for i in range(sent):
                    self.wfile.write(body[i:i + 1])
                    time.sleep(float(self.fault["drip"]))
            else:
                self.wfile.write(body[:sent])
            if sent < len(body):
                self.close_connection = True
        self.note(status, sent)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        fault, *parts = self.path[1:].split("/")
        self.fault = dict(f.partition("=")[::2] for f in fault.split("+"))
        is_get = self.command == "GET"
        if "status" in self.fault and (is_get or "head" in self.fault):
            times = int(self.fault.get("times", 1 << 30))
            if fails_yet(self.command + self.path, times):
                wait = [("Retry-After", self.fault["wait"])] if "wait" in self.fault else []
                return self.answer(int(self.fault["status"]), b"never mind", wait)
        if "redirect" in self.fault and parts[0] != "moved":
            port = int(self.fault["redirect"])
            scheme = self.fault.get("scheme", "http")
            self.fault = {}
            to = f"{scheme}://127.0.0.1:{port}/ok/moved/" + "/".join(parts)
            return self.answer(302, b"", [("Location", to)])
        if "loop" in self.fault:
            return self.answer(302, b"", [("Location", self.path)])
        name = os.path.join(root, parts[-4], parts[-1])
        if not os.path.isfile(name):
            return self.answer(404, b"Entry not found")
        with open(name, "rb") as file:
            data = file.read()
        etag = hashlib.sha256(data).hexdigest()[:16]
        if "etag" in self.fault and is_get and parts[-1].endswith(".safetensors"):
            etag = "another"
        headers = [("ETag", f'"{etag}"')] if "anonymous" not in self.fault else []
        if "commit" in self.fault:  # of a branch that moves at every request
            known = parts[-2] if len(parts[-2]) == 40 else f"{next(commits):040x}"
            headers.append(("X-Repo-Commit", self.fault["commit"] or known))
        if not is_get:
            return self.answer(200, b"", headers, length=len(data))
        if "stall" in self.fault and parts[-1].endswith(".safetensors"):
            with open(log_path + ".stalled", "w", encoding="ascii") as file:
                file.write("stalled")
            time.sleep(int(self.fault["stall"]))
        if "fail" in self.fault and parts[-1].endswith(".safetensors"):
            with lock:
                failures["fail"] = failures.get("fail", 0) + 1
                fail = failures["fail"] == int(self.fault["fail"])
            if fail:
                return self.answer(503)
        asked = self.headers.get("Range")
        if asked is None or ("whole" in self.fault):
            return self.answer(200, data, headers)
        first, last = (int(n) for n in asked[len("bytes="):].split("-"))
        if first >= len(data):
            return self.answer(416, b"", [("Content-Range", f"bytes */{len(data)}")])
        last = min(last, len(data) - 1)
        body = data[first:last + 1]
        sent = [first, last, len(data)]
        if "range" in self.fault:
            sent[int(self.fault["range"])] += 1
        headers.append(("Content-Range", "bytes %d-%d/%d" % tuple(sent)))
        if "noranges" in self.fault:
            headers.pop()
        length = len(body) + int(self.fault.get("length", 0))
        if "gzip" in self.fault:
            headers.append(("Content-Encoding", "gzip"))
        if int(self.fault.get("length", 0)) > 0:
            self.close_connection = True
        return self.answer(206, body, headers, length=length)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
