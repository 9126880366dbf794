#!/usr/bin/env python3
"""check_export.py PRE POST OUT LAYERS ROLES - the comparison of every byte of an exported folder of one
file.

In the weights, the q_proj and k_proj tensors (ROLES) of the listed layers (1,4,7) must differ from post and equal pre,
and no others may differ. The header is post's byte for byte; every other file except the recipe is post's.
"""
import json
import os
import struct
import sys

WEIGHTS, RECIPE = "model.safetensors", "qkscope-recipe.json"


def contents(folder, name):
    with open(os.path.join(folder, name), "rb") as file:
        return file.read()


def files(folder):
    return sorted(os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names)


def main():
    pre, post, out, layers, roles = sys.argv[1:]
    wanted = {f"model.layers.{layer}.self_attn.{role}_proj.weight" for layer in layers.split(",") for role in roles}
    assert files(out) == sorted(files(post) + [RECIPE]), files(out)
    for name in files(post):
        if name != WEIGHTS:
            assert contents(out, name) == contents(post, name), name
    a, b, c = (contents(folder, WEIGHTS) for folder in (pre, post, out))
    (n,) = struct.unpack("<Q", b[:8])
    assert len(c) == len(b) and c[:8 + n] == b[:8 + n], "header"
    for name, tensor in json.loads(b[8:8 + n]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + n + x for x in tensor["data_offsets"])
        if name in wanted:
            assert c[begin:end] == a[begin:end] != b[begin:end], name
        else:
            assert c[begin:end] == b[begin:end], name
        wanted.discard(name)
    assert not wanted, wanted
    recipe = json.loads(contents(out, RECIPE))
    assert recipe["format"] == "qkscope-recipe" and recipe["version"] == 1, recipe


main()
