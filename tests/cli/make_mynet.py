#!/usr/bin/env python3
"""make_mynet.py - the checkpoint that the example of qkscope-layout(5) describes, made from a llama checkpoint.

    make_mynet.py LLAMA OUT [WINDOW]    with WINDOW, layer 1 is a window layer of that many tokens

Queries, keys and values of a layer go into one tensor, and the other tensors get the names of the example.
"""
import json
import os
import struct
import sys

NAMES = {"self_attn.o_proj": "attn.wo", "input_layernorm": "norm1", "post_attention_layernorm": "norm2",
         "mlp.gate_proj": "ff.gate", "mlp.up_proj": "ff.up", "mlp.down_proj": "ff.down"}


def read(path):
    """{name: (dtype, shape, bytes)} of a safetensors file"""
    with open(path, "rb") as file:
        (n,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(n)), file.read()
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()}


def write(path, tensors):
    header, at = {}, 0
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(raw for _, _, raw in tensors.values()))


def main():
    source, target = sys.argv[1:3]
    tensors, out = read(os.path.join(source, "model.safetensors")), {}
    for name, (dtype, shape, raw) in tensors.items():
        layer, _, rest = name.rpartition("self_attn.")
        if rest == "q_proj.weight":
            parts = [tensors[f"{layer}self_attn.{role}_proj.weight"] for role in "qkv"]
            rows = sum(part[1][0] for part in parts)
            out[layer + "attn.wqkv.weight"] = (dtype, [rows, shape[1]], b"".join(part[2] for part in parts))
        elif rest not in ("k_proj.weight", "v_proj.weight"):
            for old, new in NAMES.items():
                name = name.replace(old, new)
            name = name.replace("embed_tokens", "tokens").replace("lm_head", "output")
            out[name] = (dtype, shape, raw)
    with open(os.path.join(source, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    config["model_type"] = "mynet"
    if len(sys.argv) > 3:
        config["layer_types"] = ["global", "local"] + ["global"] * (config["num_hidden_layers"] - 2)
        config["attention_window"] = int(sys.argv[3])
    os.makedirs(target)
    write(os.path.join(target, "model.safetensors"), out)
    with open(os.path.join(target, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)


main()
