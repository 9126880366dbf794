#!/usr/bin/env python3
"""real_adapters.py FIXTURES OUT - adapters and bases under the names that trainers write, with what they mean.

OUT/BASE and OUT/ADAPTER are folders. OUT/pairs has a line "BASE ADAPTER" for each pair whose drift is known, and
OUT/expected.json the drift of q and k by numpy: {"BASE ADAPTER": [[q, k] or null for each layer]}.
"""
import json
import os
import re
import shutil
import sys

import numpy as np

from stored import decode, encode, read_file, write_file

FIXTURES, OUT = sys.argv[1:]
RANDOM = np.random.default_rng(3)
EXPECTED = {}
BASES = {}


def base(name, family="llama", rename=None, config=None):
    folder = os.path.join(OUT, name)
    os.makedirs(folder)
    tensors = read_file(f"{FIXTURES}/{family}/pre/model.safetensors")
    BASES[name] = tensors
    write_file(f"{folder}/model.safetensors", {(rename or str)(key): value for key, value in tensors.items()})
    with open(f"{FIXTURES}/{family}/pre/config.json", encoding="utf-8") as file:
        values = json.load(file)
    with open(f"{folder}/config.json", "w", encoding="utf-8") as file:
        json.dump(config(values) if config else values, file)


def stored(values):
    values = np.asarray(values, np.float64)
    return "F32", list(values.shape), encode("F32", values)


def numbers(tensor):
    return decode(tensor[0], tensor[2]).reshape(tensor[1])


def factors(tensors, rank=2, pattern=r"layers\.\d+\.self_attn\.[qk]_proj\.weight$"):
    """{module: (A, B)}, in float32, of the modules that the pattern finds."""
    out = {}
    for name, (_, shape, _) in tensors.items():
        if re.search(pattern, name):
            a = RANDOM.normal(0, 0.05, (rank, shape[1])).astype(np.float32)
            b = RANDOM.normal(0, 0.05, (shape[0], rank)).astype(np.float32)
            out[name.removesuffix(".weight")] = a, b
    return out


def adapter(name, tensors, **config):
    folder = os.path.join(OUT, name)
    os.makedirs(folder)
    write_file(f"{folder}/adapter_model.safetensors", tensors)
    with open(f"{folder}/adapter_config.json", "w", encoding="utf-8") as file:
        json.dump({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "k_proj"], **config}, file)


def named(pairs, form="base_model.model.{module}.lora_{letter}.weight"):
    """The factors under the names of the format, where {module} is "model.layers.0.self_attn.q_proj"."""
    out = {}
    for module, both in pairs.items():
        for letter, values in zip("AB", both):
            out[form.format(module=module, letter=letter, below=module.removeprefix("model."))] = stored(values)
    return out


def drifts(tensors, pairs, scale=lambda module: 2.0, transposed=False):
    """|s B A| / |W| of q and k, with W + s B A rounded to W's dtype."""
    layers = {}
    for module, (a, b) in pairs.items():
        layer, role = re.search(r"layers\.(\d+)\.self_attn\.([qk])_proj", module).groups()
        dtype, shape, raw = tensors[module + ".weight"]
        before = decode(dtype, raw).reshape(shape)
        change = scale(module) * (b.astype(np.float64) @ a)
        after = decode(dtype, encode(dtype, before + change)).reshape(shape)
        layers.setdefault(int(layer), {})[role] = np.linalg.norm(after - before) / np.linalg.norm(before)
    return [[layers[i]["q"], layers[i]["k"]] if i in layers and len(layers[i]) == 2 else None
            for i in range(max(layers) + 1)]


def expect(base_names, name, values):
    for each in base_names:
        EXPECTED[f"{each} {name}"] = values


def text_bases():
    vision = {"model_type": "pixtral"}

    def multimodal(config):
        return {"model_type": "mistral3", "text_config": config, "vision_config": vision}

    base("base")
    base("base-compiled", rename=lambda name: "_orig_mod." + name)
    base("base-body", rename=lambda name: name.removeprefix("model."))
    base("base-multimodal", rename=lambda name: re.sub("^model", "model.language_model", name), config=multimodal)
    base("base-older", rename=lambda name: "language_model." + name, config=multimodal)
    base("base-thinker", rename=lambda name: "thinker." + name, config=lambda config: {
        "model_type": "qwen3_omni_moe", "thinker_config": {"text_config": config}})


def names(llama):
    """Wrappers and prefixes on either side."""
    bases = ["base", "base-compiled", "base-body", "base-multimodal", "base-older", "base-thinker"]
    forms = {
        "plain": "base_model.model.{module}.lora_{letter}.weight",
        "default": "base_model.model.{module}.lora_{letter}.default.weight",
        "other-name": "base_model.model.{module}.lora_{letter}.sft.weight",
        "compiled": "base_model.model._orig_mod.{module}.lora_{letter}.weight",
        "compiled-outside": "_orig_mod.base_model.model.{module}.lora_{letter}.weight",
        "parallel": "module.base_model.model.{module}.lora_{letter}.default.weight",
        "sharded": "base_model.model._fsdp_wrapped_module.{module}.lora_{letter}.weight",
        "no-prefix": "{module}.lora_{letter}.weight",
        "body": "base_model.model.{below}.lora_{letter}.weight",
        "multimodal": "base_model.model.model.language_model.{below}.lora_{letter}.weight",
        "older": "base_model.model.language_model.model.{below}.lora_{letter}.weight",
    }
    pairs = factors(llama)
    values = drifts(llama, pairs)
    for name, form in forms.items():
        adapter(name, named(pairs, form))
        expect(bases if name in ("plain", "multimodal") else bases[2:4], name, values)
    layers = {re.sub(r"layers\.(\d+)\.", r"layers.\1._orig_mod.", module): both for module, both in pairs.items()}
    adapter("layer-compiled", named(layers))
    expect(bases[:3], "layer-compiled", values)
    checkpointed = {module.replace(".self_attn", "._checkpoint_wrapped_module.self_attn"): both
                    for module, both in pairs.items()}
    adapter("layer-checkpointed", named(checkpointed))
    expect(bases[:3], "layer-checkpointed", values)


