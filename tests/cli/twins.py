#!/usr/bin/env python3
"""twins.py KIND FOLDER OUT - the same checkpoint (one file, BF16) stored in another way, its numbers unchanged.

    prefix   layers below model.language_model, text_config nested, a vision tower beside it
    shards   three shards with an index, whose tensors do not follow the layers
    order    tensors in reverse order, padding in the header
    f32      every value as float32
    extra    tensors that belong to no layer
    mtp      a layer more than the config has
    untied   the head beside the embedding (tied: without it)
"""
import json
import os
import shutil
import struct
import sys


def read(folder):
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        (n,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(n)), file.read()
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()
            if name != "__metadata__"}


def write(path, tensors, padding=0):
    header, data = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode() + b" " * padding
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def wide(tensor):
    dtype, shape, raw = tensor
    assert dtype == "BF16"
    return "F32", shape, b"".join(b"\0\0" + raw[i:i + 2] for i in range(0, len(raw), 2))


def main():
    kind, folder, out = sys.argv[1:]
    shutil.copytree(folder, out, copy_function=shutil.copyfile)
    os.remove(os.path.join(out, "model.safetensors"))
    with open(os.path.join(out, "config.json")) as file:
        config = json.load(file)
    tensors, padding = read(folder), 0
    if kind == "prefix":
        tensors = {name.replace("model.", "model.language_model.", 1): t for name, t in tensors.items()}
        tensors["model.visual.blocks.0.attn.q_proj.weight"] = ("BF16", [2, 2], b"\0" * 8)
        config = {"model_type": "some_vision_model", "text_config": config}
    elif kind == "order":
        tensors, padding = dict(reversed(tensors.items())), 40
    elif kind == "f32":
        tensors = {name: wide(tensor) for name, tensor in tensors.items()}
    elif kind == "extra":
        tensors = {"a.first": ("I64", [1], b"\0" * 8)} | tensors | {"v_head.weight": ("BF16", [1, 2], b"\0" * 4)}
    elif kind == "mtp":
        last = config["num_hidden_layers"]
        tensors |= {name.replace(".0.", f".{last}.", 1): t for name, t in tensors.items() if ".layers.0." in name}
    elif kind == "tied":
        tensors.pop("lm_head.weight", None)
        config["tie_word_embeddings"] = True
    elif kind == "untied":
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
        config["tie_word_embeddings"] = False
    if kind == "shards":
        weight_map = {}
        for i in range(3):
            name = f"model-{i + 1:05}-of-00003.safetensors"
            part = dict(list(tensors.items())[i::3])
            write(os.path.join(out, name), part)
            weight_map |= {tensor: name for tensor in part}
        with open(os.path.join(out, "model.safetensors.index.json"), "w") as file:
            json.dump({"metadata": {}, "weight_map": weight_map}, file)
    else:
        write(os.path.join(out, "model.safetensors"), tensors, padding)
    with open(os.path.join(out, "config.json"), "w") as file:
        json.dump(config, file)


main()
