#!/usr/bin/env python3
"""spoil.py FAULT SOURCE TARGET - a copy of a checkpoint folder of one file, with one fault.

Faults of a header are written as a hostile author would; see FAULTS.
"""
import json
import os
import shutil
import struct
import sys


def read(path):
    with open(path, "rb") as file:
        (n,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(n)), file.read()


def write(path, header, data):
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def first_q(header):
    return next(name for name in header if name.endswith("layers.1.self_attn.q_proj.weight"))


def truncated(path):
    os.truncate(path, os.path.getsize(path) - 100)


def bad_json(path):
    with open(path, "r+b") as file:
        file.seek(8)
        file.write(b"{nonsense")


def huge_header(path):
    with open(path, "r+b") as file:
        file.write(struct.pack("<Q", 1 << 60))


def empty(path):
    os.truncate(path, 0)


def bad_shape(path):
    header, data = read(path)
    header[first_q(header)]["shape"] = [1 << 40, 1 << 40]
    write(path, header, data)


def hole(path):
    header, data = read(path)
    tensor = header[first_q(header)]
    begin, end = tensor["data_offsets"]
    tensor["data_offsets"] = [begin + 2, end + 2]
    write(path, header, data)


def overlap(path):
    """Two tensors share their last and first two bytes."""
    header, data = read(path)
    begin, end = header[first_q(header)]["data_offsets"]
    for tensor in header.values():
        if tensor.get("data_offsets", [0])[0] >= end:
            tensor["data_offsets"] = [x - 2 for x in tensor["data_offsets"]]
    write(path, header, data[:-2])


def backwards(path):
    header, data = read(path)
    header[first_q(header)]["data_offsets"].reverse()
    write(path, header, data)


def wrong_length(path):
    """A shape of one row less than the bytes that it has."""
    header, data = read(path)
    header[first_q(header)]["shape"][0] -= 1
    write(path, header, data)


def overflowing(path):
    """2^32 * 2^32 elements are 0 in 64 bits, as many as the bytes."""
    header, data = read(path)
    header["zero"] = {"dtype": "U8", "shape": [1 << 32, 1 << 32], "data_offsets": [len(data), len(data)]}
    write(path, header, data)


def extra_bytes(path):
    with open(path, "ab") as file:
        file.write(b"more")


def short_header(path):
    """The length of the header is that of a part of it."""
    with open(path, "r+b") as file:
        file.write(struct.pack("<Q", 40))


def replaced(path, old, new):
    """The header's text with one piece replaced."""
    with open(path, "rb") as file:
        (n,) = struct.unpack("<Q", file.read(8))
        text, data = file.read(n), file.read()
    assert old in text
    text = text.replace(old, new, 1)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def not_utf8(path):
    replaced(path, b"layers.1.self_attn.q_proj", b"layers.1.self_attn.q\xffproj")


def twice(path):
    replaced(path, b"layers.1.self_attn.k_proj", b"layers.1.self_attn.q_proj")


def wrong_rows(path):
    header, data = read(path)
    tensor = header[first_q(header)]
    tensor["shape"] = [tensor["shape"][0] // 2, tensor["shape"][1] * 2]
    write(path, header, data)


def control_name(path):
    """Renames the tensor of layer 1's q so that its name would clear a terminal and set its title."""
    header, data = read(path)
    name = first_q(header)
    header = {("\x1b[2J\x1b]0;owned\x07\x9b31m" if key == name else key): value for key, value in header.items()}
    write(path, header, data)


def control_shape(path):
    """A name such as that, with a shape that does not fit, so that the message has to show it."""
    control_name(path)
    header, data = read(path)
    next(value for key, value in header.items() if key.startswith("\x1b"))["shape"] = [3, 3]
    write(path, header, data)


def not_finite(path):
    header, data = read(path)
    begin = header["model.layers.3.self_attn.k_proj.weight"]["data_offsets"][0]
    data = bytearray(data)
    data[begin:begin + 2] = b"\xc0\x7f"
    write(path, header, bytes(data))


def whole_gains(path):
    """The gains of layer 1's q norm become integers."""
    header, data = read(path)
    header["model.layers.1.self_attn.q_norm.weight"]["dtype"] = "I16"
    write(path, header, data)


def other_header(path):
    """The same tensors, another fingerprint."""
    header, data = read(path)
    header["__metadata__"] = {**header.get("__metadata__", {}), "note": "another checkpoint"}
    write(path, header, data)


def shards(path, index):
    """Splits the file in two and writes an index; `index` may spoil it."""
    header, data = read(path)
    folder = os.path.dirname(path)
    header.pop("__metadata__", None)
    names = sorted(header, key=lambda name: header[name]["data_offsets"])
    parts, weight_map = (names[:len(names) // 2], names[len(names) // 2:]), {}
    for i, part in enumerate(parts):
        base = header[part[0]]["data_offsets"][0]
        end = header[part[-1]]["data_offsets"][1]
        moved = {n: {**header[n], "data_offsets": [x - base for x in header[n]["data_offsets"]]} for n in part}
        shard = f"model-{i + 1:05}-of-00002.safetensors"
        write(os.path.join(folder, shard), moved, data[base:end])
        weight_map.update({name: shard for name in part})
    os.remove(path)
    index(folder, weight_map)
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as file:
        json.dump({"metadata": {}, "weight_map": weight_map}, file)


def good_index(folder, weight_map):
    pass


def escaping_index(folder, weight_map):
    weight_map[next(iter(weight_map))] = "../outside.safetensors"


def missing_shard(folder, weight_map):
    os.remove(os.path.join(folder, "model-00002-of-00002.safetensors"))


def bad_config(path):
    with open(os.path.join(os.path.dirname(path), "config.json"), "w") as file:
        file.write('{"model_type": "hypenet",')


FAULTS = {
    "truncated": truncated,
    "bad-json": bad_json,
    "huge-header": huge_header,
    "empty-file": empty,
    "bad-shape": bad_shape,
    "hole": hole,
    "overlap": overlap,
    "backwards": backwards,
    "wrong-length": wrong_length,
    "overflowing": overflowing,
    "extra-bytes": extra_bytes,
    "short-header": short_header,
    "not-utf8": not_utf8,
    "twice": twice,
    "tiny-file": lambda path: os.truncate(path, 7),
    "no-object": lambda path: replaced(path, b"{", b"["),
    "wrong-rows": wrong_rows,
    "control-name": control_name,
    "control-shape": control_shape,
    "not-finite": not_finite,
    "whole-gains": whole_gains,
    "other-header": other_header,
    "bad-config": bad_config,
    "shards": lambda path: shards(path, good_index),
    "escaping-shard": lambda path: shards(path, escaping_index),
    "missing-shard": lambda path: shards(path, missing_shard),
}


def main():
    fault, source, target = sys.argv[1:]
    os.mkdir(target)
    for name in os.listdir(source):  # contents alone: the sources may be read-only
        shutil.copyfile(os.path.join(source, name), os.path.join(target, name))
    FAULTS[fault](os.path.join(target, "model.safetensors"))


main()
