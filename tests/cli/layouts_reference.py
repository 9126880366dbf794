#!/usr/bin/env python3
"""layouts_reference.py - pairs of checkpoints made by hand, one for each way to store q and k.

    layouts_reference.py make FOLDER            writes FOLDER/NAME/{pre,post}, prints the names
    layouts_reference.py info NAME JSON         compares `qkscope info --json`
    layouts_reference.py drift NAME FOLDER JSON compares `qkscope diff --json`
    layouts_reference.py export NAME FOLDER OUT [WITH_LATENT]
                                                compares the files of `qkscope export --set all=restore`
    layouts_reference.py heads NAME FOLDER OUT [q|k]
                                                the same for --set all/q0,k0=restore, or one of them
    layouts_reference.py fuse NAME FROM TO PARTS writes a model with q, k and v in one tensor of so many parts
    layouts_reference.py same NAME A B          compares two answers, whose numbers differ by rounding at most
    layouts_reference.py serve                  does the same for each line of such words

The first rows of each head are written down here, case by case, and share nothing with the program's table.
Values to 1e-5 of themselves (float32 weights, sums in float64 on both sides); bytes exactly: the rows of q and k are
pre's, and no other byte differs from post.
"""
import json
import math
import os
import random
import struct
import sys

WIDTH = 8  # of the residual stream
BLOCK = 4  # values of 8 bits that share a scale: BLOCK x BLOCK
CASES = {}
HEIGHTS = {}  # rows of a part of a tensor that is split, in the case at hand


