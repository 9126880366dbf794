#!/usr/bin/env python3
"""make_holes.py FOLDER [LAYERS [WIDTH]] - FOLDER/pre and FOLDER/post, a llama-shaped pair of zeros. The
program takes seconds to compare it; the zeros are holes in sparse files and take no room. With hundreds of LAYERS (8)
no machine finishes; half the WIDTH (8192) takes an eighth of the time."""
import json
import os
import struct
import sys


def main():
    layers, width = (int(word) for word in sys.argv[2:] + ["8", "8192"][len(sys.argv) - 2:])
    header, at = {}, 0
    size = 2 * width * width
    for layer in range(layers):
        for role in "qk":
            name = f"model.layers.{layer}.self_attn.{role}_proj.weight"
            header[name] = {"dtype": "BF16", "shape": [width, width], "data_offsets": [at, at + size]}
            at += size
    text = json.dumps(header).encode()
    for side in ("pre", "post"):
        folder = os.path.join(sys.argv[1], side)
        os.makedirs(folder)
        with open(os.path.join(folder, "model.safetensors"), "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + at)
        with open(os.path.join(folder, "config.json"), "w") as file:
            json.dump({"model_type": "llama", "num_hidden_layers": layers, "hidden_size": width,
                       "num_attention_heads": 64, "num_key_value_heads": 64}, file)


main()
