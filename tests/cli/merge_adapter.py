#!/usr/bin/env python3
"""merge_adapter.py BASE ADAPTER MERGED - a PEFT adapter merged into a checkpoint of one file.

The formula alone: W + s B A in float64, rounded once to W's dtype; whole tensors replace those of the base.
"""
import json
import os
import re
import shutil
import sys

import numpy as np

from stored import decode, encode, read_file, write_file


def number(config, patterns, key, module):
    for pattern, value in config.get(patterns, {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return config[key]


def merge(config, tensors, added):
    for name, (dtype, shape, raw) in added.items():
        name = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
        values = decode(dtype, raw).reshape(shape)
        if name.endswith(".lora_B.weight"):
            continue
        if name.endswith(".lora_A.weight"):
            module = name.removesuffix(".lora_A.weight")
            dtype, shape, raw = added[f"base_model.model.{module}.lora_B.weight"]
            r = number(config, "rank_pattern", "r", module)
            scale = number(config, "alpha_pattern", "lora_alpha", module) / (np.sqrt(r) if config["use_rslora"] else r)
            change = scale * (decode(dtype, raw).reshape(shape) @ values)
            name = module + ".weight"
            stored, shape, raw = tensors[name]
            values = decode(stored, raw).reshape(shape) + (change.T if config["fan_in_fan_out"] else change)
        stored, shape, _ = tensors[name]
        tensors[name] = (stored, shape, encode(stored, values))


def main():
    base, adapter, merged = sys.argv[1:]
    with open(os.path.join(adapter, "adapter_config.json"), encoding="utf-8") as file:
        config = json.load(file)
    tensors = read_file(os.path.join(base, "model.safetensors"))
    merge(config, tensors, read_file(os.path.join(adapter, "adapter_model.safetensors")))
    os.mkdir(merged)
    shutil.copy(os.path.join(base, "config.json"), merged)
    write_file(os.path.join(merged, "model.safetensors"), tensors)


if __name__ == "__main__":
    main()