def others(llama):
    """Tensors beside q and k."""
    def with_tensors(name, tensors, **config):
        pairs = factors(llama)
        adapter(name, {**named(pairs), **tensors}, **config)
        expect(["base", "base-multimodal"], name, drifts(llama, pairs))

    embedding, head = "base_model.model.model.embed_tokens", "base_model.model.lm_head"
    rows = numbers(llama["model.embed_tokens.weight"])
    longer = stored(np.vstack([rows, np.zeros((4, rows.shape[1]))]))
    with_tensors("resized", {embedding + ".weight": longer, head + ".weight": longer},
                 modules_to_save=["embed_tokens", "lm_head"])
    with_tensors("same-size", {embedding + ".weight": stored(rows + 0.01)}, modules_to_save=["embed_tokens"])
    with_tensors("raw-names", {head + ".original_module.weight": stored(rows),
                               head + ".modules_to_save.default.weight": stored(rows + 0.01)})
    low = {embedding + ".lora_embedding_A": stored(RANDOM.normal(0, 0.1, (2, rows.shape[0]))),
           embedding + ".lora_embedding_B": stored(RANDOM.normal(0, 0.1, (rows.shape[1], 2)))}
    with_tensors("low-rank-embedding", low)
    with_tensors("low-rank-embedding-whole", {**low, embedding + ".base_layer.weight": stored(rows + 0.01)})
    with_tensors("score", {"base_model.model.score.weight": stored(np.ones((2, rows.shape[1])))})
    with_tensors("value-head", {"v_head.summary.weight": stored(np.ones((1, rows.shape[1])))})
    with_tensors("experts", {"base_model.model.model.layers.1.mlp.experts.lora_A.weight": stored(np.ones((2, 8))),
                             "base_model.model.model.layers.1.mlp.experts.lora_B.weight": stored(np.ones((8, 2)))},
                 target_parameters=["mlp.experts.gate_up_proj"])
    with_tensors("tokens", {embedding + ".trainable_tokens_delta": stored(np.ones((2, rows.shape[1])))},
                 trainable_token_indices={"embed_tokens": [1, 2]})
    pairs = factors(llama)
    tensors = named(pairs)
    for name in list(tensors):
        if ".layers.1." in name:
            tensors[name] = "F32", [0], b""
    adapter("zero3", tensors)
    values = drifts(llama, pairs)
    expect(["base", "base-multimodal"], "zero3", values[:1] + [None] + values[2:])


def patterns(llama):
    pairs = factors(llama)
    pairs.update(factors(llama, 4, r"layers\.1\.self_attn\.q_proj\.weight$"))
    for name, rank, alpha in (
            ("pattern-anchored", {"^model.layers.1.self_attn.q_proj": 4}, {"q_proj": 16}),
            ("pattern-escaped", {r"layers\.1\.self_attn\.q_proj": 4}, {".*q_proj": 8})):
        def scale(module, rank=rank, alpha=alpha):
            def pick(table, otherwise):
                return next((v for key, v in table.items() if re.match(rf"(.*\.)?({key})$", module)), otherwise)
            return pick(alpha, 4) / pick(rank, 2)
        adapter(name, named(pairs), rank_pattern=rank, alpha_pattern=alpha)
        expect(["base"], name, drifts(llama, pairs, scale))


def conv1d():
    """gpt2 stores (in, out); PEFT corrects fan_in_fan_out itself."""
    base("gpt2", "gpt2")
    tensors = {}
    for name, (_, shape, _) in BASES["gpt2"].items():
        if "c_attn.weight" in name:
            module = "base_model.model.transformer." + name.removeprefix("transformer.").removesuffix(".weight")
            tensors[module + ".lora_A.weight"] = stored(RANDOM.normal(0, 0.05, (2, shape[0])))
            tensors[module + ".lora_B.weight"] = stored(RANDOM.normal(0, 0.05, (shape[1], 2)))
    adapter("conv1d", tensors, fan_in_fan_out=True)
    adapter("conv1d-mistaken", tensors, fan_in_fan_out=False)


def tied():
    base("tied", "gemma3_text")
    pairs = factors(BASES["tied"])
    head = numbers(BASES["tied"]["model.embed_tokens.weight"])
    adapter("tied-head", {**named(pairs), "base_model.model.lm_head.weight": stored(head)},
            modules_to_save=["lm_head"])
    expect(["tied"], "tied-head", drifts(BASES["tied"], pairs))


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    text_bases()
    names(BASES["base"])
    others(BASES["base"])
    patterns(BASES["base"])
    conv1d()
    tied()
    with open(f"{OUT}/expected.json", "w", encoding="utf-8") as file:
        json.dump(EXPECTED, file)
    with open(f"{OUT}/pairs", "w", encoding="utf-8") as file:
        file.writelines(pair + "\n" for pair in EXPECTED)


main()
