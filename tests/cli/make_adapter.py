#!/usr/bin/env python3
"""make_adapter.py KIND BASE ADAPTER MERGED - a PEFT adapter for a checkpoint of one file, and the checkpoint merged.

KIND:
  plain     llama: every projection of every layer, float32 factors, alpha / r
  patterns  qwen2: bfloat16 factors, alpha / sqrt(r), ranks and alphas of their own by name and by regular
            expression, biases trained as whole tensors
  conv1d    gpt2: fused tensors that are stored transposed (fan_in_fan_out)
What is merged is computed from the formula alone: W + s B A in float64, rounded once to W's dtype.
"""
import json
import os
import re
import shutil
import sys

import numpy as np

from stored import decode, encode, read_file, write_file

KINDS = {
    "plain": (r"layers\.\d+\.(self_attn|mlp)\.\w+_proj$", "F32", {"r": 4, "lora_alpha": 8}),
    "patterns": (r"layers\.\d+\.self_attn\.[qkv]_proj$", "BF16", {
        "r": 4, "lora_alpha": 6, "use_rslora": True, "bias": "all",
        "rank_pattern": {"layers.1.self_attn.q_proj": 2, r"layers\.[23]\.self_attn\.k_proj": 3},
        "alpha_pattern": {r"model.layers.\d+.self_attn.(q|v)_proj": 5}}),
    "conv1d": (r"h\.\d+\.(attn\.c_attn|mlp\.c_fc)$", "F32", {"r": 3, "lora_alpha": 4, "fan_in_fan_out": True}),
}


def number(config, patterns, key, module):
    for pattern, value in config.get(patterns, {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return config[key]


def main():
    kind, base, adapter, merged = sys.argv[1:]
    modules, dtype, options = KINDS[kind]
    config = {"peft_type": "LORA", "base_model_name_or_path": "some/base", "target_modules": ["q_proj"],
              "use_rslora": False, "fan_in_fan_out": False, "bias": "none", "use_dora": False,
              "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": None, "init_lora_weights": True, **options}
    random = np.random.default_rng(7)
    tensors = read_file(os.path.join(base, "model.safetensors"))
    added = {}
    for name, (stored, shape, raw) in list(tensors.items()):
        module, end = name.rsplit(".", 1)
        weight = decode(stored, raw).reshape(shape)
        if end == "bias" and config["bias"] == "all":
            values = weight + random.normal(0, 0.01, shape)
            added["base_model.model." + name] = ("F32", shape, encode("F32", values))
            tensors[name] = (stored, shape, encode(stored, decode("F32", encode("F32", values))))
        if end != "weight" or not re.search(modules, module):
            continue
        r, alpha = number(config, "rank_pattern", "r", module), number(config, "alpha_pattern", "lora_alpha", module)
        wide, tall = (shape[0], shape[1]) if config["fan_in_fan_out"] else (shape[1], shape[0])
        factors = [encode(dtype, random.normal(0, scale, size)) for scale, size in
                   ((0.2, (r, wide)), (0.05, (tall, r)))]
        for letter, size, factor in zip("AB", ((r, wide), (tall, r)), factors):
            added[f"base_model.model.{module}.lora_{letter}.weight"] = (dtype, size, factor)
        a, b = (decode(dtype, f).reshape(s) for f, s in zip(factors, ((r, wide), (tall, r))))
        change = alpha / (np.sqrt(r) if config["use_rslora"] else r) * (b @ a)
        weight = weight + (change.T if config["fan_in_fan_out"] else change)
        tensors[name] = (stored, shape, encode(stored, weight))
    os.mkdir(adapter)
    write_file(os.path.join(adapter, "adapter_model.safetensors"), added)
    with open(os.path.join(adapter, "adapter_config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)
    os.mkdir(merged)
    shutil.copy(os.path.join(base, "config.json"), merged)
    write_file(os.path.join(merged, "model.safetensors"), tensors)


main()
