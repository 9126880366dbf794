#!/usr/bin/env python3
"""make_pair.py FOLDER BYTES [FILES] - FOLDER/pre and FOLDER/post, a llama-shaped pair of BYTES together in FILES
shards a side (2 without it). q, k and v of 4 layers are a fixed stream; the embedding repeats one block. Holes would
not be copied, and an export would end before a test can kill it."""
import json
import os
import random
import struct
import sys


def write_shard(path, tensors, stream):
    header, at = {}, 0
    for name, shape in tensors:
        size = 2 * shape[0] * shape[1]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors:
            size = 2 * shape[0] * shape[1]
            if "embed" in name:
                block = stream.randbytes(1 << 20)
                while size > 0:
                    size -= file.write(block[:size])
                continue
            # exponents near 1: small finite numbers
            low, high = stream.randbytes(size // 2), stream.randbytes(size // 2)
            data = bytearray(size)
            data[0::2] = low
            data[1::2] = bytes(0x3C | (byte & 0x80) for byte in high)
            file.write(data)
        file.truncate(8 + len(text) + at)


def main():
    folder, total = sys.argv[1], int(sys.argv[2])
    n = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    hidden, layers = 256, 4
    blocks = 3 * layers * hidden * hidden * 2
    rows = (total // 2 - blocks) // (2 * hidden)
    for number, side in enumerate(("pre", "post")):
        path, weight_map = os.path.join(folder, side), {}
        os.makedirs(path)
        stream = random.Random(number)
        shards = [[("model.embed_tokens.weight", [rows, hidden])]] + [[] for _ in range(1, n)]
        for layer in range(layers):
            for role in "qkv":
                shards[layer % n].append((f"model.layers.{layer}.self_attn.{role}_proj.weight", [hidden, hidden]))
        for i, tensors in enumerate(shards):
            name = f"model-{i + 1:05}-of-{n:05}.safetensors" if n > 1 else "model.safetensors"
            write_shard(os.path.join(path, name), tensors, stream)
            weight_map.update({tensor: name for tensor, _ in tensors})
        if n > 1:
            with open(os.path.join(path, "model.safetensors.index.json"), "w") as file:
                json.dump({"metadata": {}, "weight_map": weight_map}, file)
        with open(os.path.join(path, "config.json"), "w") as file:
            json.dump({"model_type": "llama", "num_hidden_layers": layers, "hidden_size": hidden,
                       "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": rows}, file)


main()
