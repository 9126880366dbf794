#!/usr/bin/env python3
"""drift_numpy.py - the same numbers as `qkscope diff` by numpy and scipy in float32, and how long both take.

    drift_numpy.py PRE POST LAYERS [QKSCOPE]

LAYERS is as for `qkscope diff --layers` (full; 1,2). The code is as in a notebook, and shares nothing with the
program: tensors are mapped and widened to float32, angles come from scipy.linalg.subspace_angles or
from QR and the same singular values, routing from Gram matrices; BLAS has all processors. Seconds are medians of
three interleaved runs after a warm one; importing numpy is not counted, starting qkscope is. It measures the
faster way to the angles on the first layer. Prints rows of a Markdown table; exit 1 when a limit is missed.
"""
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
from scipy.linalg import qr, subspace_angles, svdvals

RUNS = 3
LEAST_RATIO, MOST_DIFFERENCE, MOST_DEGREES = 4.0, 1e-4, 1e-3


class Checkpoint:
    def __init__(self, folder):
        self.tensor = {}
        with open(os.path.join(folder, "config.json")) as file:
            config = json.load(file)
        self.head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        for name in sorted(os.listdir(folder)):
            if not name.endswith(".safetensors"):
                continue
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                size = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(size))
            data = np.memmap(path, np.uint8, "r", offset=8 + size)
            for tensor, entry in header.items():
                if tensor != "__metadata__":
                    self.tensor[tensor] = entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])]

    def heads(self, layer, role):
        """(heads, head_dim, d) float32 of a layer's q or k."""
        (name,) = [t for t in self.tensor if f"layers.{layer}." in t and t.endswith(f".{role}_proj.weight")]
        dtype, shape, data = self.tensor[name]
        if dtype == "BF16":
            values = (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = data.view({"F16": "<f2", "F32": "<f4"}[dtype]).astype(np.float32)
        return values.reshape(shape[0] // self.head_dim, self.head_dim, shape[1])


def angles_of_scipy(a, b):
    return np.degrees(subspace_angles(a.T, b.T))


def angles_of_qr(a, b):
    """As subspace_angles, with bases from QR instead of an SVD. Singular values of small matrices are float32."""
    qa, qb = qr(a.T, mode="economic")[0], qr(b.T, mode="economic")[0]
    product = qa.T @ qb
    cosines = np.clip(svdvals(product), -1, 1)  # descending, so the angles ascend
    sines = np.clip(svdvals(qb - qa @ product), -1, 1)[::-1]
    return np.degrees(np.where(cosines ** 2 >= 0.5, np.arcsin(sines), np.arccos(cosines)))


def inner(x, y):
    """np.sum adds pairwise; np.linalg.norm and np.vdot add up in float32 in a row, which costs 3 of 7 digits here."""
    return np.sum(x * y)


def norms(a, b):
    e, na, nb = b - a, np.sqrt(inner(a, a)), np.sqrt(inner(b, b))
    return {"rel_fro": np.sqrt(inner(e, e)) / na, "cosine": inner(a, b) / (na * nb), "norm_ratio": nb / na}


def drift_of_role(a, b, angles):
    heads = []
    for head_a, head_b in zip(a, b):
        found = angles(head_a, head_b)
        heads.append({**norms(head_a, head_b), "angle_mean_deg": found.mean(), "angle_max_deg": found.max()})
    return {**norms(a.ravel(), b.ravel()), "angle_mean_deg": np.mean([h["angle_mean_deg"] for h in heads]),
            "angle_max_deg": np.max([h["angle_max_deg"] for h in heads]), "heads": heads}


def drift_of_routing(qa, qb, ka, kb):
    """|Qb^T Kb - Qa^T Ka| / |Qa^T Ka| of each query head: the difference is [Qa; Qb - Qa]^T [Kb - Ka; Kb]."""
    group, base, moved = len(qa) // len(ka), [], []
    for h, (a, b) in enumerate(zip(qa, qb)):
        k_a, k_b = ka[h // group], kb[h // group]
        q, k = np.concatenate([a, b - a]), np.concatenate([k_b - k_a, k_b])
        base.append(np.sum((a @ a.T) * (k_a @ k_a.T)))
        moved.append(np.sum((q @ q.T) * (k @ k.T)))
    return {"rel_fro": np.sqrt(sum(moved) / sum(base)),
            "heads": [{"rel_fro": np.sqrt(m / n)} for m, n in zip(moved, base)]}


def drift(pre, post, layers, angles):
    result = []
    for layer in layers:
        qa, qb, ka, kb = (side.heads(layer, role) for role in "qk" for side in (pre, post))
        result.append({"index": layer, "q": drift_of_role(qa, qb, angles), "k": drift_of_role(ka, kb, angles),
                       "routing": drift_of_routing(qa, qb, ka, kb)})
    return result


class Worst:
    """The largest relative difference, and of angles the largest that neither tolerance allows."""

    def __init__(self):
        self.relative, self.degrees, self.angle, self.bad, self.values = 0.0, 0.0, 0.0, [], 0

    def compare(self, ours, theirs, where=""):
        if isinstance(theirs, dict):
            for key, value in theirs.items():
                self.compare(ours[key], value, f"{where}.{key}")
        elif isinstance(theirs, list):
            for i, (x, y) in enumerate(zip(ours, theirs, strict=True)):
                self.compare(x, y, f"{where}[{i}]")
        elif not where.endswith(".index"):
            self.number(float(ours), float(theirs), where)

    def number(self, x, y, where):
        self.values += 1
        relative = abs(x - y) / abs(y) if y else abs(x)
        if "angle" not in where:
            self.relative = max(self.relative, relative)
            good = relative <= MOST_DIFFERENCE
        else:
            self.angle, self.degrees = max(self.angle, relative), max(self.degrees, abs(x - y))
            good = relative <= MOST_DIFFERENCE or abs(x - y) <= MOST_DEGREES
        if not good:
            self.bad.append((where, x, y))


def seconds_of(work):
    begin = time.monotonic()
    result = work()
    return time.monotonic() - begin, result


def main():
    if len(sys.argv) not in (4, 5):
        sys.exit("usage: drift_numpy.py PRE POST LAYERS [QKSCOPE]")
    folder, layers = sys.argv[1:3], sys.argv[3]
    program = sys.argv[4] if len(sys.argv) == 5 else os.environ.get("QKSCOPE", "./qkscope")
    command = [program, "diff", "--json", "--layers", layers, *folder]
    ours = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)["layers"]
    indexes = [layer["index"] for layer in ours]
    pre, post = map(Checkpoint, folder)
    ways = {"scipy's subspace_angles": angles_of_scipy, "QR and SVD": angles_of_qr}
    drift(pre, post, indexes[:1], angles_of_scipy)  # warm
    first = {way: seconds_of(lambda: drift(pre, post, indexes[:1], angles))[0] for way, angles in ways.items()}
    fastest = min(ways, key=first.get)
    own, took = [], []
    for _ in range(RUNS):
        own.append(seconds_of(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))[0])
        seconds, theirs = seconds_of(lambda: drift(pre, post, indexes, ways[fastest]))
        took.append(seconds)
    ratio = statistics.median(t / o for t, o in zip(took, own))
    worst = Worst()
    worst.compare(ours, theirs, "layers")
    slow, wrong = ratio < LEAST_RATIO, bool(worst.bad)
    miss = " **(missed)**"
    print("| figure | value | limit |")
    print("|---|---|---|")
    print(f"| layers, of pairs of heads | {len(indexes)}, {sum(len(l[r]['heads']) for l in ours for r in 'qk')} | |")
    for way in ways:
        print(f"| first layer alone: numpy {np.__version__}, {way} | {first[way]:.2f} s | |")
    print(f"| numpy, {fastest} | {statistics.median(took):.2f} s | |")
    print(f"| `qkscope diff --json` | {statistics.median(own):.2f} s | |")
    print(f"| numpy : qkscope | {ratio:.1f}{miss if slow else ''} | at least {LEAST_RATIO:.0f} |")
    print(f"| largest relative difference of {worst.values} numbers, without angles | {worst.relative:.1e}"
          f"{miss if worst.relative > MOST_DIFFERENCE else ''} | at most {MOST_DIFFERENCE:.0e} |")
    print(f"| of angles: relative; in degrees | {worst.angle:.1e}; {worst.degrees:.1e}"
          f"{miss if any('angle' in where for where, _, _ in worst.bad) else ''} | each at most {MOST_DIFFERENCE:.0e}"
          f" or {MOST_DEGREES:.0e}, the looser |")
    for where, x, y in worst.bad[:10]:
        print(f"drift_numpy.py: {where}: qkscope {x:.9g}, numpy {y:.9g}", file=sys.stderr)
    sys.exit(slow or wrong)


main()