def scaled(tensors, name):
    """The numbers that 8-bit values and the scales of their blocks stand for."""
    values, scale = tensors[name], tensors.get(name + "_scale_inv")
    if scale is None:
        return values
    return [[x * scale[scale_row(name, i)][j // BLOCK] for j, x in enumerate(row)] for i, row in enumerate(values)]


def scale_row(name, i):
    """The row of scales over row i; their blocks begin anew in each part of a tensor that is split."""
    height = HEIGHTS.get(name, 1 << 30)
    return i // height * -(-height // BLOCK) + i % height // BLOCK


def float8(byte):
    """E4M3 without infinities"""
    exponent, fraction = byte >> 3 & 15, (byte & 7) / 8
    value = fraction * 2.0 ** -6 if exponent == 0 else (1 + fraction) * 2.0 ** (exponent - 7)
    return -value if byte & 128 else value


FLOAT8 = {float8(byte): byte for byte in range(256) if byte & 127 != 127}


class Role:
    """Heads of one role: starts[h] is where head h begins in the tensor, `rows` long each; by columns if transposed."""

    def __init__(self, tensor, starts, rows, transposed=False):
        self.tensor, self.starts, self.rows, self.transposed = tensor, starts, rows, transposed

    def view(self, tensors, head):
        values = scaled(tensors, self.tensor)
        at = range(self.starts[head], self.starts[head] + self.rows)
        if self.transposed:
            return [[row[i] for row in values] for i in at]
        return [values[i] for i in at]

    def owned_by(self, *heads):
        for head in heads:
            for i in range(self.starts[head], self.starts[head] + self.rows):
                yield self.tensor, i, self.transposed

    def owned(self):
        yield from self.owned_by(*range(len(self.starts)))

    def first(self):
        """What head 0 owns: what heads share is its own when it is alone."""
        return self.owned() if len(self.starts) == 1 else self.owned_by(0)


class Latent(Role):
    """Heads that are a product: `rows` of the tensor times diag(gain) times `down`, then the rows `tail` of `down`."""

    def __init__(self, tensor, starts, rows, down, gain, rank, tail, own_latent):
        super().__init__(tensor, starts, rows)
        self.down, self.gain, self.rank, self.tail, self.own_latent = down, gain, rank, tail, own_latent

    def view(self, tensors, head):
        gain, down = tensors[self.gain], scaled(tensors, self.down)
        product = [[sum(row[r] * gain[r] * down[r][j] for r in range(self.rank)) for j in range(len(down[0]))]
                   for row in super().view(tensors, head)]
        return product + [down[self.rank + i] for i in range(self.tail)]

    def owned(self):
        yield from super().owned()
        for i in range(self.rank, self.rank + self.tail):
            yield self.down, i, False
        if self.own_latent:
            for i in range(self.rank):
                yield self.down, i, False
            yield self.gain, None, False


class Layer:
    def __init__(self, kind, q=None, k=None, problem=None, **facts):
        self.kind, self.q, self.k, self.problem, self.facts = kind, q, k, problem, facts


def case(name, config, tensors, layers, **more):
    CASES[name] = dict(config=config, tensors=tensors, layers=layers, **more)


def packed(tensor, heads, rows, first=0, step=None, transposed=False):
    return Role(tensor, [first + h * (rows if step is None else step) for h in range(heads)], rows, transposed)


def separate(at, kind, heads, key_heads, rows, width=WIDTH, names=("q_proj", "k_proj", "v_proj"), **facts):
    """The tensors and the layer of q, k and v of their own."""
    q, k, v = (f"{at}.{name}.weight" for name in names)
    tensors = {q: (heads * rows, width), k: (key_heads * rows, width), v: (key_heads * rows, width)}
    return tensors, Layer(kind, packed(q, heads, rows), packed(k, key_heads, rows), **facts)


def merge(*parts):
    tensors, layers = {}, []
    for part in parts:
        tensors.update(part[0])
        layers.append(part[1])
    return tensors, layers


def block(name, heads, key_heads, rows, kind="full", extra=0, **facts):
    """[all q; all k; all v]"""
    return ({name: ((heads + 2 * key_heads) * rows + extra, WIDTH)},
            Layer(kind, packed(name, heads, rows), packed(name, key_heads, rows, heads * rows), **facts))


def plain(at, rows=4, **names):
    """A layer without q and k."""
    return {at: (rows, WIDTH)}, Layer("none")


def base(model_type, layers, heads, key_heads=None, **keys):
    config = {"model_type": model_type, "num_hidden_layers": layers, "hidden_size": WIDTH, "num_attention_heads": heads}
    if key_heads is not None:
        config["num_key_value_heads"] = key_heads
    return config | keys


# --- softmax layers, q and k in one tensor

# [q0 k0 v0 q1 k1 v1 ...]
for model, prefix, keys in (("gpt_bigcode", "transformer.h.0.attn.c_attn", {"multi_query": False}),
                            ("bloom", "h.0.self_attention.query_key_value", {})):
    name = prefix + ".weight"
    case(model + "_heads", {"model_type": model, "n_layer": 1, "n_head": 4, "n_embd": WIDTH, "hidden_size": WIDTH} | keys,
         {name: (24, WIDTH), prefix + ".bias": (24,)},
         [Layer("full", Role(name, [0, 6, 12, 18], 2), Role(name, [2, 8, 14, 20], 2), positions="none",
                biases=[prefix + ".bias"])])
name = "transformer.h.0.attn.c_attn.weight"
case("gpt_bigcode_one_key", {"model_type": "gpt_bigcode", "n_layer": 1, "n_head": 4, "n_embd": WIDTH, "multi_query": True},
     {name: (12, WIDTH)}, [Layer("full", Role(name, [0, 2, 4, 6], 2), Role(name, [8], 2))])
name = "transformer.h.0.attn.c_attn.weight"
case("gpt2_columns", {"model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_embd": WIDTH}, {name: (WIDTH, 24)},
     [Layer("full", packed(name, 2, 4, transposed=True), packed(name, 2, 4, 8, transposed=True))])
name = "transformer.h.0.self_attention.query_key_value.weight"
case("falcon_one_key", base("falcon", 1, 4, multi_query=True, new_decoder_architecture=False), {name: (12, WIDTH)},
     [Layer("full", Role(name, [0, 2, 4, 6], 2), Role(name, [8], 2))])
case("falcon_heads", base("falcon", 1, 2, multi_query=False, new_decoder_architecture=False, alibi=True),
     {name: (24, WIDTH)}, [Layer("full", Role(name, [0, 12], 4), Role(name, [4, 16], 4), positions="none")])
# groups of two queries, a key and a value
for model, name in (("internlm2", "model.layers.0.attention.wqkv.weight"),
                    ("phi3small", "model.layers.0.self_attn.query_key_value.weight")):
    case(model, base(model, 1, 4, 2), {name: (16, WIDTH)},
         [Layer("full", Role(name, [0, 2, 8, 10], 2), Role(name, [4, 12], 2))])
# four parts of [q; v; k], each a quarter of the heads
name = "transformer.h.0.attn.qkv_proj.weight"
case("codegen", {"model_type": "codegen", "n_layer": 1, "n_head": 8, "n_embd": 16, "rotary_dim": 2}, {name: (48, WIDTH)},
     [Layer("full", Role(name, [0, 2, 12, 14, 24, 26, 36, 38], 2), Role(name, [8, 10, 20, 22, 32, 34, 44, 46], 2),
            positions="rope_inter", rotary_dims=2)])
for model, at, keys in (
        ("dbrx", "transformer.blocks.0.norm_attn_norm.attn.Wqkv",
         {"n_layers": 1, "n_heads": 4, "d_model": WIDTH, "attn_config": {"kv_n_heads": 2, "clip_qkv": 8}}),
        ("mpt", "transformer.blocks.0.attn.Wqkv",
         {"n_layers": 1, "n_heads": 4, "d_model": WIDTH, "attn_config": {"kv_n_heads": 2}}),
        ("chatglm", "transformer.encoder.layers.0.self_attention.query_key_value",
         {"num_layers": 1, "num_attention_heads": 4, "hidden_size": WIDTH, "kv_channels": 2,
          "multi_query_attention": True, "multi_query_group_num": 2}),
        ("bailing_moe", "model.layers.0.attention.query_key_value",
         {"num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": WIDTH})):
    case(model, {"model_type": model} | keys, *merge(block(at + ".weight", 4, 2, 2)))
for model, at in (("qwen", "transformer.h.0.attn.c_attn"), ("baichuan", "model.layers.0.self_attn.W_pack")):
    case(model, base(model, 1, 2), *merge(block(at + ".weight", 2, 2, 4)))
# every layer has head counts of its own
at = "transformer.layers.{}.attn.qkv_proj.weight"
case("openelm", {"model_type": "openelm", "num_transformer_layers": 2, "model_dim": WIDTH, "head_dim": 2,
                 "num_query_heads": [2, 6], "num_kv_heads": [1, 3]},
     *merge(block(at.format(0), 2, 1, 2), block(at.format(1), 6, 3, 2)))

# --- softmax layers, q and k of their own

for model, keys in (("granite", {}), ("starcoder2", {}), ("phi", {"partial_rotary_factor": 0.5}), ("olmoe", {}),
                    ("gemma", {"head_dim": 4}), ("glm4_moe", {"partial_rotary_factor": 0.5}), ("seed_oss", {})):
    case(model, base(model, 1, 2, 1, **keys),
         *merge(separate("model.layers.0.self_attn", "full", 2, 1, 4, positions="rope_half",
                         rotary_dims=2 if "partial_rotary_factor" in keys else 4)))
for model in ("glm4", "cohere", "ernie4_5", "helium"):
    case(model, base(model, 1, 2, 1),
         *merge(separate("model.layers.0.self_attn", "full", 2, 1, 4, positions="rope_inter")))
case("exaone", {"model_type": "exaone", "num_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
                "hidden_size": WIDTH},
     *merge(separate("transformer.h.0.attn.attention", "full", 2, 1, 4)))
for model in ("cohere2", "cohere2_moe"):
    case(model, base(model, 4, 2, 1, sliding_window=16),
         *merge(*(separate(f"model.layers.{i}.self_attn", "full" if i == 3 else "window", 2, 1, 4,
                           positions="none" if i == 3 else "rope_inter", window=0 if i == 3 else 16)
                  for i in range(4))))
# positions in the layers of a window alone
case("afmoe", base("afmoe", 2, 2, 1, sliding_window=16, global_attn_every_n_layers=2, rope_theta=10000),
     *merge(separate("model.layers.0.self_attn", "window", 2, 1, 4, positions="rope_half", window=16),
            separate("model.layers.1.self_attn", "full", 2, 1, 4, positions="none")))
# nested config, a vision tower with q and k of its own, every second layer without positions
tensors, layers = merge(*(separate(f"language_model.model.layers.{i}.self_attn", "full" if i == 1 else "window", 2, 1, 4,
                                   positions="none" if i == 1 else "rope_inter") for i in range(2)))
tensors |= {"vision_model.model.layers.0.self_attn.q_proj.weight": (8, 8),
            "vision_model.model.layers.0.self_attn.k_proj.weight": (8, 8)}
case("llama4", {"model_type": "llama4", "text_config": base("llama4_text", 2, 2, 1, no_rope_layers=[1, 0])},
     tensors, layers)
# layers of a window with heads of their own
case("mimo_v2_flash",
     base("mimo_v2_flash", 2, 2, 1, head_dim=4, hybrid_layer_pattern=[0, 1], swa_num_attention_heads=4,
          swa_num_key_value_heads=2, swa_head_dim=2, sliding_window_size=32),
     *merge(separate("model.layers.0.self_attn", "full", 2, 1, 4),
            separate("model.layers.1.self_attn", "window", 4, 2, 2, window=32)))
case("step3p5",
     base("step3p5", 2, 2, num_attention_groups=1, head_dim=4, layer_types=["full_attention", "sliding_attention"],
          sliding_window=64, partial_rotary_factors=[0.5, 1.0],
          attention_other_setting={"num_attention_heads": 4, "num_attention_groups": 2}),
     *merge(separate("model.layers.0.self_attn", "full", 2, 1, 4, rotary_dims=2),
            separate("model.layers.1.self_attn", "window", 4, 2, 4, rotary_dims=4, window=64)))
# the last layer uses an earlier one's keys, although one is stored
tensors, layers = merge(*(separate(f"model.language_model.layers.{i}.self_attn", "window" if i == 0 else "full", 2, 1, 4)
                          for i in range(2)))
at = "model.language_model.layers.2.self_attn"
layers.append(Layer("window", packed(at + ".q_proj.weight", 2, 4)))
tensors |= separate("model.language_model.layers.2.self_attn", "window", 2, 1, 4)[0]
case("gemma3n", {"model_type": "gemma3n", "text_config": base(
    "gemma3n_text", 3, 2, 1, head_dim=4, num_kv_shared_layers=1, sliding_window=16,
    layer_types=["sliding_attention", "full_attention", "sliding_attention"])}, tensors, layers)
# full layers with larger heads, whose keys are their values
tensors, layers = merge(separate("model.layers.0.self_attn", "window", 4, 2, 2, window=16),
                        separate("model.layers.1.self_attn", "full", 4, 1, 4))
del tensors["model.layers.1.self_attn.v_proj.weight"]
case("gemma4", base("gemma4_text", 2, 4, 2, head_dim=2, global_head_dim=4, num_global_key_value_heads=1, sliding_window=16,
                    attention_k_eq_v=True, layer_types=["sliding_attention", "full_attention"]), tensors, layers,
     remark="layer 1: one tensor holds its keys and its values")
tensors, layers = merge(separate("model.layers.0.self_attn", "full", 2, 1, 4))
tensors["model.layers.1.self_attn.q_proj.weight"] = (8, WIDTH)
case("hunyuan", base("hunyuan", 2, 2, 1, use_cla=True, cla_share_factor=2), tensors,
     layers + [Layer("full", packed("model.layers.1.self_attn.q_proj.weight", 2, 4))])
# windows by a word of letters that begins again, or by a period; full layers have no positions
for name, keys, full in (("exaone4", {"sliding_window_pattern": "LLG"}, (2, 5)),
                         ("exaone4_period", {"sliding_window_pattern": 4}, (3,))):
    case(name, base("exaone4", 6, 2, 1, sliding_window=16, **keys), *merge(*(
        separate(f"model.layers.{i}.self_attn", "full", 2, 1, 4, positions="none") if i in full
        else separate(f"model.layers.{i}.self_attn", "window", 2, 1, 4, positions="rope_half", window=16)
        for i in range(6))))
case("exaone4_full", base("exaone4", 1, 2, 1, sliding_window=None, sliding_window_pattern=0),
     *merge(separate("model.layers.0.self_attn", "full", 2, 1, 4, positions="rope_half")))
case("smollm3_interval", base("smollm3", 2, 2, 1, no_rope_layer_interval=2), *merge(*(
    separate(f"model.layers.{i}.self_attn", "full", 2, 1, 4, positions="none" if i == 1 else "rope_half")
    for i in range(2))))
case("gptj", {"model_type": "gptj", "n_layer": 1, "n_head": 2, "n_embd": WIDTH, "rotary_dim": 2},
     *merge(separate("transformer.h.0.attn", "full", 2, 2, 4, positions="rope_inter", rotary_dims=2)))
case("opt", base("opt", 1, 2), *merge(separate("model.decoder.layers.0.self_attn", "full", 2, 2, 4, positions="none")))

# --- hybrids

case("minicpm_sala",
     base("minicpm_sala", 2, 4, 1, head_dim=2, mixer_types=["minicpm4", "lightning-attn"], lightning_nh=4, lightning_nkv=4,
          lightning_head_dim=2, lightning_use_rope=True, attn_use_rope=False),
     *merge(separate("model.layers.0.self_attn", "full", 4, 1, 2, positions="none"),
            separate("model.layers.1.self_attn", "linear", 4, 4, 2, positions="rope_half")))
case("granitemoehybrid", base("granitemoehybrid", 2, 2, 1, layer_types=["mamba", "attention"], position_embedding_type="rope"),
     *merge(plain("model.layers.0.mamba.in_proj.weight"),
            separate("model.layers.1.self_attn", "full", 2, 1, 4, positions="rope_half")))
case("granitemoehybrid_nope",
     base("granitemoehybrid", 1, 2, 1, layer_types=["attention"], position_embedding_type="nope"),
     *merge(separate("model.layers.0.self_attn", "full", 2, 1, 4, positions="none")))
case("bamba", base("bamba", 2, 2, 1, attn_layer_indices=[1]),
     *merge(plain("model.layers.0.mamba.in_proj.weight"),
            separate("model.layers.1.self_attn", "full", 2, 1, 4, positions="rope_half", rotary_dims=2)))
case("nemotron_h", base("nemotron_h", 4, 2, 1, head_dim=4, hybrid_override_pattern="M-*E"),
     *merge(plain("backbone.layers.0.mixer.in_proj.weight"), plain("backbone.layers.1.mixer.up_proj.weight"),
            separate("backbone.layers.2.mixer", "full", 2, 1, 4, positions="none"),
            plain("backbone.layers.3.mixer.gate.weight")))
tensors, layers = merge(separate("model.layers.0.self_attn", "full", 2, 1, 4, positions="rope_half"))
case("falcon_h1", base("falcon_h1", 1, 2, 1), tensors | {"model.layers.0.mamba.in_proj.weight": (6, WIDTH)}, layers)
# two blocks serve four positions; the later ones are not in the file, and the input is twice as wide
tensors, layers = {}, []
for i, kind in enumerate(["mamba", "hybrid", "hybrid", "hybrid", "mamba", "hybrid"]):
    if kind == "mamba":
        part = plain(f"model.layers.{i}.mamba.in_proj.weight")
    elif i < 3:
        part = separate(f"model.layers.{i}.shared_transformer.self_attn", "full", 2, 2, 8, width=2 * WIDTH)
    else:
        owner = f"model.layers.{1 if i == 3 else 2}.shared_transformer.self_attn"
        part = {f"model.layers.{i}.linear.weight": (4, 4)}, separate(owner, "full", 2, 2, 8, width=2 * WIDTH)[1]
    tensors |= part[0]
    layers.append(part[1])
case("zamba2", base("zamba2", 6, 2, 2, num_mem_blocks=2, attention_head_dim=8,
                    layers_block_type=["mamba", "hybrid", "hybrid", "hybrid", "mamba", "hybrid"]), tensors, layers,
     remark="layer 3 uses the q and k of layer 1: a choice there acts on both")
# adapters that a position adds to the shared block
tensors, layers = merge(separate("model.layers.0.shared_transformer.self_attn", "full", 2, 2, 8, width=2 * WIDTH))
for i, shape in enumerate([(2, 2 * WIDTH), (2 * WIDTH, 2)]):
    tensors[f"model.layers.0.shared_transformer.self_attn.linear_q_adapter_list.0.{i}.weight"] = shape
case("zamba2_adapters", base("zamba2", 1, 2, 2, num_mem_blocks=1, attention_head_dim=8, layers_block_type=["hybrid"]),
     tensors, layers, remark="2 tensors look like q or k but belong to no layer: model.layers.0.shared_transformer.self_"
                             "attn.linear_q_adapter_list.0.0.weight")
# the default places of hybrid layers, and an older config's list of them
for name, keys, hybrid in (("zamba2_default", {}, 6), ("zamba2_older", {"hybrid_layer_ids": [5]}, 5)):
    case(name, base("zamba2", 7, 2, 2, num_mem_blocks=2, attention_head_dim=8, **keys), *merge(
        *(separate(f"model.layers.{i}.shared_transformer.self_attn", "full", 2, 2, 8, width=2 * WIDTH) if i == hybrid
          else plain(f"model.layers.{i}.mamba.in_proj.weight") for i in range(7))))
# q, k, values twice as wide, and both halves of the mixer beside attention; the second of a group has no k and v
at = "model.layers.{}.mamba.in_proj.weight"
case("hymba", base("hymba", 3, 4, 2, mamba_expand=2, global_attn_idx=[0], sliding_window=16, kv_reuse_group=[[1, 2]]),
     {at.format(0): (52, WIDTH), at.format(1): (52, WIDTH), at.format(2): (40, WIDTH)},
     [Layer("full", packed(at.format(0), 4, 2), packed(at.format(0), 2, 2, 8), positions="fixed"),
      Layer("window", packed(at.format(1), 4, 2), packed(at.format(1), 2, 2, 8), window=16),
      Layer("window", packed(at.format(2), 4, 2), window=16)])
tensors, layers = merge(plain("model.layers.0.conv.in_proj.weight"),
                        separate("model.layers.1.self_attn", "full", 2, 1, 4, positions="rope_half",
                                 norms=["model.layers.1.self_attn.q_layernorm.weight",
                                        "model.layers.1.self_attn.k_layernorm.weight"]))
case("lfm2", base("lfm2", 2, 2, 1, full_attn_idxs=[1]),
     tensors | {f"model.layers.1.self_attn.{r}_layernorm.weight": (4,) for r in "qk"}, layers)
case("recurrent_gemma",
     base("recurrent_gemma", 3, 2, 1, block_types=["recurrent", "recurrent", "attention"], attention_window_size=8),
     *merge(plain("model.layers.0.temporal_block.linear_x.weight"), plain("model.layers.1.temporal_block.linear_x.weight"),
            separate("model.layers.2.temporal_block", "window", 2, 1, 4, rotary_dims=2, window=8)))
case("olmo_hybrid",
     base("olmo_hybrid", 2, 2, 1, layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2,
          linear_key_head_dim=3),
     *merge(separate("model.layers.0.linear_attn", "linear", 2, 2, 3, positions="fixed"),
            separate("model.layers.1.self_attn", "full", 2, 1, 4, positions="none")))
# without the keys: every fourth layer is full, and keys are three quarters as wide
case("olmo_hybrid_default", base("olmo_hybrid", 4, 2, 1, rope_theta=10000), *merge(
    *(separate(f"model.layers.{i}.linear_attn", "linear", 2, 2, 3) for i in range(3)),
    separate("model.layers.3.self_attn", "full", 2, 1, 4, positions="rope_half")))
at = "model.layers.{}.attention.query_key_value.weight"
case("bailing_moe_linear", base("bailing_moe_linear", 3, 4, 1, head_dim=2, layer_group_size=2),
     *merge(block(at.format(0), 4, 4, 2, "linear"), block(at.format(1), 4, 1, 2), block(at.format(2), 4, 1, 2)))
at = "model.layers.{}.attn.Wqkv.weight"
tensors, layers = merge(plain("model.layers.0.attn.in_proj.weight"), block(at.format(1), 4, 2, 2, "window", window=16),
                        plain("model.layers.2.attn.in_proj.weight"), block(at.format(3), 4, 2, 2, "full"),
                        plain("model.layers.4.attn.in_proj.weight"))
tensors[at.format(5)] = (8, WIDTH)
case("phi4flash", base("phi4flash", 6, 4, 2, mb_per_layer=2, sliding_window=[None, 16, None, None, None, None]), tensors,
     layers[:5] + [Layer("full", packed(at.format(5), 4, 2))], kinds="nwnfnf")
tensors, layers = merge(plain("model.layers.layers.0.mixer.in_proj.weight"),
                        block("model.layers.layers.1.mixer.qkv_proj.weight", 4, 2, 2,
                              norms=["model.layers.layers.1.mixer.q_weight", "model.layers.layers.1.mixer.k_weight"]))
case("plamo2", base("plamo2", 2, 4, 2, hidden_size_per_head=2, mamba_step=2),
     tensors | {"model.layers.layers.1.mixer.q_weight": (4, 2), "model.layers.layers.1.mixer.k_weight": (2, 2)}, layers)
case("gla", {"model_type": "gla", "num_hidden_layers": 2, "hidden_size": WIDTH, "num_heads": 2, "expand_k": 0.5,
             "attn": {"layers": [1], "num_heads": 4, "num_kv_heads": 2}},
     *merge(separate("model.layers.0.attn", "linear", 2, 2, 2, positions="fixed"),
            separate("model.layers.1.attn", "full", 4, 2, 2, positions="rope_half")))
# attention of two kinds in a list; linear layers without keys
case("gated_deltanet", {"model_type": "gated_deltanet", "num_hidden_layers": 3, "hidden_size": WIDTH, "num_heads": 2,
                        "head_dim": 3, "attn": [{"layers": [1], "num_heads": 4, "num_kv_heads": 2},
                                                {"layers": [2], "num_heads": 2, "num_kv_heads": 1, "window_size": 16}]},
     *merge(separate("model.layers.0.attn", "linear", 2, 2, 3), separate("model.layers.1.attn", "full", 4, 2, 2),
            separate("model.layers.2.attn", "window", 2, 1, 4, window=16)))
case("mesa_net", {"model_type": "mesa_net", "num_hidden_layers": 2, "hidden_size": WIDTH, "num_heads": 2, "head_dim": 3,
                  "attn": {"layers": [1], "num_heads": 4, "num_kv_heads": 2}},
     *merge(separate("model.layers.0.attn", "linear", 2, 2, 3, positions="fixed"),
            separate("model.layers.1.attn", "full", 4, 2, 2, positions="rope_half")))
case("nemotron_flash", base("nemotron_flash", 4, 2, 1, kq_head_dim=4, layer_types=["deltanet", "f", "m2", "a"]),
     *merge(separate("model.layers.0.gla", "linear", 2, 2, 4, positions="fixed"),
            plain("model.layers.1.ffn.up_proj.weight"), plain("model.layers.2.mamba.in_proj.weight"),
            separate("model.layers.3.self_attn", "full", 2, 1, 4, positions="fixed")))
at = "model.layers.0.attn."
case("hgrn2", {"model_type": "hgrn2", "num_hidden_layers": 2, "hidden_size": WIDTH, "num_heads": 2,
               "attn": {"layers": [1], "num_heads": 4, "num_kv_heads": 2, "window_size": 8}},
     *merge(({at + f"{name}_proj.weight": (8, WIDTH) for name in "qfi"}, Layer("none")),
            separate("model.layers.1.attn", "window", 4, 2, 2, window=8)))
# key heads with their values and gates: q, k, two values, two gates
name = "model.layers.0.linear_attn.in_proj_qkvz.weight"
case("qwen3_next", base("qwen3_next", 1, 2, 1, layer_types=["linear_attention"], linear_num_key_heads=2,
                        linear_num_value_heads=4, linear_key_head_dim=2, linear_value_head_dim=3),
     {name: (32, WIDTH)}, [Layer("linear", Role(name, [0, 16], 2), Role(name, [2, 18], 2))])
# every head's query is followed by its gate; an extra layer behind the last one stays as it is
at = "model.language_model.layers.{}.self_attn."
tensors = {}
for i in (0, 1):
    tensors |= {at.format(i) + "q_proj.weight": (16, WIDTH), at.format(i) + "k_proj.weight": (4, WIDTH)}
case("qwen3_5_moe", {"model_type": "qwen3_5_moe", "text_config": base(
    "qwen3_5_moe_text", 1, 2, 1, head_dim=4, layer_types=["full_attention"])},
     tensors | {"mtp.layers.0.self_attn.q_proj.weight": (16, WIDTH)},
     [Layer("full", Role(at.format(0) + "q_proj.weight", [0, 8], 4), packed(at.format(0) + "k_proj.weight", 1, 4))],
     remark="layers 1 to 1 lie beyond")

at = "model.language_model.layers.{}."
name = at.format(0) + "linear_attn.in_proj_qkv.weight"
case("qwen4_exp", {"model_type": "qwen4_exp", "text_config": base(
    "qwen4_exp_text", 2, 2, 1, head_dim=4, layer_types=["linear_attention", "qwen_sparse_attention"],
    linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=2, linear_value_head_dim=2)},
     {name: (12, WIDTH), at.format(1) + "self_attn.q_proj.weight": (16, WIDTH),
      at.format(1) + "self_attn.k_proj.weight": (4, WIDTH)},
     [Layer("linear", packed(name, 2, 2), packed(name, 2, 2, 4), positions="fixed"),
      Layer("full", Role(at.format(1) + "self_attn.q_proj.weight", [0, 8], 4),
            packed(at.format(1) + "self_attn.k_proj.weight", 1, 4))])

# --- as transformers 5 saves models again

# what a layer sets itself replaces what the model sets; the number may begin with zeros
case("gemma4_v5", base("gemma4_text", 2, 2, 1, head_dim=4, layer_types=["sliding_attention", "full_attention"],
                       sliding_window=16, per_layer_config={"01": {"head_dim": 6, "num_key_value_heads": 2}}),
     *merge(separate("model.layers.0.self_attn", "window", 2, 1, 4, positions="rope_half", window=16),
            separate("model.layers.1.self_attn", "full", 2, 2, 6, positions="rope_half")))
case("step3p7_v5", base("step3p7", 2, 2, 1, head_dim=4, layer_types=["full_attention", "sliding_attention"],
                        sliding_window=16, per_layer_config={"1": {"num_attention_heads": 3}}),
     *merge(separate("model.layers.0.self_attn", "full", 2, 1, 4, positions="rope_half"),
            separate("model.layers.1.self_attn", "window", 3, 1, 4, positions="rope_half", window=16)))
# the width of a part of a head may be odd: its last pair borrows a row
case("mimo_v2_v5", base("mimo_v2_flash", 2, 2, 1, head_dim=8, layer_types=["full_attention", "sliding_attention"],
                        sliding_window=16, rope_parameters={
                            "full_attention": {"rope_theta": 5e6, "partial_rotary_factor": 0.4},
                            "sliding_attention": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}),
     *merge(separate("model.layers.0.self_attn", "full", 2, 1, 8, positions="rope_half", rotary_dims=4, rope_theta=5e6),
            separate("model.layers.1.self_attn", "window", 2, 1, 8, positions="rope_half", rotary_dims=4, window=16)))
case("laguna", base("laguna", 2, 2, 1, head_dim=4, layer_types=["full_attention", "sliding_attention"], sliding_window=16,
                    num_attention_heads_per_layer=[2, 3], rope_parameters={
                        "full_attention": {"rope_theta": 5e5, "partial_rotary_factor": 0.5},
                        "sliding_attention": {"rope_theta": 1e4}}),
     *merge(separate("model.layers.0.self_attn", "full", 2, 1, 4, positions="rope_half", rotary_dims=2, rope_theta=5e5),
            separate("model.layers.1.self_attn", "window", 3, 1, 4, positions="rope_half", window=16)))
for model in ("hy_v3", "exaone_moe", "glm4v_moe_text", "arcee"):
    case(model, base(model, 1, 2, 1, head_dim=4),
         *merge(separate("model.layers.0.self_attn", "full", 2, 1, 4, positions="rope_half")))

# --- latent attention: 2 heads of 3 rows and 2 that rotate, values of 4, keys and values from a latent of 5


def latent(at, q_rank=6, rotating=2, positions="rope_inter"):
    q, q_a, q_norm = f"{at}.q_b_proj.weight", f"{at}.q_a_proj.weight", f"{at}.q_a_layernorm.weight"
    k, k_a, k_norm = f"{at}.kv_b_proj.weight", f"{at}.kv_a_proj_with_mqa.weight", f"{at}.kv_a_layernorm.weight"
    rows = 3 + rotating
    tensors = {k: (14, 5), k_a: (5 + rotating, WIDTH), k_norm: (5,)}
    if q_rank is None:
        q = f"{at}.q_proj.weight"
        tensors[q] = (2 * rows, WIDTH)
        queries = packed(q, 2, rows)
    else:
        tensors |= {q: (2 * rows, q_rank), q_a: (q_rank, WIDTH), q_norm: (q_rank,)}
        queries = Latent(q, [0, rows], rows, q_a, q_norm, q_rank, 0, True)
    return tensors, Layer("full", queries, Latent(k, [0, 7], 3, k_a, k_norm, 5, rotating, False),
                          positions=positions, rotary_dims=rotating if positions.startswith("rope") else 0, head_dim=rows)


HEADS = dict(qk_nope_head_dim=3, qk_rope_head_dim=2, v_head_dim=4, kv_lora_rank=5)
NOTE = "keys and values have one latent"
for model in ("deepseek_v3", "glm4_moe_lite", "kimi_k2"):
    case(model + "_made", base(model, 1, 2, 2, q_lora_rank=6, **HEADS), *merge(latent("model.layers.0.self_attn")),
         remark=NOTE, latent=True)
case("deepseek_v2", base("deepseek_v2", 1, 2, 2, q_lora_rank=None, **HEADS),
     *merge(latent("model.layers.0.self_attn", None)), remark=NOTE, latent=True)
case("minicpm3", base("minicpm3", 1, 2, 2, **{k: v for k, v in HEADS.items() if k != "v_head_dim"}),
     *merge(latent("model.layers.0.self_attn", positions="rope_half")), remark=NOTE)
# a model type that no row names
case("unknown_latent", base("unheard_of", 1, 2, 2, q_lora_rank=6, **HEADS),
     *merge(latent("model.layers.0.self_attn", positions="fixed")), remark=NOTE)
tensors, layers = merge(latent("model.layers.0.self_attn"))
case("deepseek_v32", base("deepseek_v32", 1, 2, 2, **HEADS),
     tensors | {f"model.layers.0.self_attn.indexer.{n}.weight": (4, WIDTH) for n in ("wq_b", "wk")}, layers,
     remark="2 tensors look like q or k but belong to no layer: model.layers.0.self_attn.indexer.w")
case("kimi_linear",
     base("kimi_linear", 2, 2, 2, q_lora_rank=None, head_dim=72,
          linear_attn_config={"full_attn_layers": [2], "kda_layers": [1], "num_heads": 3, "head_dim": 2}, **HEADS),
     *merge(separate("model.layers.0.self_attn", "linear", 3, 3, 2, positions="fixed"),
            latent("model.layers.1.self_attn", None, positions="none")), remark=NOTE)
# as transformers 5 saves it again
case("kimi_linear_v5",
     base("kimi_linear", 2, 2, 2, q_lora_rank=None, layer_types=["linear_attention", "full_attention"], linear_num_heads=3,
          linear_head_dim=2, **HEADS),
     *merge(separate("model.layers.0.self_attn", "linear", 3, 3, 2, positions="fixed"),
            latent("model.layers.1.self_attn", None, positions="none")), remark=NOTE)
# no row of a latent head rotates
at = "model.language_model.layers.{}.self_attn"
case("glm5_next", {"model_type": "glm5_next", "text_config": base(
    "glm5_next_text", 2, 2, q_lora_rank=6, layer_types=["linear_attention", "deepseek_sparse_attention"],
    linear_attn_config={"num_heads": 3, "head_dim": 2}, **HEADS | {"qk_rope_head_dim": 0})},
     *merge(separate(at.format(0), "linear", 3, 3, 2, positions="fixed"), latent(at.format(1), rotating=0, positions="none")), remark=NOTE)
# one model type, two classes: linear layers of one tensor with positions, or of three with convolutions
case("bailing_hybrid",
     base("bailing_hybrid", 3, 2, 2, head_dim=4, layer_group_size=2, **HEADS),
     *merge(block("model.layers.0.attention.query_key_value.weight", 2, 2, 4, "linear", positions="rope_half"),
            latent("model.layers.1.attention"), latent("model.layers.2.attention")), remark=NOTE)
case("bailing_hybrid_convolved",
     base("bailing_hybrid", 2, 2, 2, head_dim=4, layer_group_size=2, short_conv_kernel_size=4, q_lora_rank=None, **HEADS),
     *merge(separate("model.layers.0.attention", "linear", 2, 2, 4, positions="fixed"),
            latent("model.layers.1.attention", None)), remark=NOTE)
case("bailing2_5",
     base("bailing2_5_moe", 2, 2, 2, head_dim=4, layer_group_size=2, **HEADS),
     *merge(block("model.layers.0.attention.query_key_value.weight", 2, 2, 4, "linear"),
            latent("model.layers.1.attention")), remark=NOTE)

# a checkpoint that other software wrote: 4 heads of 16 rows and 8 that rotate, values of 16
at = "model.layers.{}.self_attn."
case("deepseek_v3", None, None, [Layer(
    "full",
    Latent(at.format(i) + "q_b_proj.weight", [0, 24, 48, 72], 24, at.format(i) + "q_a_proj.weight",
           at.format(i) + "q_a_layernorm.weight", 24, 0, True),
    Latent(at.format(i) + "kv_b_proj.weight", [0, 32, 64, 96], 16, at.format(i) + "kv_a_proj_with_mqa.weight",
           at.format(i) + "kv_a_layernorm.weight", 16, 8, False)) for i in range(4)])

# --- 8 bits and scales of blocks


def in_8_bits(tensors, *names, heights=None):
    """Adds the scales of these tensors; heights: of the parts of a tensor that is split."""
    scales = {}
    for name in names:
        rows, columns = tensors[name]
        height = (heights or {}).get(name, rows)
        scales[name + "_scale_inv"] = (rows // height * -(-height // BLOCK), -(-columns // BLOCK))
    return tensors | scales


QUANTIZED = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK]}}
at = "model.layers.0.self_attn."
tensors, layers = merge(separate(at[:-1], "full", 3, 1, 2))
case("fp8", base("minimax_m2", 1, 3, 1, head_dim=2, **QUANTIZED),
     in_8_bits(tensors, at + "q_proj.weight", at + "k_proj.weight", at + "v_proj.weight"), layers)
# the heads of the fused tensor end where blocks do
name = at + "qkv_proj.weight"
tensors, layers = merge(block(name, 2, 1, 4))
case("fp8_fused", base("phi3", 1, 2, 1, **QUANTIZED), in_8_bits(tensors, name), layers)
tensors, layers = merge(block(name, 3, 1, 2))
case("fp8_across", base("phi3", 1, 3, 1, head_dim=2, **QUANTIZED), in_8_bits(tensors, name),
     layers, refused="hold rows of its heads and others")
# keys of 4 rows and values of 4 a head, a latent of 8 and 2 rows that rotate
q, k = (Latent(at + "q_b_proj.weight", [0, 6], 6, at + "q_a_proj.weight", at + "q_a_layernorm.weight", 6, 0, True),
        Latent(at + "kv_b_proj.weight", [0, 8], 4, at + "kv_a_proj_with_mqa.weight", at + "kv_a_layernorm.weight", 8, 2,
               False))
case("fp8_latent", base("deepseek_v3", 1, 2, 2, qk_nope_head_dim=4, qk_rope_head_dim=2, v_head_dim=4, **QUANTIZED),
     in_8_bits({q.tensor: (12, 6), q.down: (6, WIDTH), q.gain: (6,), k.tensor: (16, 8), k.down: (10, WIDTH), k.gain: (8,)},
               q.tensor, q.down, k.tensor, k.down), [Layer("full", q, k)], latent=True)



# --- q, k and v in one tensor, once or in each of the parts that a model was split into


def in_parts(name, parts, heads, key_heads, rows, value_rows, **facts):
    """[q; k; v] in each part. A whole tensor is one part."""
    q, k = heads // parts * rows, key_heads // parts * rows
    each = q + k + key_heads // parts * value_rows
    return ({name: (parts * each, WIDTH)},
            Layer(facts.pop("kind", "full"),
                  Role(name, [h // (heads // parts) * each + h % (heads // parts) * rows for h in range(heads)], rows),
                  Role(name, [h // (key_heads // parts) * each + q + h % (key_heads // parts) * rows
                              for h in range(key_heads)], rows), **facts))


def mimo(parts, heads, key_heads, rows, value_rows, scaled_as=None, **keys):
    """A full layer, and one of a window with twice the key heads, whose scales fit both orders."""
    names = [f"model.layers.{i}.self_attn.qkv_proj.weight" for i in range(2)]
    tensors, layers = merge(in_parts(names[0], parts, heads, key_heads, rows, value_rows),
                            in_parts(names[1], parts, heads, 2 * key_heads, rows, value_rows, kind="window", window=16))
    heights = {name: tensors[name][0] // (scaled_as or parts) for name in names}
    return (base("mimo_v2", 2, heads, key_heads, head_dim=rows, v_head_dim=value_rows, sliding_window=16,
                 swa_num_attention_heads=heads, swa_num_key_value_heads=2 * key_heads, swa_head_dim=rows,
                 swa_v_head_dim=value_rows, hybrid_layer_pattern=[0, 1], attention_projection_layout="fused_qkv",
                 **QUANTIZED, **keys),
            in_8_bits(tensors, *names, heights=heights), layers, heights)


def mimo_case(name, made, **more):
    case(name, *made[:3], heights=made[3], **more)


mimo_case("mimo_v2_parts", mimo(2, 4, 2, 4, 2))  # parts of 14 rows: 8 rows of scales for 28
mimo_case("mimo_v2_whole", mimo(1, 4, 2, 4, 2))  # 7 rows
mimo_case("mimo_v2_across", mimo(2, 4, 2, 6, 4), refused="hold rows of its heads and others")  # blocks hold keys and values
config, tensors, layers, heights = mimo(2, 4, 2, 4, 2)
case("mimo_v2_unscaled", config, {name: shape for name, shape in tensors.items() if "scale" not in name}, layers,
     unknown=True)
# keys of their own, whose scales begin anew in each part: 4 rows of them for 12
tensors, layers = merge(separate(at[:-1], "full", 4, 2, 6))
name = at + "k_proj.weight"
case("mimo_v2_flash_parts", base("mimo_v2_flash", 1, 4, 2, head_dim=6, hybrid_layer_pattern=[0], **QUANTIZED),
     in_8_bits(tensors, at + "q_proj.weight", name, heights={name: 6}), layers, heights={name: 6})

# --- checkpoints without a row in the table

case("unknown", base("never_heard_of", 1, 2, 1), *merge(separate("model.layers.0.self_attn", "full", 2, 1, 4)))
# layer_types says which layers have a window or none; a word that nobody knows is taken for full attention
case("unknown_kinds",
     base("never_heard_of", 4, 2, 1, sliding_window=16,
          layer_types=["sliding_attention", "linear_attention", "word_of_tomorrow", "mamba"]),
     *merge(separate("model.layers.0.self_attn", "window", 2, 1, 4, window=16),
            separate("model.layers.1.linear_attn", "linear", 2, 1, 4), separate("model.layers.2.self_attn", "full", 2, 1, 4),
            plain("model.layers.3.mixer.in_proj.weight")))


# --- making

def values_of(stream, shape):
    if len(shape) == 1:
        return [stream.uniform(0.5, 1.5) for _ in range(shape[0])]
    return [[stream.uniform(-1, 1) for _ in range(shape[1])] for _ in range(shape[0])]


def flat(values):
    return values if not isinstance(values[0], list) else [x for row in values for x in row]


def moved(stream, values):
    """Distinct values, so that a test recognises every range of bytes."""
    if isinstance(values[0], list):
        return [moved(stream, row) for row in values]
    return [x + stream.uniform(0.01, 0.2) for x in values]


def other_8_bits(stream, values):
    """Bytes of E4M3 between 1/16 and 8 in size, in the shape of `values` and none the same."""
    choices = [x for x in FLOAT8 if 1 / 16 <= abs(x) <= 8]
    return [[stream.choice([x for x in choices if x != old]) for old in row] for row in values]


def write(path, tensors, config):
    os.makedirs(path)
    header, data = {}, b""
    for name, values in tensors.items():
        shape = [len(values)] + ([len(values[0])] if isinstance(values[0], list) else [])
        small = name + "_scale_inv" in tensors
        raw = bytes(FLOAT8[x] for x in flat(values)) if small else struct.pack(f"<{len(flat(values))}f", *flat(values))
        header[name] = {"dtype": "F8_E4M3" if small else "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    with open(os.path.join(path, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    with open(os.path.join(path, "config.json"), "w") as file:
        json.dump(config, file)


def read(path):
    with open(os.path.join(path, "model.safetensors"), "rb") as file:
        (n,) = struct.unpack("<Q", file.read(8))
        text = file.read(n)
        data = file.read()
    tensors = {}
    for name, tensor in json.loads(text).items():
        if name == "__metadata__":
            continue
        raw = data[slice(*tensor["data_offsets"])]
        if tensor["dtype"] == "BF16":  # the upper half of a float32
            raw = b"".join(b"\0\0" + raw[i:i + 2] for i in range(0, len(raw), 2))
        if tensor["dtype"] == "F8_E4M3":
            values = list(map(float8, raw))
        else:
            values = list(struct.unpack(f"<{len(raw) // 4}f", raw))
        if len(tensor["shape"]) == 2:
            width = tensor["shape"][1]
            values = [values[i:i + width] for i in range(0, len(values), width)]
        tensors[name] = values
    return text, tensors


def make(folder):
    for number, (name, made) in enumerate((name, made) for name, made in CASES.items() if made["tensors"] is not None):
        stream = random.Random(number)
        shapes = {"model.embed_tokens.weight": (4, WIDTH)} | made["tensors"]
        pre = {tensor: values_of(stream, shape) for tensor, shape in shapes.items()}
        for tensor in pre:
            if tensor + "_scale_inv" in pre:
                pre[tensor] = other_8_bits(stream, pre[tensor])
        post = {tensor: (other_8_bits if tensor + "_scale_inv" in pre else moved)(stream, values)
                for tensor, values in pre.items()}
        for side, tensors in (("pre", pre), ("post", post)):
            write(os.path.join(folder, name, side), tensors, made["config"])
        print(name, "latent" if "latent" in made else "refused" if "refused" in made else
              "unknown" if "unknown" in made else "")


# --- comparing

faults = []


def expect(what, found, expected):
    if found != expected:
        faults.append(f"{what}: found {found}, expected {expected}")


def near(what, found, expected):
    if found is None or not abs(found - expected) <= 1e-5 * abs(expected):
        faults.append(f"{what}: found {found}, expected {expected}")


def dot(a, b):
    return math.fsum(x * y for row, other in zip(a, b) for x, y in zip(row, other))


def difference(a, b):
    return [[y - x for x, y in zip(row, other)] for row, other in zip(a, b)]


def check_role(what, found, pre, post):
    aa, bb, ab = dot(pre, pre), dot(post, post), dot(pre, post)
    moved = difference(pre, post)
    near(what + ".rel_fro", found["rel_fro"], math.sqrt(dot(moved, moved) / aa))
    near(what + ".cosine", found["cosine"], ab / math.sqrt(aa * bb))
    near(what + ".norm_ratio", found["norm_ratio"], math.sqrt(bb / aa))


def routing(q, k):
    """q's and k's rows to the (d, d) matrix of what attention sees."""
    return [[math.fsum(a[i] * b[j] for a, b in zip(q, k)) for j in range(len(k[0]))] for i in range(len(q[0]))]


def check_info(name, found):
    made = CASES[name]
    expect("guessed", found["guessed"], name.startswith("unknown"))
    for layer, entry in zip(made["layers"], found["layers"], strict=True):
        what = f"layer {entry['index']}"
        expect(what, entry["kind"], layer.kind)
        if layer.problem is not None:
            expect(what + " problem", layer.problem in entry.get("problem", ""), True)
        if layer.q is None:
            continue
        keys = len(layer.k.starts) if layer.k is not None else 0
        expect(what + " heads", (entry["query_heads"], entry["key_heads"]), (len(layer.q.starts), keys))
        expect(what + " without k", "keys are those of an earlier layer" in entry.get("no_k", ""), layer.k is None)
        for key, value in layer.facts.items():
            if key == "norms":
                expect(what + " norms", [entry[r].get("norm") for r in "qk"], value)
            elif key == "biases":
                expect(what + " biases", [entry[r].get("bias") for r in "qk"], value * 2)
            else:
                expect(what + " " + key, entry[key], value)
    if "remark" in made:
        expect("remark", any(made["remark"] in line for line in found["remarks"]), True)


def check_drift(name, folder, found):
    pre, post = (read(os.path.join(folder, name, side))[1] for side in ("pre", "post"))
    for layer, entry in zip(CASES[name]["layers"], found["layers"], strict=True):
        what = f"layer {entry['index']}"
        expect(what, entry["kind"], layer.kind)
        if layer.q is None:
            expect(what + " has q", "q" in entry, False)
            continue
        views = {}
        for r, role in (("q", layer.q), ("k", layer.k)):
            if role is None:
                expect(what + " without k", (entry[r]["rel_fro"], entry[r]["heads"], entry["routing"]["rel_fro"]), (None, [], None))
                continue
            a, b = ([role.view(side, h) for h in range(len(role.starts))] for side in (pre, post))
            views[r] = a, b
            check_role(f"{what} {r}", entry[r], sum(a, []), sum(b, []))
            for h, head in enumerate(entry[r]["heads"]):
                check_role(f"{what} {r}{h}", head, a[h], b[h])
        if layer.k is None:
            continue
        share = len(layer.q.starts) // len(layer.k.starts)
        for h, head in enumerate(entry["routing"]["heads"]):
            a, b = (routing(views["q"][s][h], views["k"][s][h // share]) for s in (0, 1))
            moved = difference(a, b)
            near(f"{what} routing {h}", head["rel_fro"], math.sqrt(dot(moved, moved) / dot(a, a)))


def check_rows(name, folder, out, owned):
    """The rows in `owned` are pre's, and all others are post's."""
    (_, pre), (before, post) = (read(os.path.join(folder, name, side)) for side in ("pre", "post"))
    header, written = read(out)
    expect("header", header, before)
    for tensor, i, _ in list(owned):
        if tensor + "_scale_inv" in post:
            owned.add((tensor + "_scale_inv", scale_row(tensor, i), False))
    expect("something is restored", bool(owned), True)
    for tensor, values in post.items():
        columns = any(t == tensor and by_column for t, _, by_column in owned)
        for i, row in enumerate(values):
            if columns:
                wanted = [pre[tensor][i][j] if (tensor, j, True) in owned else x for j, x in enumerate(row)]
            else:
                restored = (tensor, i, False) in owned or (tensor, None, False) in owned
                wanted = pre[tensor][i] if restored else row
            expect(f"{tensor} row {i} restored right", written[tensor][i] == wanted, True)


def check_export(name, folder, out, with_latent):
    owned = set()
    for layer in CASES[name]["layers"]:
        for role in (layer.q, layer.k):
            if isinstance(role, Latent) and with_latent:
                role.own_latent = True
            owned.update(role.owned() if role is not None else ())
        for tensor in layer.facts.get("biases", ()):  # in the order of the rows
            owned.update((tensor, i, False) for _, i, _ in set(layer.q.owned()) | set(layer.k.owned()))
    check_rows(name, folder, out, owned)


def check_heads(name, folder, out, roles):
    owned = set()
    for layer in CASES[name]["layers"]:
        chosen = [getattr(layer, role) for role in roles if getattr(layer, role) is not None]
        for role in chosen:
            owned.update(role.first())
        for tensor in layer.facts.get("biases", ()):
            owned.update((tensor, i, False) for role in chosen for _, i, _ in role.first())
    check_rows(name, folder, out, owned)


def fuse(source, target, parts):
    _, tensors = read(source)
    with open(os.path.join(source, "config.json"), encoding="utf-8") as file:
        config = json.load(file) | {"attention_projection_layout": "fused_qkv", "swa_num_key_value_heads": 4}
    for at in {name.rsplit(".", 2)[0] for name in tensors if name.endswith("q_proj.weight")}:
        roles = [tensors.pop(f"{at}.{role}_proj.weight") for role in "qkv"]
        tensors[f"{at}.qkv_proj.weight"] = [row for i in range(parts) for rows in roles
                                            for row in rows[len(rows) * i // parts:len(rows) * (i + 1) // parts]]
    write(target, tensors, config)


def same(what, a, b):
    if isinstance(a, (dict, list)):
        expect(what, len(a), len(b))
        for key in a if isinstance(a, dict) else range(len(a)):
            same(f"{what}.{key}", a[key], b[key])
    elif isinstance(a, float):
        near(what, a, b)
    elif "path" not in what:
        expect(what, a, b)


def answer(command, name, *rest):
    HEIGHTS.clear()
    HEIGHTS.update(CASES[name].get("heights", {}) if command != "make" else {})
    if command == "make":
        make(name)
    elif command == "info":
        with open(rest[0], encoding="utf-8") as file:
            check_info(name, json.load(file))
    elif command == "drift":
        with open(rest[1], encoding="utf-8") as file:
            check_drift(name, rest[0], json.load(file))
    elif command == "fuse":
        fuse(rest[0], rest[1], int(rest[2]))
    elif command == "same":
        same("", *(json.load(open(path, encoding="utf-8")) for path in rest))
    elif command == "heads":
        check_heads(name, *rest[:2], rest[2] if len(rest) > 2 else "qk")
    else:
        check_export(name, *rest[:2], len(rest) > 2)


def serve():
    """For each line of words what they ask for, then a line "code N"; it is started once, not a hundred times."""
    for line in sys.stdin:
        faults.clear()
        try:
            answer(*line.split())
        except (AssertionError, KeyError, OSError, TypeError, ValueError) as error:
            faults.append(repr(error))
        print("\n".join([*faults, f"code {int(bool(faults))}"]), flush=True)


def main():
    if sys.argv[1] == "serve":
        return serve()
    answer(*sys.argv[1:])
    if faults:
        print("\n".join(faults))
    sys.exit(bool(faults))


main()
