#!/usr/bin/env python3
"""quantised.py FIXTURES OUT - checkpoints as the tools of quantisation write them, with their drift by numpy.

OUT/NAME are folders made of Llama's fixture. OUT/pairs has a line "PRE POST" for each pair whose drift is known, and
OUT/expected.json the drift of q, k and routing of each layer: {"PRE POST": [[q, k, routing], ...]}.
"""
import json
import os
import sys

import numpy as np

from stored import decode, read_file, write_file

FIXTURES, OUT = sys.argv[1:]
HEADS, KEY_HEADS = 4, 2
NUMBERS = {}  # of each checkpoint: {tensor: float64}
PAIRS = []


def float8(exponent_bits, mantissa_bits):
    """The value of every byte, from the definition of the format; NaN where a byte is no number."""
    bits = np.arange(256)
    e, m = bits >> mantissa_bits & (1 << exponent_bits) - 1, bits & (1 << mantissa_bits) - 1
    bias, one = (1 << exponent_bits - 1) - 1, 1 << mantissa_bits
    value = np.where(e > 0, 2.0 ** (e - bias) * (1 + m / one), 2.0 ** (1 - bias) * (m / one))
    special = bits & 127 == 127 if mantissa_bits == 3 else e == (1 << exponent_bits) - 1
    return np.where(special, np.nan, np.where(bits >> 7, -value, value))


FLOAT8 = {"F8_E4M3": float8(4, 3), "F8_E5M2": float8(5, 2)}


def bytes_of(dtype, values):
    """The nearest bytes, as a (rows, columns) array."""
    table = np.nan_to_num(FLOAT8[dtype], nan=np.inf)
    order = np.argsort(table[:127])
    edges = (table[order][1:] + table[order][:-1]) / 2
    nearest = order[np.searchsorted(edges, np.abs(values))]
    return (nearest | (values < 0) << 7).astype(np.uint8)


def stored(dtype, values):
    values = np.asarray(values)
    if dtype == "BF16":  # nearest, ties to even
        bits = np.ascontiguousarray(values, "<f4").view("<u4")
        raw = (bits + 0x7fff + (bits >> 16 & 1) >> 16).astype("<u2")
    elif dtype == "F8_E8M0":
        raw = (np.log2(values) + 127).astype(np.uint8)
    else:
        raw = values.astype({"F32": "<f4", "F64": "<f8", "U8": "u1", "I8": "i1", "I32": "<i4", "F16": "<f2"}[dtype])
    return dtype, list(values.shape), raw.tobytes()


def side(name):
    return read_file(f"{FIXTURES}/llama/{name}/model.safetensors")


def values_of(tensor):
    return decode(tensor[0], tensor[2]).reshape(tensor[1])


def is_linear(name):
    return name.endswith("_proj.weight")


