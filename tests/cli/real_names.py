#!/usr/bin/env python3
"""real_names.py FIXTURES DEMO OUT - checkpoints under the names that trainers and multimodal classes write.

OUT/NAME are folders. OUT/pairs has lines "FAMILY PRE POST": the drift of the pair is that of the family's fixture.
OUT/head-* are the demo's pre with another output head, and OUT/cases-*.jsonl what they answer.
"""
import json
import os
import shutil
import struct
import sys

from stored_file import read_file, write_file

FIXTURES, DEMO, OUT = sys.argv[1:]
PAIRS = []


def numbers(*values):
    return "F32", [len(values)], struct.pack(f"<{len(values)}f", *values)


def matrix(n, value=0.0):
    return "F32", [n, n], struct.pack("<f", value) * (n * n)


def write(name, source, rename=str, more=None, config=None):
    """The checkpoint in `source` under other names, with more tensors, and what `config` makes of its config."""
    folder = os.path.join(OUT, name)
    os.makedirs(folder)
    tensors = {rename(key): value for key, value in read_file(f"{source}/model.safetensors").items()}
    write_file(f"{folder}/model.safetensors", tensors | (more or {}))
    with open(f"{source}/config.json", encoding="utf-8") as file:
        values = json.load(file)
    with open(f"{folder}/config.json", "w", encoding="utf-8") as file:
        json.dump(config(values) if config else values, file)


def pair(family, pre, post):
    PAIRS.append(f"{family} {pre} {post}\n")


def both(family, name, **how):
    """The fixture's post under these names against its pre, and the other way round."""
    for side in ("pre", "post"):
        write(f"{side}.{name}", f"{FIXTURES}/{family}/{side}", **how)
    pair(family, f"{family}/pre", f"post.{name}")
    pair(family, f"pre.{name}", f"{family}/post")


def inner(name):
    return name.replace("model.", "model.language_model.", 1) if name.startswith("model.") else name


def wrapped(kind, **more):
    return lambda config: {"model_type": kind, "text_config": dict(config), **more}


# --- wrappers of trainers, in front and between ---
for name, front in (("orig-mod", "_orig_mod."), ("module", "module."), ("module-orig", "module._orig_mod."),
                    ("orig-module", "_orig_mod.module."), ("openrlhf", "model."), ("lightning", "model.model."),
                    ("policy", "policy."), ("llava-old", "language_model.")):
    both("llama", name, rename=lambda key, front=front: front + key)
both("llama", "fsdp", rename=lambda key: "_fsdp_wrapped_module." + key.replace(
    ".self_attn", "._checkpoint_wrapped_module.self_attn").replace("layers.0", "layers.0._fsdp_wrapped_module"))
both("llama", "value-head", rename=lambda key: "pretrained_model." + key, more={"v_head.summary.weight": numbers(*[0] * 64)})
both("llama", "base-layer", rename=lambda key: "base_model.model." + key.replace("q_proj.weight", "q_proj.base_layer.weight"))
both("llama", "inner", rename=inner)

# --- multimodal classes around a language model ---
vision = {"vision_config": {"model_type": "pixtral"}}
both("llama", "mistral3-old", rename=lambda key: "language_model." + key, config=wrapped("mistral3", **vision))
both("llama", "mistral3-new", rename=inner, config=wrapped("mistral3", **vision))
pair("llama", "pre.mistral3-old", "post.mistral3-new")
pair("llama", "pre.mistral3-new", "post.mistral3-old")
# a tower with more layers, whose names hold q_proj and k_proj, too
tower = {f"model.visual.blocks.{i}.attn.{part}.weight": matrix(8) for i in range(30) for part in ("q_proj", "k_proj", "proj")}
both("qwen3_5_text", "qwen3_5", rename=inner, more=tower,
     config=wrapped("qwen3_5", vision_config={"model_type": "qwen3_5", "depth": 2}, tie_word_embeddings=True))


def without_type(config):
    made = wrapped("qwen3_5", vision_config={"depth": 2})(config)
    del made["text_config"]["model_type"]
    return made


both("qwen3_5_text", "no-inner-type", rename=inner, more=tower, config=without_type)


def omni(config):
    return {"model_type": "qwen3_omni_moe", "thinker_config": {"model_type": "qwen3_omni_moe_thinker", "text_config": dict(config)},
            "talker_config": {"text_config": {"num_hidden_layers": 2}}}


both("qwen3", "omni", rename=lambda key: "thinker." + key, config=omni)
both("qwen3", "talker", rename=lambda key: "thinker." + key, config=omni,
     more={f"talker.model.layers.{i}.self_attn.{role}_proj.weight": matrix(8, 1) for i in range(40) for role in "qkvo"})

# --- layers that predict further tokens ---
first = {side: {key: value for key, value in read_file(f"{FIXTURES}/llama/{side}/model.safetensors").items() if "layers.0." in key}
         for side in ("pre", "post")}
both("llama", "mtp", more={"mtp." + key.removeprefix("model."): value for key, value in first["pre"].items()})
both("llama", "mtp-behind", more={key.replace("layers.0.", "layers.4."): value for key, value in first["pre"].items()})

# --- heads ---
# A head whose row of each digit is the embedding of the digit before: the same model answers the next digit.
tensors = read_file(f"{DEMO}/pre/model.safetensors")
dtype, shape, raw = tensors["model.embed_tokens.weight"]
row = len(raw) // shape[0]
rows = [raw[i * row:(i + 1) * row] for i in range(shape[0])]
digits = [ord(digit) for digit in "0123456789"]  # tokens are bytes
moved = list(rows)
for i, digit in enumerate(digits):
    moved[digits[(i + 1) % 10]] = rows[digit]
shifted = dtype, shape, b"".join(moved)


def head(name, more=None, **flags):
    write(name, f"{DEMO}/pre", more=more, config=lambda config: {key: value for key, value in (config | flags).items() if value is not None})
    shutil.copy(f"{DEMO}/pre/tokenizer.json", f"{OUT}/{name}")


head("head-same", {"lm_head.weight": (dtype, shape, raw)})
head("head-tied", {"lm_head.weight": shifted}, tie_word_embeddings=True)
head("head-no-flag", tie_word_embeddings=None)
head("head-untied", {"lm_head.weight": shifted}, tie_word_embeddings=False)
head("head-untied-no-flag", {"lm_head.weight": shifted}, tie_word_embeddings=None)
head("head-missing", tie_word_embeddings=False)

with open(f"{OUT}/pairs", "w", encoding="utf-8") as file:
    file.writelines(PAIRS)
