#!/usr/bin/env python3
"""reference.py - passes of families in numpy (float64), by the published definitions of their layers, token by token.

    reference.py make NAME FOLDER       a small random model of the family and its golden (tests/unit/golden.h)
    reference.py compare NAME FOLDER    the reference beside the golden that other software left in the folder

It made the folders tests/data/softmax/NAME of the families in FAMILIES. zamba2 was compared with a golden by
transformers 5.17 (largest error 1e-5 of the largest entry).
"""
import json
import os
import struct
import sys
import zlib

import numpy as np

TYPES = {"F32": np.dtype("<f4"), "I32": np.dtype("<i4"), "I64": np.dtype("<i8")}
VOCABULARY, TOKENS = 64, 24


# --- files

def read(path):
    with open(path, "rb") as file:
        (n,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(n)), file.read()
    out = {}
    for name, t in header.items():
        if name == "__metadata__":
            continue
        raw = data[slice(*t["data_offsets"])]
        if t["dtype"] == "BF16":
            bits = np.frombuffer(raw, "<u2").astype("<u4") << 16
            values = bits.view("<f4").astype(np.float64)
        else:
            values = np.frombuffer(raw, TYPES[t["dtype"]])
            values = values if t["dtype"][0] == "I" else values.astype(np.float64)
        out[name] = values.reshape(t["shape"])
    return out


