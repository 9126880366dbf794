#!/usr/bin/env python3
"""completions_server.py LOG MODEL [FAULT=VALUE]... - a server that speaks the OpenAI protocol on a free port of the
loopback address, as vLLM and SGLang do, and fails on demand. Prints the port.

It answers /v1/models, /v1/completions and /update_weights_from_disk. MODEL is the folder that it serves; $CASES are
files of cases in a folder, which $QKSCOPE answers for it, so that its answers are those of the built-in engine. With
truth=hash half of all answers are right, by the digest of the prompt. $KNOWN is a folder for what the program said.
Each request adds a line to LOG: its status (0: cut), its number of prompts at once, and the digest of its prompt.

Faults (N: every Nth request): 429=N 500=N cut=N (half of an answer) drop=N (no answer) slow=SECONDS model=NAME (answers
as that one) die=N (after N answers) refuse=TEXT (400 for prompts that hold it) name=NAME (of the model) key=KEY
several=1 (models) port=NUMBER wait=SECONDS (of Retry-After) stuck=1 (weights are not taken) gather=N (the first
prompts wait until there are N at once, for a minute at most)
"""
import glob
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time

log_path, served = sys.argv[1:3]
fault = dict(word.split("=", 1) for word in sys.argv[3:])
name = fault.get("name", served)
lock = threading.Lock()
requests, answered, running = 0, 0, 0
gathered = threading.Event()
if "gather" not in fault:
    gathered.set()
truth = {}


def learn(folder):
    """The prompts that the program answers right for this checkpoint."""
    global truth, served
    found = {}
    for path in sorted(glob.glob(os.path.join(os.environ["CASES"], "*.jsonl"))):
        with open(path, encoding="utf-8") as file:
            cases = [json.loads(line) for line in file]
        answers = [None] * len(cases)
        if fault.get("truth") != "hash":
            digest = hashlib.sha256(path.encode())
            for part in (path, os.path.join(folder, "model.safetensors")):
                with open(part, "rb") as file:
                    digest.update(file.read())
            known = os.path.join(os.environ["KNOWN"], digest.hexdigest())
            if not os.path.exists(known):
                with open(known + ".new", "wb") as file:
                    subprocess.run([os.environ["QKSCOPE"], "eval", folder, "--cases", path, "--json", "--answers",
                                    "--no-cache"], check=True, stdout=file)
                os.rename(known + ".new", known)
            with open(known, encoding="utf-8") as file:
                answers = json.load(file)["results"][0]["answers"]
        for case, answer in zip(cases, answers):
            prompt = case["prompt"]
            right = answer if answer is not None else hashlib.sha256(prompt.encode()).digest()[0] & 1
            text = "Well. " if "answer_after" in case else ""
            found[prompt] = (text + case.get("answer_after", "") + case["answer"] + case.get("answer_until", "")
                             if right else text + "none")
    truth, served = found, folder


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *ignored):
        pass

    def note(self, status, prompt=""):
        with lock, open(log_path, "a", encoding="ascii") as file:
            print(status, running, hashlib.sha256(prompt.encode()).hexdigest()[:16], self.path, file=file)

    def answer(self, status, body, headers=(), part=1.0):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for key, value in headers:
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data[:int(len(data) * part)])
        self.close_connection = self.close_connection or part < 1

    def do_GET(self):
        listed = [{"id": name, "object": "model", "root": served}]
        if "several" in fault:
            listed.append({"id": "another", "object": "model"})
        self.note(200)
        self.answer(200, {"object": "list", "data": listed})

    def hits(self, kind, number):
        return kind in fault and number % int(fault[kind]) == 0

    def do_POST(self):
        global requests, answered, running
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "key" in fault and self.headers.get("Authorization") != "Bearer " + fault["key"]:
            self.note(401)
            return self.answer(401, {"error": "Unauthorized"})
        if self.path == "/update_weights_from_disk":
            self.note(200)
            if "stuck" in fault:
                return self.answer(400, {"success": False, "message": "Failed to load weights"})
            learn(body["model_path"])
            return self.answer(200, {"success": True, "message": "Succeeded to update model weights."})
        with lock:
            requests += 1
            running += 1
            number = requests
            if running >= int(fault.get("gather", 1)):
                gathered.set()
        if not gathered.wait(60):
            gathered.set()
        try:
            return self.complete(body, number)
        finally:
            with lock:
                running -= 1

    def complete(self, body, number):
        global answered
        prompt = body["prompt"]
        time.sleep(float(fault.get("slow", 0)))
        if body["model"] != name:
            self.note(404, prompt)
            return self.answer(404, {"object": "error", "message": f"The model `{body['model']}` does not exist."})
        if "refuse" in fault and fault["refuse"] in prompt:
            self.note(400, prompt)
            return self.answer(400, {"error": {"message": "This model's maximum context length is 512 tokens."}})
        if self.hits("429", number):
            self.note(429, prompt)
            return self.answer(429, {"error": {"message": "slow down"}}, [("Retry-After", fault.get("wait", "0"))])
        if self.hits("500", number):
            self.note(500, prompt)
            return self.answer(500, {"error": {"message": "out of memory"}})
        if self.hits("drop", number):
            self.note(0, prompt)
            self.close_connection = True
            return None
        assert body["temperature"] == 0 and body["max_tokens"] >= 1 and body["stream"] is False
        reply = {"id": "cmpl-1", "object": "text_completion", "model": fault.get("model", name),
                 "choices": [{"index": 0, "text": truth[prompt], "finish_reason": "stop"}]}
        if self.hits("cut", number):
            self.note(0, prompt)
            return self.answer(200, reply, part=0.5)
        with lock:
            answered += 1
            last = answered
        self.answer(200, reply)
        self.wfile.flush()
        self.note(200, prompt)
        if last == int(fault.get("die", -1)):
            os._exit(9)
        return None


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


learn(served)
server = Server(("127.0.0.1", int(fault.get("port", 0))), Handler)
print(server.server_port, flush=True)
server.serve_forever()
