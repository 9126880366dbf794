#!/usr/bin/env python3
"""make_adapter.py KIND BASE ADAPTER - a PEFT adapter for a checkpoint of one file.

KIND:
  plain     llama: every projection of every layer, float32 factors, alpha / r
  patterns  qwen2: bfloat16 factors, alpha / sqrt(r), ranks and alphas of their own by name and by regular
            expression, biases and the embedding trained as whole tensors
  conv1d    gpt2: fused tensors that are stored transposed (fan_in_fan_out), of some layers
  latent    deepseek_v3: the factors of q and k of latent attention
"""
import json
import os
import re
import sys

import numpy as np

from merge_adapter import number
from stored import decode, encode, read_file, write_file

KINDS = {
    "plain": (r"layers\.\d+\.(self_attn|mlp)\.\w+_proj$", "F32", {"r": 4, "lora_alpha": 8}),
    "patterns": (r"layers\.\d+\.self_attn\.[qkv]_proj$", "BF16", {
        "r": 4, "lora_alpha": 6, "use_rslora": True, "bias": "all", "modules_to_save": ["embed_tokens"],
        "rank_pattern": {"layers.1.self_attn.q_proj": 2, r"layers\.[23]\.self_attn\.k_proj": 3},
        "alpha_pattern": {r"model.layers.\d+.self_attn.(q|v)_proj": 5}}),
    "conv1d": (r"h\.[01]\.(attn\.c_attn|mlp\.c_fc)$", "F32", {
        "r": 3, "lora_alpha": 4, "fan_in_fan_out": True, "layers_to_transform": [0, 1], "layers_pattern": "h"}),
    "latent": (r"layers\.\d+\.self_attn\.(q_a|q_b|kv_b)_proj$", "F32", {"r": 2, "lora_alpha": 4}),
}


def main():
    kind, base, adapter = sys.argv[1:]
    modules, dtype, options = KINDS[kind]
    config = {"peft_type": "LORA", "base_model_name_or_path": "some/base", "target_modules": ["q_proj"],
              "use_rslora": False, "fan_in_fan_out": False, "bias": "none", "use_dora": False,
              "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": None, "init_lora_weights": True, **options}
    random = np.random.default_rng(7)
    added = {}
    for name, (stored, shape, raw) in read_file(os.path.join(base, "model.safetensors")).items():
        module, end = name.rsplit(".", 1)
        saved = module.rsplit(".", 1)[-1] in (config["modules_to_save"] or [])
        if saved or end == "bias" and config["bias"] == "all":
            values = decode(stored, raw) + random.normal(0, 0.01, np.prod(shape))
            # a module with factors is wrapped, and its bias is saved under the wrapped module's name
            wrapped = ".base_layer" if re.search(modules, module) else ""
            added[f"base_model.model.{module}{wrapped}.{end}"] = ("F32", shape, encode("F32", values))
        if end == "weight" and re.search(modules, module):
            r = number(config, "rank_pattern", "r", module)
            wide, tall = shape if config["fan_in_fan_out"] else shape[::-1]
            for letter, size, scale in ("A", (r, wide), 0.2), ("B", (tall, r), 0.05):
                added[f"base_model.model.{module}.lora_{letter}.weight"] = \
                    (dtype, size, encode(dtype, random.normal(0, scale, size)))
    os.mkdir(adapter)
    write_file(os.path.join(adapter, "adapter_model.safetensors"), added)
    with open(os.path.join(adapter, "adapter_config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)


main()
