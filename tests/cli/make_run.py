"""make_run.py PRE POST FOLDER STEP... - a run of fine-tuning between two checkpoints in bfloat16.

FOLDER/checkpoint-STEP gets PRE + STEP / 1000 (POST - PRE), rounded to nearest. Prints JSON by numpy: for each step, the
Frobenius distance of q and k of every layer from PRE, relative to PRE.
"""
import json
import os
import re
import shutil
import struct
import sys

import numpy as np


def read(folder):
    with open(f"{folder}/model.safetensors", "rb") as f:
        header = f.read(struct.unpack("<Q", f.read(8))[0])
        return header, np.frombuffer(f.read(), np.uint16)


def widened(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def rounded(values):
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def distances(header, pre, now):
    """{layer: {"q": distance, "k": distance}}."""
    out = {}
    for name, entry in json.loads(header).items():
        found = re.search(r"layers\.(\d+)\..*\b([qk])_proj\.weight$", name)
        if found:
            begin, end = (x // 2 for x in entry["data_offsets"])
            a, b = (widened(x[begin:end]).astype(np.float64) for x in (pre, now))
            out.setdefault(found[1], {})[found[2]] = np.linalg.norm(b - a) / np.linalg.norm(a)
    return out


def main():
    pre, post, folder = sys.argv[1:4]
    (header, a), (_, b) = read(pre), read(post)
    found = {}
    for step in map(int, sys.argv[4:]):
        to = f"{folder}/checkpoint-{step}"
        os.makedirs(to)
        for name in os.listdir(post):
            if name != "model.safetensors":
                shutil.copy(f"{post}/{name}", to)
        now = rounded(widened(a) + np.float32(step / 1000) * (widened(b) - widened(a)))
        with open(f"{to}/model.safetensors", "wb") as f:
            f.write(struct.pack("<Q", len(header)) + header + now.tobytes())
        found[step] = distances(header, a, now)
    print(json.dumps(found))


main()