def write(name, tensors, numbers=None, quantisation=None):
    folder = os.path.join(OUT, name)
    os.makedirs(folder)
    write_file(f"{folder}/model.safetensors", tensors)
    with open(f"{FIXTURES}/llama/pre/config.json", encoding="utf-8") as file:
        config = json.load(file)
    if quantisation is not None:
        config["quantization_config"] = quantisation
    with open(f"{folder}/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
    NUMBERS[name] = {key: values_of(value) for key, value in tensors.items()} if numbers is None else numbers


def spread(scale, shape):
    """One scale for each value: those of blocks, rows, parts of rows, or the whole."""
    if scale.size == 1:
        return np.full(shape, scale.reshape(()))
    if scale.ndim == 1:
        scale = scale[:, None]
    high, wide = -(-shape[0] // scale.shape[0]), -(-shape[1] // scale.shape[1])
    return np.repeat(np.repeat(scale, high, 0), wide, 1)[:shape[0], :shape[1]]


def scales_of(form, values):
    """The largest value of each part over 400, in float32."""
    rows, columns = values.shape
    if form == "whole":
        return np.abs(values).max() / 400
    if form == "one":
        return np.abs(values).max().reshape(1) / 400
    if form == "row":
        return np.abs(values).max(1, keepdims=True) / 400
    if form == "flat":
        return np.abs(values).max(1) / 400
    high, wide = {"block": (32, 32), "group": (1, 16)}[form]
    return np.abs(values).reshape(rows // high, high, columns // wide, wide).max((1, 3)) / 400


def in_8_bits(name, source, form, suffix, dtype="F8_E4M3", scale_dtype="F32", aside=(), keep=(), **quantisation):
    tensors, numbers = {}, {}
    for key, tensor in side(source).items():
        values = values_of(tensor)
        if not is_linear(key) or any(word in key for word in keep):
            tensors[key], numbers[key] = tensor, values
            continue
        scale = scales_of(form, values)
        if scale_dtype == "F8_E8M0":
            scale = 2.0 ** np.ceil(np.log2(scale))
        elif scale_dtype == "BF16":
            scale = values_of(stored("BF16", scale))
        scale = np.asarray(scale, np.float32)
        wide = spread(scale.astype(np.float64), values.shape)
        raw = bytes_of(dtype, values / wide)
        tensors[key] = dtype, list(values.shape), raw.tobytes()
        tensors[key.removesuffix(".weight") + suffix] = stored(scale_dtype, scale)
        for word in aside:
            tensors[key.removesuffix("weight") + word] = stored("F32", np.float32(0.5))
        numbers[key] = FLOAT8[dtype][raw] * wide
    write(name, tensors, numbers, quantisation or None)


def pair(pre, post):
    PAIRS.append((pre, post))


def norm(values):
    return np.sqrt((values * values).sum())


def drift(pre, post):
    layers = []
    for i in range(4):
        at = f"model.layers.{i}.self_attn."
        q, k = ([NUMBERS[name][f"{at}{role}_proj.weight"] for name in (pre, post)] for role in "qk")
        routing = []
        for s in (0, 1):
            heads, keys = (m.reshape(n, -1, m.shape[1]) for m, n in ((q[s], HEADS), (k[s], KEY_HEADS)))
            routing.append(np.array([heads[h].T @ keys[h * KEY_HEADS // HEADS] for h in range(HEADS)]))
        layers.append([norm(x[1] - x[0]) / norm(x[0]) for x in (q, k, routing)])
    return layers


BLOCKS = {"quant_method": "fp8", "weight_block_size": [32, 32]}
write("pre", side("pre"))
write("post", side("post"))
in_8_bits("block-pre", "pre", "block", ".weight_scale_inv", **BLOCKS)
in_8_bits("block", "post", "block", ".weight_scale_inv", **BLOCKS)
in_8_bits("block-e8m0", "post", "block", ".weight_scale_inv", scale_dtype="F8_E8M0", **BLOCKS)
in_8_bits("deepseek", "post", "block", ".scale", **BLOCKS)
in_8_bits("row-pre", "pre", "row", ".weight_scale", scale_dtype="BF16", quant_method="compressed-tensors")
in_8_bits("row", "post", "row", ".weight_scale", scale_dtype="BF16", quant_method="compressed-tensors")
in_8_bits("row-flat", "post", "flat", ".weight_scale", aside=["input_scale_ub"], quant_method="fbgemm_fp8")
in_8_bits("group", "post", "group", ".weight_scale")
in_8_bits("whole-pre", "pre", "whole", ".weight_scale", aside=["input_scale", "k_scale"])
in_8_bits("whole", "post", "whole", ".weight_scale", aside=["input_scale", "k_scale"])
in_8_bits("whole-1", "post", "one", ".weight.scale")
in_8_bits("e5m2", "post", "whole", ".weight_scale", dtype="F8_E5M2")
in_8_bits("comfy", "post", "whole", ".scale_weight", aside=["scale_input"])
in_8_bits("mixed", "post", "whole", ".weight_scale", keep=["layers.2"])
same = {key: stored("BF16", value) if is_linear(key) else side("pre")[key]
        for key, value in NUMBERS["block-pre"].items()}
write("same", same)  # the numbers of block-pre in BF16
write("exact", {key: stored("F32", value) for key, value in NUMBERS["block-pre"].items()})
huge = {key: stored("F32", values_of(value) * (1e6 if is_linear(key) else 1)) for key, value in side("post").items()}
write("huge", huge)
for post in ("block", "block-e8m0", "deepseek", "row", "row-flat", "group", "whole", "whole-1", "e5m2", "comfy", "mixed", "huge"):
    pair("pre", post)
for pre, post in (("block-pre", "block"), ("row-pre", "row"), ("whole-pre", "whole"), ("block-pre", "same"),
                  ("same", "block-pre"), ("row-pre", "whole"), ("block-pre", "post"), ("block-pre", "comfy")):
    pair(pre, post)

# --- refused by name ---
in_8_bits("unknown", "post", "whole", ".scaling_factor_scale")
in_8_bits("misfit", "post", "block", ".weight_scale")  # blocks of 32 without a config that says so


def packed(name, made, quantisation=None, only=""):
    """`made` gives the tensors that stand for a module: {suffix: (dtype, shape, bytes)}."""
    tensors = {}
    for key, tensor in side("post").items():
        if is_linear(key) and only in key:
            rows, columns = tensor[1]
            tensors |= {key.removesuffix(".weight") + suffix: value for suffix, value in made(rows, columns).items()}
        else:
            tensors[key] = tensor
    write(name, tensors, {}, quantisation)


def zeros(dtype, *shape):
    return stored(dtype, np.zeros(shape))


packed("bnb4", lambda r, c: {".weight": zeros("U8", r * c // 2, 1), ".weight.absmax": zeros("F32", r * c // 64),
                             ".weight.quant_map": zeros("F32", 16),
                             ".weight.quant_state.bitsandbytes__nf4": zeros("U8", 8)},
       {"quant_method": "bitsandbytes", "load_in_4bit": True})
packed("bnb8", lambda r, c: {".weight": zeros("I8", r, c), ".SCB": zeros("F32", r), ".weight_format": zeros("U8")},
       {"quant_method": "bitsandbytes", "load_in_8bit": True})


def gptq(rows, columns):
    return {".qweight": zeros("I32", columns // 8, rows), ".qzeros": zeros("I32", 1, rows // 8),
            ".scales": zeros("F16", 1, rows), ".g_idx": zeros("I32", columns)}


packed("gptq", gptq, {"quant_method": "gptq"})
packed("gptq-output", gptq, {"quant_method": "gptq"}, only="o_proj")  # q and k are numbers
packed("gptq-unknown", gptq, {"quant_method": "gptq"})
with open(f"{OUT}/gptq-unknown/config.json", "r+", encoding="utf-8") as file:
    config = json.load(file) | {"model_type": "never_heard_of"}
    file.seek(0)
    json.dump(config, file)
    file.truncate()
packed("awq", lambda r, c: {".qweight": zeros("I32", c, r // 8), ".qzeros": zeros("I32", 1, r // 8),
                            ".scales": zeros("F16", 1, r)}, {"quant_method": "awq"})
packed("compressed", lambda r, c: {".weight_packed": zeros("I32", r, c // 8), ".weight_scale": zeros("BF16", r, 1),
                                   ".weight_shape": zeros("I32", 2)}, {"quant_method": "compressed-tensors"})
packed("int8", lambda r, c: {".weight": zeros("I8", r, c), ".weight_scale": zeros("BF16", r, 1)},
       {"quant_method": "compressed-tensors"})
packed("mxfp4", lambda r, c: {"_blocks": zeros("U8", r, c // 32, 16), "_scales": zeros("U8", r, c // 32)},
       {"quant_method": "mxfp4"})
packed("nvfp4", lambda r, c: {".weight": zeros("U8", r, c // 2), ".weight_scale": zeros("U8", r, c // 16),
                              ".weight_scale_2": zeros("F32"), ".input_scale": zeros("F32")})
half = {key: value for key, value in side("post").items()}
for key in half:
    if "layers.2.self_attn" in key:
        half[key] = half[key][0], [0], b""
write("empty", half, {})

with open(f"{OUT}/pairs", "w", encoding="utf-8") as file:
    file.writelines(f"{pre} {post}\n" for pre, post in PAIRS)
with open(f"{OUT}/expected.json", "w", encoding="utf-8") as file:
    json.dump({f"{pre} {post}": drift(pre, post) for pre, post in PAIRS}, file)
