#!/usr/bin/env python3
"""stand_in.py KIND MODEL OUT TASKS - stands in for an evaluation harness: asks the program itself, and writes what a
harness writes to OUT.

KIND is own, harness (lm-evaluation-harness), ruler or texts, perhaps with "+" and a fault. TASKS is a file of cases, or
names of files without .jsonl in $CASES. $QKSCOPE is the program, $KNOWN a folder for
what it said. Every run adds its process group to $RUNS.
"""
import csv
import hashlib
import json
import os
import subprocess
import sys

kind, model, out, tasks = sys.argv[1:]
kind, _, fault = kind.partition("+")
with open(os.environ["RUNS"], "a", encoding="utf-8") as file:
    print(os.getpgrp(), kind, model, file=file)
print("loading", model)
if fault == "fails":
    print("CUDA out of memory. Tried to allocate 20.00 GiB\rloaded 3 of 4", file=sys.stderr)
    sys.exit(7)
if fault == "hangs":
    subprocess.run(["sleep", "600"], check=False)
if fault == "nothing":
    sys.exit(0)


def ask(names, *options):
    """What the program says of these files. It is asked once for the same weights and the same cases."""
    digest = hashlib.sha256(repr(options).encode())
    for path in [os.path.join(model, "model.safetensors"), *names]:
        with open(path, "rb") as opened:
            digest.update(opened.read())
    known = os.path.join(os.environ["KNOWN"], digest.hexdigest())
    if not os.path.exists(known):
        line = [os.environ["QKSCOPE"], "eval", model, "--json", "--no-cache", *options]
        for path in names:
            line += ["--cases", path]
        with open(known + ".new", "wb") as opened:
            subprocess.run(line, check=True, stdout=opened)
        os.rename(known + ".new", known)
    with open(known, encoding="utf-8") as opened:
        return json.load(opened)["results"][0]


def write(name, text):
    path = os.path.join(out, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


if os.path.isfile(tasks):
    row = ask([tasks], "--answers")
    if kind == "texts":  # what the model might have written: the answer, or something else
        with open(tasks, encoding="utf-8") as file:
            cases = [json.loads(line) for line in file]
        row["answers"] = [
            (case.get("answer_after", "") + case["answer"] + case.get("answer_until", " and") if right else "none")
            for case, right in zip(cases, row["answers"])]
    if fault == "few":
        row["answers"].pop()
    if fault == "numbers":
        row["answers"][0] = 2
    if fault == "whole":
        del row["answers"]
    write("results.json", json.dumps({"results": [row]}))
    sys.exit(0)

files = [os.path.join(os.environ["CASES"], name + ".jsonl") for name in tasks.split(",")]
results = {task["task"]: (task["right"], task["total"]) for task in ask(files)["tasks"]}
if fault == "other":
    results["other"] = (1, 2)
if kind == "own":
    write("results.json", json.dumps({"results": [{"tasks": [
        {"task": task, "right": right, "total": total} for task, (right, total) in results.items()]}]}))
elif kind == "harness":
    shares = {task: {"alias": task, "exact_match,none": right / total, "exact_match_stderr,none": 0.01,
                     "f1,none": 0.5 if fault != "metric" else 33.3, "sample_len": total}
              for task, (right, total) in results.items()}
    shares["group"] = {"alias": "group", "exact_match,none": 0.25}  # of other tasks together: no samples of its own
    write(model.strip("/").replace("/", "__") + "/results_2026-01-01T00-00-00.000000.json", json.dumps({
        "results": shares, "groups": {"group": shares["group"]}, "configs": {}, "versions": {},
        "n-samples": {task: {"original": 10 * total, "effective": total} for task, (right, total) in results.items()},
        "config": {"model": "vllm", "limit": float("nan")}}))
    write("samples.jsonl", "not read\n")
elif kind == "ruler":
    columns = list(zip(*[("Tasks", "Score", "Nulls")] + [
        (task, round(100 * right / total, 2), f"0/{total}") for task, (right, total) in results.items()]))
    for name in ("512/pred/summary.csv", "1024/pred/summary.csv"):
        os.makedirs(os.path.dirname(os.path.join(out, name)))
        with open(os.path.join(out, name), "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([range(len(columns[0])), *columns])