def write(path, tensors):
    """tensors: name -> (dtype, array); BF16 arrays hold values that it can hold."""
    header, data = {}, b""
    for name, (dtype, array) in tensors.items():
        if dtype == "BF16":
            raw = (array.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        else:
            raw = array.astype(TYPES[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def bfloat16(x):
    bits = np.ascontiguousarray(x, "<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view("<f4").astype(np.float64)


# --- parts of layers

def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def gelu(x):
    from math import erf
    return x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2)))


def softplus(x):
    return np.logaddexp(0, x)


def rms(x, gain=1.0, eps=1e-5):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * gain


def l2(x, eps=1e-6):
    return x / np.sqrt((x * x).sum(-1, keepdims=True) + eps)


def heads(x, n):
    return x.reshape(len(x), n, -1)


def frequencies(dims, theta):
    """As in float32 software."""
    return (1 / theta ** (np.arange(0, dims, 2) / dims)).astype(np.float32).astype(np.float64)


def turn(x, f, interleaved=False):
    """Rotates the first 2 len(f) values of each head of x (T, n, head_dim)."""
    angle = (np.arange(len(x), dtype=np.float32)[:, None] * f.astype(np.float32)).astype(np.float64)[:, None]
    cos, sin, n = np.cos(angle), np.sin(angle), len(f)
    out = x.copy()
    a, b = (x[..., 0:2 * n:2], x[..., 1:2 * n:2]) if interleaved else (x[..., :n], x[..., n:2 * n])
    first, second = a * cos - b * sin, b * cos + a * sin
    if interleaved:
        out[..., 0:2 * n:2], out[..., 1:2 * n:2] = first, second
    else:
        out[..., :n], out[..., n:2 * n] = first, second
    return out


def attend(q, k, v, scale, sees=lambda t, s: s <= t):
    """q (T, n, hd), k and v (T, m, hd): the output (T, n * hd of v) and the maps (n, T, T)."""
    T, n, group = len(q), q.shape[1], q.shape[1] // k.shape[1]
    mask = np.array([[sees(t, s) for s in range(T)] for t in range(T)])
    maps, out = np.zeros((n, T, T)), np.zeros((T, n, v.shape[2]))
    for h in range(n):
        score = np.where(mask, q[:, h] @ k[:, h // group].T * scale, -np.inf)
        p = np.exp(score - score.max(1, keepdims=True))
        maps[h] = p / p.sum(1, keepdims=True)
        out[:, h] = maps[h] @ v[:, h // group]
    return out.reshape(T, -1), maps


def convolve(x, kernel, bias=0.0):
    """Depthwise and causal: x (T, channels), kernel (channels, 1, width)."""
    width = kernel.shape[-1]
    before = np.concatenate([np.zeros((width - 1, x.shape[1])), x])
    return sum(before[i:i + len(x)] * kernel[:, 0, i] for i in range(width)) + bias


def mamba2(c, w, x):
    """The mixer of Mamba2 (Dao & Gu 2024); w reads its tensors by their names."""
    n, hd, groups, state = c["n_mamba_heads"], c["mamba_headdim"], c["mamba_ngroups"], c["mamba_d_state"]
    inner, T = n * hd, len(x)
    z, xbc, dt = np.split(x @ w("in_proj.weight").T, [inner, 2 * inner + 2 * groups * state], 1)
    xbc = silu(convolve(xbc, w("conv1d.weight"), w("conv1d.bias")))
    parts = np.split(xbc, [inner, inner + groups * state], 1)
    v, B, C = (heads(part, m) for part, m in zip(parts, (n, groups, groups)))
    dt, a = softplus(dt + w("dt_bias")), -np.exp(w("A_log"))
    S, y = np.zeros((n, state, hd)), np.zeros((T, n, hd))
    for t in range(T):
        for h in range(n):
            g = h // (n // groups)
            S[h] = np.exp(dt[t, h] * a[h]) * S[h] + dt[t, h] * np.outer(B[t, g], v[t, h])
            y[t, h] = S[h].T @ C[t, g] + w("D")[h] * v[t, h]
    y = rms(heads(y.reshape(T, inner) * silu(z), groups)).reshape(T, inner) * w("norm.weight")
    return y @ w("out_proj.weight").T


def yarn(dims, rope):
    """Frequencies that grow with the context (Peng et al. 2023), with whole ends of the ramp."""
    theta, length = rope["rope_theta"], rope["original_max_position_embeddings"]

    def pair(turns):
        return dims * np.log(length / (turns * 2 * np.pi)) / (2 * np.log(theta))

    low, high = max(np.floor(pair(rope["beta_fast"])), 0), min(np.ceil(pair(rope["beta_slow"])), dims - 1)
    ramp = np.clip((np.arange(dims // 2) - low) / max(high - low, 0.001), 0, 1)
    f = theta ** (-np.arange(0, dims, 2) / dims)
    return (f / rope["factor"] * ramp + f * (1 - ramp)).astype(np.float32)


def mlp(w, x, gate="gate_proj", up="up_proj", down="down_proj", f=silu):
    return f(x @ w(gate + ".weight").T) * (x @ w(up + ".weight").T) @ w(down + ".weight").T


def latent(c, w, x, f, scale, interleaved, grow=None, o="o_proj"):
    """Multi-head latent attention (DeepSeek-AI 2024); grow (T) multiplies the queries."""
    n, still, turned, rank = (c[k] for k in ("num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim",
                                             "kv_lora_rank"))
    q = heads(rms(x @ w("q_a_proj.weight").T, w("q_a_layernorm.weight"), 1e-6) @ w("q_b_proj.weight").T, n)
    low = x @ w("kv_a_proj_with_mqa.weight").T
    kv = heads(rms(low[:, :rank], w("kv_a_layernorm.weight"), 1e-6) @ w("kv_b_proj.weight").T, n)
    k_turned = np.repeat(turn(low[:, None, rank:], f, interleaved), n, 1)
    q = np.concatenate([q[..., :still], turn(q[..., still:], f, interleaved)], 2)
    q = q if grow is None else q * grow[:, None, None]
    out, maps = attend(q, np.concatenate([kv[..., :still], k_turned], 2), kv[..., still:], scale)
    return out @ w(o + ".weight").T, maps


def mixture(x, expert, best, weights):
    """sum of weights[t] * expert(e, x[t]) over the best experts of each token."""
    out = np.zeros_like(x)
    for t in range(len(x)):
        for e, g in zip(best[t], weights[t]):
            out[t] += g * expert(e, x[t:t + 1])[0]
    return out


def delta(q, k, v, g, beta):
    """The gated delta rule (Yang et al. 2024): q, k (T, n, dk), v (T, m, dv), g (T, m) or (T, m, dk), beta (T, m)."""
    T, m, each = len(q), v.shape[1], v.shape[1] // q.shape[1]
    q, k = l2(q) * q.shape[2] ** -0.5, l2(k)
    S, out = np.zeros((m, q.shape[2], v.shape[2])), np.zeros(v.shape)
    for t in range(T):
        for h in range(m):
            key = k[t, h // each]
            S[h] = np.exp(g[t, h] if g.ndim == 2 else g[t, h][:, None]) * S[h]
            S[h] += np.outer(key, beta[t, h] * (v[t, h] - S[h].T @ key))
            out[t, h] = S[h].T @ q[t, h // each]
    return out


class Pass:
    """What a family's function fills: the input of each layer, its map, and the logits."""

    def __init__(self, config, tensors, ids):
        self.config, self.tensors, self.ids = config, tensors, ids
        self.states, self.maps, self.logits = [], {}, None

    def below(self, prefix):
        return lambda name: self.tensors[prefix + name]

    def finish(self, x):
        self.states.append(x)
        head = "lm_head.weight" if "lm_head.weight" in self.tensors else "model.embed_tokens.weight"
        self.logits = x @ self.tensors[head].T


# --- families

def zamba2(p):
    """Zamba2 (Glorioso et al. 2024): Mamba2 layers, some behind a shared block that sees the embedded tokens, too."""
    c, x = p.config, p.tensors["model.embed_tokens.weight"][p.ids]
    embedded, first, n = x, {}, c["num_attention_heads"]
    f = frequencies(c["attention_head_dim"], c["rope_parameters"]["rope_theta"])
    for i, kind in enumerate(c["layers_block_type"]):
        p.states.append(x)
        own, y = p.below(f"model.layers.{i}."), x
        if kind == "hybrid":
            use = len(p.maps)
            home = first.setdefault(use % c["num_mem_blocks"], i)
            block = p.below(f"model.layers.{home}.shared_transformer.")

            def project(name, adapter, u):
                low, high = (block(f"{adapter}_adapter_list.{use}.{j}.weight") for j in (0, 1))
                return u @ block(name + ".weight").T + u @ low.T @ high.T

            u = rms(np.concatenate([x, embedded], 1), block("input_layernorm.weight"), c["rms_norm_eps"])
            q, k, v = (heads(project(f"self_attn.{r}_proj", f"self_attn.linear_{r}", u), n) for r in "qkv")
            q, k = turn(q, f), turn(k, f)
            u, p.maps[i] = attend(q, k, v, (c["attention_head_dim"] / 2) ** -0.5)
            u = rms(u @ block("self_attn.o_proj.weight").T, block("pre_ff_layernorm.weight"), c["rms_norm_eps"])
            gate, up = np.split(project("feed_forward.gate_up_proj", "feed_forward.gate_up_proj", u), 2, 1)
            y = x + gelu(gate) * up @ block("feed_forward.down_proj.weight").T @ own("linear.weight").T
            own = p.below(f"model.layers.{i}.mamba_decoder.")
        x = x + mamba2(c, lambda name: own("mamba." + name), rms(y, own("input_layernorm.weight"), c["rms_norm_eps"]))
    p.finish(rms(x, p.tensors["model.final_layernorm.weight"], c["rms_norm_eps"]))


def zamba2_model():
    d, inner, heads_, state, low, mlp = 16, 32, 4, 8, 4, 24
    kinds = ["mamba", "hybrid", "hybrid", "mamba", "hybrid"]
    config = {"model_type": "zamba2", "hidden_size": d, "num_hidden_layers": len(kinds), "layers_block_type": kinds,
              "hybrid_layer_ids": [1, 2, 4], "num_mem_blocks": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
              "attention_head_dim": 16, "attention_hidden_size": 2 * d, "adapter_rank": low, "hidden_act": "gelu",
              "intermediate_size": mlp, "n_mamba_heads": heads_, "mamba_headdim": 8, "mamba_ngroups": 2,
              "mamba_d_state": state, "mamba_d_conv": 4, "mamba_expand": 2, "rms_norm_eps": 1e-5,
              "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "use_mem_rope": True,
              "use_shared_attention_adapter": True, "use_shared_mlp_adapter": True, "use_long_context": False,
              "max_position_embeddings": 512, "tie_word_embeddings": True, "vocab_size": VOCABULARY}
    shapes = {"model.embed_tokens.weight": (VOCABULARY, d), "model.final_layernorm.weight": (d,)}
    conv, use = inner + 2 * 2 * state, 0
    for i, kind in enumerate(kinds):
        at = f"model.layers.{i}."
        if kind == "hybrid":
            shapes[at + "linear.weight"] = (d, d)
            block = {"input_layernorm.weight": (2 * d,), "pre_ff_layernorm.weight": (d,),
                     "feed_forward.gate_up_proj.weight": (2 * mlp, d), "feed_forward.down_proj.weight": (d, mlp)}
            block |= {f"self_attn.{r}_proj.weight": (2 * d, 2 * d) for r in "qkv"}
            block["self_attn.o_proj.weight"] = (d, 2 * d)
            for j in range(3):
                if j % 2 == use:
                    for r in "qkv":
                        block[f"self_attn.linear_{r}_adapter_list.{j}.0.weight"] = (low, 2 * d)
                        block[f"self_attn.linear_{r}_adapter_list.{j}.1.weight"] = (2 * d, low)
                    block[f"feed_forward.gate_up_proj_adapter_list.{j}.0.weight"] = (low, d)
                    block[f"feed_forward.gate_up_proj_adapter_list.{j}.1.weight"] = (2 * mlp, low)
            if use < 2:
                shapes |= {at + "shared_transformer." + name: shape for name, shape in block.items()}
            use, at = use + 1, at + "mamba_decoder."
        shapes |= {at + "input_layernorm.weight": (d,)}
        shapes |= {at + "mamba." + name: shape for name, shape in {
            "in_proj.weight": (inner + conv + heads_, d), "conv1d.weight": (conv, 1, 4), "conv1d.bias": (conv,),
            "dt_bias": (heads_,), "A_log": (heads_,), "D": (heads_,), "norm.weight": (inner,),
            "out_proj.weight": (d, inner)}.items()}
    return config, shapes


def mlp_shapes(below, inner, d):
    """Of a gated MLP."""
    return {below + "gate_proj.weight": (inner, d), below + "up_proj.weight": (inner, d),
            below + "down_proj.weight": (d, inner)}


def mistral4(p):
    """Mistral 4: latent attention with a temperature by position, experts by a softmax in groups."""
    c, x = p.config, p.tensors["model.embed_tokens.weight"][p.ids]
    rope = c["rope_parameters"]
    f = yarn(c["qk_rope_head_dim"], rope)
    grow = 1 + rope["llama_4_scaling_beta"] * np.log(
        1 + np.floor(np.arange(len(x)) / rope["original_max_position_embeddings"]))
    scale = (c["qk_nope_head_dim"] + c["qk_rope_head_dim"]) ** -0.5
    for i in range(c["num_hidden_layers"]):
        p.states.append(x)
        w = p.below(f"model.layers.{i}.")
        y, p.maps[i] = latent(c, p.below(f"model.layers.{i}.self_attn."),
                              rms(x, w("input_layernorm.weight"), c["rms_norm_eps"]), f, scale, True, grow)
        x = x + y
        u = rms(x, w("post_attention_layernorm.weight"), c["rms_norm_eps"])
        if i < c["first_k_dense_replace"]:
            x = x + mlp(p.below(f"model.layers.{i}.mlp."), u)
            continue
        z = u @ w("mlp.gate.weight").T
        s = np.exp(z - z.max(1, keepdims=True))
        s /= s.sum(1, keepdims=True)
        groups = np.sort(s.reshape(len(x), c["n_group"], -1), 2)[..., -2:].sum(2)
        allowed = np.zeros_like(groups)
        np.put_along_axis(allowed, np.argsort(-groups, 1)[:, :c["topk_group"]], 1, 1)
        choice = s * np.repeat(allowed, s.shape[1] // c["n_group"], 1)
        best = np.argsort(-choice, 1)[:, :c["num_experts_per_tok"]]
        weights = np.take_along_axis(s, best, 1)
        weights = weights / (weights.sum(1, keepdims=True) + 1e-20) * c["routed_scaling_factor"]

        def expert(e, row):
            gate, up = np.split(row @ w("mlp.experts.gate_up_proj")[e].T, 2, 1)
            return silu(gate) * up @ w("mlp.experts.down_proj")[e].T

        x = x + mixture(u, expert, best, weights) + mlp(p.below(f"model.layers.{i}.mlp.shared_experts."), u)
    p.finish(rms(x, p.tensors["model.norm.weight"], c["rms_norm_eps"]))


def mistral4_model():
    d, n, still, turned, v, rank, low, wide, e, small = 24, 2, 8, 8, 10, 12, 12, 20, 6, 12
    config = {"model_type": "mistral4", "hidden_size": d, "num_hidden_layers": 2, "num_attention_heads": n,
              "num_key_value_heads": n, "q_lora_rank": low, "kv_lora_rank": rank, "qk_nope_head_dim": still,
              "qk_rope_head_dim": turned, "v_head_dim": v, "intermediate_size": wide, "moe_intermediate_size": small,
              "n_routed_experts": e, "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 3, "topk_group": 2,
              "norm_topk_prob": True, "routed_scaling_factor": 1.5, "first_k_dense_replace": 1, "hidden_act": "silu",
              "rms_norm_eps": 1e-6, "rope_interleave": True, "max_position_embeddings": 512,
              "rope_parameters": {"rope_type": "yarn", "type": "yarn", "rope_theta": 10000.0, "factor": 16.0,
                                  "original_max_position_embeddings": 8, "beta_fast": 32.0, "beta_slow": 1.0,
                                  "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1},
              "tie_word_embeddings": False, "vocab_size": VOCABULARY}
    shapes = {"model.embed_tokens.weight": (VOCABULARY, d), "model.norm.weight": (d,),
              "lm_head.weight": (VOCABULARY, d)}
    for i in range(2):
        at = f"model.layers.{i}."
        shapes |= {at + name: shape for name, shape in {
            "input_layernorm.weight": (d,), "post_attention_layernorm.weight": (d,),
            "self_attn.q_a_proj.weight": (low, d), "self_attn.q_a_layernorm.weight": (low,),
            "self_attn.q_b_proj.weight": (n * (still + turned), low),
            "self_attn.kv_a_proj_with_mqa.weight": (rank + turned, d), "self_attn.kv_a_layernorm.weight": (rank,),
            "self_attn.kv_b_proj.weight": (n * (still + v), rank), "self_attn.o_proj.weight": (d, n * v)}.items()}
        below, inner = ("mlp.", wide) if i == 0 else ("mlp.shared_experts.", small)
        shapes |= mlp_shapes(at + below, inner, d)
        if i > 0:
            shapes |= {at + "mlp.gate.weight": (e, d), at + "mlp.experts.gate_up_proj": (e, 2 * small, d),
                       at + "mlp.experts.down_proj": (e, d, small)}
    return config, shapes


def fla(p):
    """GatedDeltaNet and KDA of the library flash-linear-attention, with softmax attention in some layers."""
    c, x, eps = p.config, p.tensors["model.embeddings.weight"][p.ids], p.config["norm_eps"]
    n, m, channels = c["num_heads"], c["num_v_heads"] or c["num_heads"], c["model_type"] == "kda"
    for i in range(c["num_hidden_layers"]):
        p.states.append(x)
        own, w = p.below(f"model.layers.{i}."), p.below(f"model.layers.{i}.attn.")
        u = rms(x, own("attn_norm.weight"), eps)
        if i in c["attn"]["layers"]:
            a = c["attn"]
            of = {"q": a["num_heads"], "k": a["num_kv_heads"], "v": a["num_kv_heads"]}
            q, k, v = (heads(u @ w(r + "_proj.weight").T, of[r]) for r in "qkv")
            f, window = frequencies(q.shape[2], a["rope_theta"]), a["window_size"]
            y, p.maps[i] = attend(turn(q, f), turn(k, f), v, q.shape[2] ** -0.5,
                                  lambda t, s: s <= t and (window is None or t - s < window))
        else:
            q, k, v = (silu(convolve(u @ w(r + "_proj.weight").T, w(r + "_conv1d.weight"))) for r in "qkv")
            beta = sigmoid(u @ w("b_proj.weight").T) * (2 if c["allow_neg_eigval"] else 1)
            if channels:
                g = u @ w("f_proj.0.weight").T @ w("f_proj.1.weight").T + w("dt_bias")
                g = -np.exp(w("A_log"))[:, None] * softplus(heads(g, n))
                gate = sigmoid(u @ w("g_proj.0.weight").T @ w("g_proj.1.weight").T + w("g_proj.1.bias"))
            else:
                g = -np.exp(w("A_log")) * softplus(u @ w("a_proj.weight").T + w("dt_bias"))
                gate = silu(u @ w("g_proj.weight").T)
            y = delta(heads(q, n), heads(k, n), heads(v, m), g, beta)
            y = rms(y, w("o_norm.weight"), eps).reshape(len(x), -1) * gate
        x = x + y @ w("o_proj.weight").T
        x = x + mlp(p.below(f"model.layers.{i}.mlp."), rms(x, own("mlp_norm.weight"), eps))
    p.finish(rms(x, p.tensors["model.norm.weight"], eps))


def fla_model(channels):
    d, n, m, hd, vd, wide = 24, 2, 2 if channels else 4, 8, 8 if channels else 12, 32
    config = {"model_type": "kda" if channels else "gated_deltanet", "hidden_size": d, "num_hidden_layers": 3,
              "num_heads": n, "num_v_heads": None if channels else m, "head_dim": hd, "expand_v": vd / hd,
              "use_short_conv": True, "conv_size": 4, "use_gate": True, "allow_neg_eigval": not channels,
              "attn": {"layers": [1], "num_heads": 3, "num_kv_heads": 1 if channels else 3, "qkv_bias": False,
                       "window_size": 6 if channels else None, "rope_theta": 10000.0},
              "hidden_act": "swish", "intermediate_size": wide, "norm_eps": 1e-6, "max_position_embeddings": 512,
              "tie_word_embeddings": False, "vocab_size": VOCABULARY}
    shapes = {"model.embeddings.weight": (VOCABULARY, d), "model.norm.weight": (d,), "lm_head.weight": (VOCABULARY, d)}
    linear = {"q_proj.weight": (n * hd, d), "k_proj.weight": (n * hd, d), "v_proj.weight": (m * vd, d),
              "o_proj.weight": (d, m * vd), "q_conv1d.weight": (n * hd, 1, 4), "k_conv1d.weight": (n * hd, 1, 4),
              "v_conv1d.weight": (m * vd, 1, 4), "A_log": (m,), "b_proj.weight": (m, d), "o_norm.weight": (vd,)}
    if channels:
        linear |= {"dt_bias": (n * hd,), "f_proj.0.weight": (vd, d), "f_proj.1.weight": (n * hd, vd),
                   "g_proj.0.weight": (vd, d), "g_proj.1.weight": (m * vd, vd), "g_proj.1.bias": (m * vd,)}
    else:
        linear |= {"dt_bias": (m,), "a_proj.weight": (m, d), "g_proj.weight": (m * vd, d)}
    k = config["attn"]["num_kv_heads"] * 8
    full = {"q_proj.weight": (24, d), "k_proj.weight": (k, d), "v_proj.weight": (k, d), "o_proj.weight": (d, 24)}
    for i in range(3):
        at = f"model.layers.{i}."
        shapes |= {at + "attn." + name: shape for name, shape in (full if i == 1 else linear).items()}
        shapes |= {at + name: shape for name, shape in {
            "attn_norm.weight": (d,), "mlp_norm.weight": (d,), "mlp.gate_proj.weight": (wide, d),
            "mlp.up_proj.weight": (wide, d), "mlp.down_proj.weight": (d, wide)}.items()}
    return config, shapes


def ling_mixture(p, c, below, u, biased):
    """Experts by a softmax, or by a sigmoid with biases whose two best in a group count; and the shared one."""
    z = u @ p.tensors[below + "gate.weight"].T
    s = sigmoid(z) if biased else np.exp(z) / np.exp(z).sum(1, keepdims=True)
    choice = s
    if biased:
        choice = s + p.tensors[below + "gate.expert_bias"]
        groups = np.sort(choice.reshape(len(u), c["n_group"], -1), 2)[..., -2:].sum(2)
        allowed = np.zeros_like(groups)
        np.put_along_axis(allowed, np.argsort(-groups, 1)[:, :c["topk_group"]], 1, 1)
        choice = np.where(np.repeat(allowed, s.shape[1] // c["n_group"], 1) > 0, choice, -np.inf)
    best = np.argsort(-choice, 1)[:, :c["num_experts_per_tok"]]
    weights = np.take_along_axis(s, best, 1)
    weights = weights / (weights.sum(1, keepdims=True) + 1e-20) * c.get("routed_scaling_factor", 1)
    routed = mixture(u, lambda e, row: mlp(p.below(f"{below}experts.{e}."), row), best, weights)
    return routed + mlp(p.below(below + "shared_experts."), u)


def bailing(p):
    """Ling (bailing_moe) and Ling 2 (bailing_moe_v2): experts by a softmax, or by a sigmoid with groups and biases."""
    c, x, eps = p.config, p.tensors["model.word_embeddings.weight"][p.ids], p.config["rms_norm_eps"]
    n, m, hd = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    second = c["model_type"] == "bailing_moe_v2"
    f = frequencies(int(hd * c.get("partial_rotary_factor", 1)), c["rope_theta"])
    for i in range(c["num_hidden_layers"]):
        p.states.append(x)
        w, below = p.below(f"model.layers.{i}."), f"model.layers.{i}.mlp."
        qkv = rms(x, w("input_layernorm.weight"), eps) @ w("attention.query_key_value.weight").T
        if c.get("use_qkv_bias"):
            qkv = qkv + w("attention.query_key_value.bias")
        q, k, v = (heads(part, h) for part, h in zip(np.split(qkv, [n * hd, (n + m) * hd], 1), (n, m, m)))
        if c.get("use_qk_norm"):
            q, k = rms(q, w("attention.query_layernorm.weight"), eps), rms(k, w("attention.key_layernorm.weight"), eps)
        y, p.maps[i] = attend(turn(q, f), turn(k, f), v, hd ** -0.5)
        x = x + y @ w("attention.dense.weight").T
        u = rms(x, w("post_attention_layernorm.weight"), eps)
        if i < c["first_k_dense_replace"]:
            x = x + mlp(p.below(below), u)
            continue
        x = x + ling_mixture(p, c, below, u, second)
    p.finish(rms(x, p.tensors["model.norm.weight"], eps))


def bailing_model(second):
    d, n, m, hd, wide, small, e = 24, 4, 2, 8, 32, 8, 8
    config = {"model_type": "bailing_moe_v2" if second else "bailing_moe", "hidden_size": d, "num_hidden_layers": 2,
              "num_attention_heads": n, "num_key_value_heads": m, "head_dim": hd, "intermediate_size": wide,
              "moe_intermediate_size": small, "num_experts": e, "num_experts_per_tok": 3, "num_shared_experts": 1,
              "first_k_dense_replace": 1 if second else 0, "norm_topk_prob": True, "hidden_act": "silu",
              "rms_norm_eps": 1e-6, "rope_theta": 600000.0, "rope_scaling": None, "use_bias": False,
              "use_qkv_bias": not second, "norm_head": False, "max_position_embeddings": 512,
              "tie_word_embeddings": False, "vocab_size": VOCABULARY}
    if second:
        config |= {"partial_rotary_factor": 0.5, "use_qk_norm": True, "score_function": "sigmoid", "n_group": 4,
                   "topk_group": 2, "routed_scaling_factor": 2.5, "moe_router_enable_expert_bias": True}
    shapes = {"model.word_embeddings.weight": (VOCABULARY, d), "model.norm.weight": (d,),
              "lm_head.weight": (VOCABULARY, d)}
    for i in range(2):
        at = f"model.layers.{i}."
        shapes |= {at + name: shape for name, shape in {
            "input_layernorm.weight": (d,), "post_attention_layernorm.weight": (d,),
            "attention.query_key_value.weight": ((n + 2 * m) * hd, d), "attention.dense.weight": (d, n * hd)}.items()}
        if second:
            shapes |= {at + f"attention.{r}_layernorm.weight": (hd,) for r in ("query", "key")}
        else:
            shapes[at + "attention.query_key_value.bias"] = ((n + 2 * m) * hd,)
        blocks = {"mlp.": wide} if i < config["first_k_dense_replace"] else {
            "mlp.shared_experts.": small} | {f"mlp.experts.{j}.": small for j in range(e)}
        for below, inner in blocks.items():
            shapes |= mlp_shapes(at + below, inner, d)
        if len(blocks) > 1:
            shapes[at + "mlp.gate.weight"] = (e, d)
            if second:
                shapes[at + "mlp.gate.expert_bias"] = (e,)
    return config, shapes


def chatglm(p):
    """ChatGLM 2, 3 and GLM-4 in their first form: half of a head turns, in neighbouring pairs."""
    c, eps = p.config, p.config["layernorm_epsilon"]
    x = p.tensors["transformer.embedding.word_embeddings.weight"][p.ids]
    n, m, hd = c["num_attention_heads"], c["multi_query_group_num"], c["kv_channels"]
    f = frequencies(hd // 2, 10000.0 * c["rope_ratio"])
    for i in range(c["num_layers"]):
        p.states.append(x)
        w = p.below(f"transformer.encoder.layers.{i}.")
        qkv = rms(x, w("input_layernorm.weight"), eps) @ w("self_attention.query_key_value.weight").T
        qkv = qkv + w("self_attention.query_key_value.bias")
        q, k, v = (heads(part, h) for part, h in zip(np.split(qkv, [n * hd, (n + m) * hd], 1), (n, m, m)))
        y, p.maps[i] = attend(turn(q, f, True), turn(k, f, True), v, hd ** -0.5)
        x = x + y @ w("self_attention.dense.weight").T
        u = rms(x, w("post_attention_layernorm.weight"), eps)
        gate, up = np.split(u @ w("mlp.dense_h_to_4h.weight").T, 2, 1)
        x = x + silu(gate) * up @ w("mlp.dense_4h_to_h.weight").T
    x = rms(x, p.tensors["transformer.encoder.final_layernorm.weight"], eps)
    p.states.append(x)
    p.logits = x @ p.tensors["transformer.output_layer.weight"].T


def chatglm_model():
    d, n, m, hd, wide = 24, 4, 2, 8, 40
    config = {"model_type": "chatglm", "hidden_size": d, "num_layers": 2, "num_attention_heads": n, "kv_channels": hd,
              "multi_query_attention": True, "multi_query_group_num": m, "ffn_hidden_size": wide, "rope_ratio": 50,
              "layernorm_epsilon": 1e-5, "rmsnorm": True, "add_qkv_bias": True, "add_bias_linear": False,
              "apply_residual_connection_post_layernorm": False, "post_layer_norm": True, "seq_length": 512,
              "padded_vocab_size": VOCABULARY, "vocab_size": VOCABULARY, "tie_word_embeddings": False}
    at = "transformer.encoder."
    shapes = {"transformer.embedding.word_embeddings.weight": (VOCABULARY, d), at + "final_layernorm.weight": (d,),
              "transformer.output_layer.weight": (VOCABULARY, d)}
    for i in range(2):
        shapes |= {f"{at}layers.{i}.{name}": shape for name, shape in {
            "input_layernorm.weight": (d,), "post_attention_layernorm.weight": (d,),
            "self_attention.query_key_value.weight": ((n + 2 * m) * hd, d),
            "self_attention.query_key_value.bias": ((n + 2 * m) * hd,), "self_attention.dense.weight": (d, n * hd),
            "mlp.dense_h_to_4h.weight": (2 * wide, d), "mlp.dense_4h_to_h.weight": (d, wide)}.items()}
    return config, shapes


def slopes(n):
    """ALiBi's (Press et al. 2022), for n a power of two."""
    return 2.0 ** (-8 * (np.arange(n) + 1) / n)


def minicpm_sala(p):
    """MiniCPM-SALA below its dense length: lightning attention that turns, and softmax attention without positions."""
    c, eps = p.config, p.config["rms_norm_eps"]
    x = p.tensors["model.embed_tokens.weight"][p.ids] * c["scale_emb"]
    add, T = c["scale_depth"] / np.sqrt(c["num_hidden_layers"]), len(p.ids)
    for i, kind in enumerate(c["mixer_types"]):
        p.states.append(x)
        own, w = p.below(f"model.layers.{i}."), p.below(f"model.layers.{i}.self_attn.")
        u = rms(x, own("input_layernorm.weight"), eps)
        if kind == "minicpm4":
            n, m = c["num_attention_heads"], c["num_key_value_heads"]
            q, k, v = (heads(u @ w(r + "_proj.weight").T, n if r == "q" else m) for r in "qkv")
            y, p.maps[i] = attend(q, k, v, c["head_dim"] ** -0.5)
            y = y * sigmoid(u @ w("o_gate.weight").T)
        else:
            n, hd = c["lightning_nh"], c["lightning_head_dim"]
            q, k, v = (heads(u @ w(r + "_proj.weight").T, n) for r in "qkv")
            f, S, y = frequencies(hd, c["rope_theta"]), np.zeros((n, hd, hd)), np.zeros((T, n, hd))
            q, k = turn(rms(q, w("q_norm.weight"), eps), f), turn(rms(k, w("k_norm.weight"), eps), f)
            for t in range(T):
                for h in range(n):
                    S[h] = np.exp(-slopes(n)[h]) * S[h] + np.outer(k[t, h], v[t, h])
                    y[t, h] = S[h].T @ q[t, h] * hd ** -0.5
            y = rms(y.reshape(T, -1), w("o_norm.weight"), eps) * sigmoid(u @ w("z_proj.weight").T)
        x = x + add * (y @ w("o_proj.weight").T)
        x = x + add * mlp(p.below(f"model.layers.{i}.mlp."), rms(x, own("post_attention_layernorm.weight"), eps))
    x = rms(x, p.tensors["model.norm.weight"], eps)
    p.states.append(x)
    p.logits = x / (c["hidden_size"] / c["dim_model_base"]) @ p.tensors["lm_head.weight"].T


def minicpm_sala_model():
    d, n, m, hd, wide = 24, 4, 2, 8, 32
    kinds = ["lightning-attn", "minicpm4", "lightning-attn"]
    config = {"model_type": "minicpm_sala", "mixer_types": kinds, "hidden_size": d, "num_hidden_layers": len(kinds),
              "num_attention_heads": n, "num_key_value_heads": m, "head_dim": hd, "intermediate_size": wide,
              "attn_use_rope": False, "attn_use_output_gate": True, "lightning_use_rope": True, "lightning_nh": n,
              "lightning_nkv": n, "lightning_head_dim": hd, "lightning_scale": "1/sqrt(d)", "qk_norm": True,
              "use_output_gate": True, "use_output_norm": True, "scale_emb": 12, "scale_depth": 1.4,
              "dim_model_base": 8, "mup_denominator": 32, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
              "rope_scaling": None, "hidden_act": "silu", "attention_bias": False, "max_position_embeddings": 1024,
              "sparse_config": {"block_size": 64, "topk": 64, "window_size": 2048, "dense_len": 512},
              "tie_word_embeddings": False, "vocab_size": VOCABULARY}
    shapes = {"model.embed_tokens.weight": (VOCABULARY, d), "model.norm.weight": (d,),
              "lm_head.weight": (VOCABULARY, d)}
    for i, kind in enumerate(kinds):
        at, keys = f"model.layers.{i}.", m if kind == "minicpm4" else n
        mixer = {"q_proj.weight": (n * hd, d), "k_proj.weight": (keys * hd, d), "v_proj.weight": (keys * hd, d),
                 "o_proj.weight": (d, n * hd)}
        mixer |= {"o_gate.weight": (n * hd, d)} if kind == "minicpm4" else {
            "q_norm.weight": (hd,), "k_norm.weight": (hd,), "o_norm.weight": (n * hd,), "z_proj.weight": (n * hd, d)}
        shapes |= {at + "self_attn." + name: shape for name, shape in mixer.items()}
        shapes |= {at + name: shape for name, shape in {
            "input_layernorm.weight": (d,), "post_attention_layernorm.weight": (d,), "mlp.gate_proj.weight": (wide, d),
            "mlp.up_proj.weight": (wide, d), "mlp.down_proj.weight": (d, wide)}.items()}
    return config, shapes


def bailing2_5(p):
    """Ling and Ring 2.5: lightning attention whose halves turn, latent attention, and the mixture of Ling 2."""
    c, x, eps = p.config, p.tensors["model.word_embeddings.weight"][p.ids], p.config["rms_norm_eps"]
    n, L, T = c["num_kv_heads_for_linear_attn"], c["num_hidden_layers"], len(p.ids)
    hd = c["hidden_size"] // n
    turned = frequencies(c["qk_rope_head_dim"], c["rope_theta"])
    f = frequencies(int(hd * c["partial_rotary_factor"]), c["rope_theta"])
    for i in range(L):
        p.states.append(x)
        w, below = p.below(f"model.layers.{i}."), f"model.layers.{i}.mlp."
        a, u = p.below(f"model.layers.{i}.attention."), rms(x, w("input_layernorm.weight"), eps)
        if (i + 1) % c["layer_group_size"] == 0:
            scale = (c["qk_nope_head_dim"] + c["qk_rope_head_dim"]) ** -0.5
            y, p.maps[i] = latent(c, a, u, turned, scale, True, o="dense")
        else:
            q, k, v = (heads(part, n) for part in np.split(u @ a("query_key_value.weight").T, 3, 1))
            q = turn(rms(q, a("query_layernorm.weight"), eps), f)
            k = turn(rms(k, a("key_layernorm.weight"), eps), f)
            slope = slopes(n) * (1 - (i - 1) / (L - 1) + 1e-5)
            S, y = np.zeros((n, hd, hd)), np.zeros((T, n, hd))
            for t in range(T):
                for h in range(n):
                    S[h] = np.exp(-slope[h]) * S[h] + np.outer(k[t, h], v[t, h])
                    y[t, h] = S[h].T @ q[t, h] * hd ** -0.5
            y = rms(y.reshape(T, c["group_norm_size"], -1), 1.0, eps).reshape(T, -1) * a("g_norm.weight")
            y = y * sigmoid(u @ a("g_proj.weight").T) @ a("dense.weight").T
        x = x + y
        u = rms(x, w("post_attention_layernorm.weight"), eps)
        dense = i < c["first_k_dense_replace"]
        x = x + (mlp(p.below(below), u) if dense else ling_mixture(p, c, below, u, True))
    p.finish(rms(x, p.tensors["model.norm.weight"], eps))


def bailing2_5_model():
    d, n, still, turned, v, rank, low, wide, small, e = 32, 4, 8, 8, 8, 12, 12, 32, 8, 8
    config = {"model_type": "bailing2_5_moe", "hidden_size": d, "num_hidden_layers": 3, "layer_group_size": 2,
              "num_attention_heads": n, "num_key_value_heads": n, "num_kv_heads_for_linear_attn": n,
              "q_lora_rank": low, "kv_lora_rank": rank, "qk_nope_head_dim": still, "qk_rope_head_dim": turned,
              "v_head_dim": v, "intermediate_size": wide, "moe_intermediate_size": small, "num_experts": e,
              "num_experts_per_tok": 3, "num_shared_experts": 1, "n_group": 4, "topk_group": 2,
              "first_k_dense_replace": 1, "norm_topk_prob": True, "routed_scaling_factor": 2.5,
              "score_function": "sigmoid", "group_norm_size": 2, "linear_silu": False, "use_qk_norm": True,
              "partial_rotary_factor": 0.5, "rope_interleave": True, "rope_theta": 600000.0, "rope_scaling": None,
              "hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 512,
              "tie_word_embeddings": False, "vocab_size": VOCABULARY}
    shapes = {"model.word_embeddings.weight": (VOCABULARY, d), "model.norm.weight": (d,),
              "lm_head.weight": (VOCABULARY, d)}
    for i in range(3):
        at = f"model.layers.{i}."
        mixer = {"query_key_value.weight": (3 * d, d), "query_layernorm.weight": (d // n,),
                 "key_layernorm.weight": (d // n,), "g_proj.weight": (d, d), "g_norm.weight": (d,),
                 "dense.weight": (d, d)} if i != 1 else {
            "q_a_proj.weight": (low, d), "q_a_layernorm.weight": (low,), "q_b_proj.weight": (n * (still + turned), low),
            "kv_a_proj_with_mqa.weight": (rank + turned, d), "kv_a_layernorm.weight": (rank,),
            "kv_b_proj.weight": (n * (still + v), rank), "dense.weight": (d, n * v)}
        shapes |= {at + "attention." + name: shape for name, shape in mixer.items()}
        shapes |= {at + "input_layernorm.weight": (d,), at + "post_attention_layernorm.weight": (d,)}
        blocks = {"mlp.": wide} if i == 0 else {"mlp.shared_experts.": small} | {
            f"mlp.experts.{j}.": small for j in range(e)}
        for below, inner in blocks.items():
            shapes |= mlp_shapes(at + below, inner, d)
        if i > 0:
            shapes |= {at + "mlp.gate.weight": (e, d), at + "mlp.gate.expert_bias": (e,)}
    return config, shapes


def llama4(p):
    """Llama 4 below the length of its pieces: turned heads are divided by their root mean square, others grow."""
    c, eps = p.config, p.config["rms_norm_eps"]
    n, m, hd = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    x = p.tensors["model.embed_tokens.weight"][p.ids]
    f, T = frequencies(hd, c["rope_theta"]), len(p.ids)
    for i in range(c["num_hidden_layers"]):
        p.states.append(x)
        w, below = p.below(f"model.layers.{i}."), f"model.layers.{i}.feed_forward."
        u = rms(x, w("input_layernorm.weight"), eps)
        q, k, v = (heads(u @ w(f"self_attn.{r}_proj.weight").T, n if r == "q" else m) for r in "qkv")
        if c["no_rope_layers"][i]:
            q, k = rms(turn(q, f, True), 1.0, eps), rms(turn(k, f, True), 1.0, eps)
        else:
            q = q * (1 + c["attn_scale"] * np.log1p(np.floor((np.arange(T) + 1) / c["floor_scale"])))[:, None, None]
        y, p.maps[i] = attend(q, k, v, hd ** -0.5)
        x = x + y @ w("self_attn.o_proj.weight").T
        u = rms(x, w("post_attention_layernorm.weight"), eps)
        if i not in c["moe_layers"]:
            x = x + mlp(p.below(below), u)
            continue
        z = u @ p.tensors[below + "router.weight"].T
        x = x + mlp(p.below(below + "shared_expert."), u)
        for t in range(T):
            for e in np.argsort(-z[t])[:c["num_experts_per_tok"]]:
                gate, up = np.split(sigmoid(z[t, e]) * u[t] @ p.tensors[below + "experts.gate_up_proj"][e], 2)
                x[t] += silu(gate) * up @ p.tensors[below + "experts.down_proj"][e]
    p.finish(rms(x, p.tensors["model.norm.weight"], eps))


def llama4_model():
    d, n, m, hd, wide, small, e = 24, 4, 2, 8, 32, 10, 6
    config = {"model_type": "llama4_text", "hidden_size": d, "num_hidden_layers": 3, "num_attention_heads": n,
              "num_key_value_heads": m, "head_dim": hd, "no_rope_layers": [1, 0, 1], "attention_chunk_size": 512,
              "use_qk_norm": True, "attn_temperature_tuning": True, "attn_scale": 0.1, "floor_scale": 8,
              "rope_theta": 500000.0, "rope_scaling": None, "intermediate_size": small, "intermediate_size_mlp": wide,
              "moe_layers": [1, 2], "num_local_experts": e, "num_experts_per_tok": 2, "hidden_act": "silu",
              "rms_norm_eps": 1e-5, "max_position_embeddings": 1024, "tie_word_embeddings": False,
              "vocab_size": VOCABULARY}
    shapes = {"model.embed_tokens.weight": (VOCABULARY, d), "model.norm.weight": (d,),
              "lm_head.weight": (VOCABULARY, d)}
    for i in range(3):
        at = f"model.layers.{i}."
        shapes |= {at + name: shape for name, shape in {
            "input_layernorm.weight": (d,), "post_attention_layernorm.weight": (d,),
            "self_attn.q_proj.weight": (n * hd, d), "self_attn.k_proj.weight": (m * hd, d),
            "self_attn.v_proj.weight": (m * hd, d), "self_attn.o_proj.weight": (d, n * hd)}.items()}
        below, inner = ("feed_forward.", wide) if i == 0 else ("feed_forward.shared_expert.", small)
        shapes |= mlp_shapes(at + below, inner, d)
        if i > 0:
            shapes |= {at + "feed_forward.router.weight": (e, d), at + "feed_forward.experts.gate_up_proj": (
                e, d, 2 * small), at + "feed_forward.experts.down_proj": (e, small, d)}
    return config, shapes


def scored(c, s, bias, groups, kept):
    """The experts of each token and their weights, by the scores s (T, experts) and what is added for the choice."""
    choice = s + bias
    best_two = np.sort(choice.reshape(len(s), groups, -1), 2)[..., -2:].sum(2)
    allowed = np.zeros_like(best_two)
    np.put_along_axis(allowed, np.argsort(-best_two, 1)[:, :kept], 1, 1)
    choice = np.where(np.repeat(allowed, s.shape[1] // groups, 1) > 0, choice, -np.inf)
    best = np.argsort(-choice, 1)[:, :c["num_experts_per_tok"]]
    return best, np.take_along_axis(s, best, 1)


def plain_mlp(p, c, at, u):
    """The MLP or the mixture of experts of families whose layers are otherwise llama's."""
    kind = c["model_type"]
    w = p.below(at)
    if kind == "arcee":
        return np.maximum(u @ w("mlp.up_proj.weight").T, 0) ** 2 @ w("mlp.down_proj.weight").T
    if kind == "minicpm" or at + "mlp.gate_proj.weight" in p.tensors:
        return mlp(p.below(at + "mlp."), u)
    if kind == "minimax_m2":
        s = sigmoid(u @ w("block_sparse_moe.gate.weight").T)
        best, weights = scored(c, s, w("block_sparse_moe.e_score_correction_bias"), 1, 1)
        weights = weights / weights.sum(1, keepdims=True)
        return mixture(u, lambda e, row: mlp(p.below(f"{at}block_sparse_moe.experts.{e}."), row, "w1", "w3", "w2"),
                       best, weights)
    z, shared = u @ w("mlp.gate.weight").T, 0
    if kind == "olmoe":
        best, weights = scored(c, np.exp(z) / np.exp(z).sum(1, keepdims=True), 0, 1, 1)
    else:
        best, weights = scored(c, sigmoid(z), w("mlp.gate.e_score_correction_bias"), c["n_group"], c["topk_group"])
        weights = weights / (weights.sum(1, keepdims=True) + 1e-20) * c["routed_scaling_factor"]
        shared = mlp(p.below(at + "mlp.shared_experts."), u)
    return mixture(u, lambda e, row: mlp(p.below(f"{at}mlp.experts.{e}."), row), best, weights) + shared


def plain(p):
    """Arcee, MiniCPM, OLMoE, MiniMax-M2 and dots1: llama's layers with norms of q and k, factors, and other MLPs."""
    c, eps = p.config, p.config["rms_norm_eps"]
    n, m, hd = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    x = p.tensors["model.embed_tokens.weight"][p.ids] * c.get("scale_emb", 1)
    f = frequencies(c.get("rotary_dim", hd), c["rope_theta"])
    add = c["scale_depth"] / np.sqrt(c["num_hidden_layers"]) if "scale_depth" in c else 1
    for i in range(c["num_hidden_layers"]):
        p.states.append(x)
        at = f"model.layers.{i}."
        w, u = p.below(at), rms(x, p.tensors[at + "input_layernorm.weight"], eps)
        q, k, v = (u @ w(f"self_attn.{r}_proj.weight").T for r in "qkv")
        if c["model_type"] in ("olmoe", "minimax_m2"):
            q, k = rms(q, w("self_attn.q_norm.weight"), eps), rms(k, w("self_attn.k_norm.weight"), eps)
        q, k, v = heads(q, n), heads(k, m), heads(v, m)
        if c["model_type"] == "dots1":
            q, k = rms(q, w("self_attn.q_norm.weight"), eps), rms(k, w("self_attn.k_norm.weight"), eps)
        window = c["sliding_window"] if c.get("layer_types", {i: ""})[i] == "sliding_attention" else len(x)
        y, p.maps[i] = attend(turn(q, f), turn(k, f), v, hd ** -0.5, lambda t, s: s <= t and t - s < window)
        x = x + add * (y @ w("self_attn.o_proj.weight").T)
        x = x + add * plain_mlp(p, c, at, rms(x, w("post_attention_layernorm.weight"), eps))
    x = rms(x, p.tensors["model.norm.weight"], eps)
    p.states.append(x)
    p.logits = x * c.get("dim_model_base", c["hidden_size"]) / c["hidden_size"] @ p.tensors["lm_head.weight"].T


def plain_model(kind):
    d, n, m, hd, wide, small, e = 24, 3, 1, 8, 32, 8, 6
    config = {"model_type": kind, "hidden_size": d, "num_hidden_layers": 2, "num_attention_heads": n,
              "num_key_value_heads": m, "head_dim": hd, "intermediate_size": wide, "hidden_act": "silu",
              "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": None, "max_position_embeddings": 512,
              "tie_word_embeddings": False, "vocab_size": VOCABULARY} | {
        "arcee": {"hidden_act": "relu2"},
        "minicpm": {"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 8},
        "olmoe": {"num_experts": e, "num_experts_per_tok": 2, "norm_topk_prob": False, "clip_qkv": None},
        "minimax_m2": {"num_local_experts": e, "num_experts_per_tok": 2, "rotary_dim": 4, "use_qk_norm": True},
        "dots1": {"n_routed_experts": e, "num_experts_per_tok": 2, "n_group": 3, "topk_group": 2, "sliding_window": 6,
                  "norm_topk_prob": True, "routed_scaling_factor": 2.5, "first_k_dense_replace": 1,
                  "layer_types": ["sliding_attention", "full_attention"]}}[kind]
    shapes = {"model.embed_tokens.weight": (VOCABULARY, d), "model.norm.weight": (d,),
              "lm_head.weight": (VOCABULARY, d)}
    for i in range(2):
        at = f"model.layers.{i}."
        of = {"input_layernorm.weight": (d,), "post_attention_layernorm.weight": (d,),
              "self_attn.q_proj.weight": (n * hd, d), "self_attn.k_proj.weight": (m * hd, d),
              "self_attn.v_proj.weight": (m * hd, d), "self_attn.o_proj.weight": (d, n * hd)}
        if kind in ("olmoe", "minimax_m2", "dots1"):
            each = kind == "dots1"
            of |= {"self_attn.q_norm.weight": (hd if each else n * hd,),
                   "self_attn.k_norm.weight": (hd if each else m * hd,)}
        names, experts = ("gate_proj", "up_proj", "down_proj"), [f"mlp.experts.{j}." for j in range(e)]
        if kind in ("arcee", "minicpm") or (kind == "dots1" and i == 0):
            blocks = {"mlp.": wide}
        elif kind == "minimax_m2":
            names, blocks = ("w1", "w3", "w2"), {f"block_sparse_moe.experts.{j}.": small for j in range(e)}
            of |= {"block_sparse_moe.gate.weight": (e, d), "block_sparse_moe.e_score_correction_bias": (e,)}
        else:
            blocks = {below: small for below in experts + (["mlp.shared_experts."] if kind == "dots1" else [])}
            of |= {"mlp.gate.weight": (e, d)} | ({"mlp.gate.e_score_correction_bias": (e,)} if kind == "dots1" else {})
        for below, inner in blocks.items():
            of |= {f"{below}{name}.weight": (inner, d) for name in names[1 if kind == "arcee" else 0:2]}
            of[f"{below}{names[2]}.weight"] = (d, inner)
        shapes |= {at + name: shape for name, shape in of.items()}
    return config, shapes


SIZES = {"zamba2": 0.7}  # of the weights; larger ones make activations that lose a digit
FAMILIES = {
    "zamba2": (zamba2, zamba2_model),
    "mistral4": (mistral4, mistral4_model),
    "gated_deltanet": (fla, lambda: fla_model(False)),
    "kda": (fla, lambda: fla_model(True)),
    "bailing_moe": (bailing, lambda: bailing_model(False)),
    "bailing_moe_v2": (bailing, lambda: bailing_model(True)),
    "chatglm": (chatglm, chatglm_model),
    "minicpm_sala": (minicpm_sala, minicpm_sala_model),
    "bailing2_5": (bailing2_5, bailing2_5_model),
    "llama4": (llama4, llama4_model),
} | {name: (plain, lambda name=name: plain_model(name)) for name in (
    "arcee", "minicpm", "olmoe", "minimax_m2", "dots1")}


# --- the program

def random_tensors(shapes, seed, size):
    rng = np.random.default_rng(seed)
    out = {}
    for name, shape in shapes.items():
        if len(shape) == 1 and ("norm" in name or name.endswith((".D", "ln_f.weight"))):
            x = 1 + 0.1 * rng.standard_normal(shape)
        elif name.endswith("A_log"):
            x = np.log(rng.uniform(1, 8, shape))
        else:
            x = size * rng.standard_normal(shape) / np.sqrt(shape[-1] if len(shape) > 1 else 4)
        out[name] = bfloat16(x)
    return out


def run(name, config, tensors, ids):
    p = Pass(config, tensors, ids)
    FAMILIES[name][0](p)
    golden = {f"hidden_states.{i}": x for i, x in enumerate(p.states)}
    golden |= {f"attentions.{i}": x for i, x in p.maps.items()} | {"logits": p.logits}
    return golden


def main():
    what, name, folder = sys.argv[1:]
    if what == "make":
        config, shapes = FAMILIES[name][1]()
        tensors = random_tensors(shapes, zlib.crc32(name.encode()), SIZES.get(name, 1))
        ids = np.array([(7 * t * t + 3 * t + 1) % VOCABULARY for t in range(TOKENS)])
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "config.json"), "w") as file:
            json.dump(config, file, indent=1)
            file.write("\n")
        write(os.path.join(folder, "model.safetensors"), {n: ("BF16", x) for n, x in tensors.items()})
        golden = {n: ("F32", x) for n, x in run(name, config, tensors, ids).items()}
        write(os.path.join(folder, "golden.safetensors"), {"input_ids": ("I64", ids)} | golden)
        return
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    expected = read(os.path.join(folder, "golden.safetensors"))
    found = run(name, config, read(os.path.join(folder, "model.safetensors")), expected["input_ids"])
    for key, x in found.items():
        print(f"{key:20} {np.abs(x - expected[key]).max() / np.abs(expected[key]).max():8.1e}")


if __name__ == "__main__":
    main()
