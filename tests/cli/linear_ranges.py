#!/usr/bin/env python3
"""linear_ranges.py - reference ranges of the demo pairs' linear layers, by numpy in float64.

linear_ranges.py FOLDER... adds the linear layers to FOLDER/range-pre.json and FOLDER/range-post.json, and writes
FOLDER/range-shift.json, the shift of pre's linear layers from post's on post's inputs. Softmax layers stay as they are.

A row of coefficients is read off the recurrence itself, run forwards: with v_s = the unit vector s, the output of token
t is its row c(t, .). The pass that makes the layers' inputs is this file's own; it must meet the goldens' states.
"""
import json
import struct
import sys

import numpy as np

WORST_STATE = 2e-5  # of the goldens, which are float32 over twelve layers, as a part of the largest entry
LONG = 128


def tensors(path):
    """Every tensor of a safetensors file as float64 (integers as they are)."""
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    out = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = data[8 + size + begin:8 + size + end]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(raw, {"F32": "<f4", "I32": "<i4", "I64": "<i8"}[entry["dtype"]])
        values = values.reshape(entry["shape"])
        out[name] = values if entry["dtype"][0] == "I" else values.astype(np.float64)
    return out


def silu(x):
    return x / (1 + np.exp(-x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rms(x, gain, eps):
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps) * gain


def rope(x, theta):
    """Half-split rotary positions of x (T, heads, dim), with float32 frequencies as the models have them."""
    half = x.shape[-1] // 2
    frequency = (1 / theta ** (np.arange(half, dtype=np.float64) / half)).astype(np.float32).astype(np.float64)
    angle = np.arange(x.shape[0])[:, None, None] * frequency
    one, two = x[..., :half], x[..., half:]
    return np.concatenate([one * np.cos(angle) - two * np.sin(angle), two * np.cos(angle) + one * np.sin(angle)], -1)


def softmax_maps(q, k, window):
    """(heads, T, T) of q (T, heads, dim) and k (T, key heads, dim)."""
    T, heads, dim = q.shape
    k = np.repeat(k, heads // k.shape[1], 1)
    logits = np.einsum("thd,shd->hts", q, k) / np.sqrt(dim)
    distance = np.arange(T)[:, None] - np.arange(T)
    logits[:, (distance < 0) | (distance >= (window or T))] = -np.inf
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def lightning_rows(q, k):
    """c(t, s), (heads, T, T): S <- e^-slope S + k v^T, o = S^T q, with v_s a unit vector."""
    T, heads, dim = q.shape
    assert heads & heads - 1 == 0
    out = np.zeros((heads, T, T))
    for h in range(heads):
        decay = np.exp(-2.0 ** (-8 * (h + 1) / heads))
        state = np.zeros((dim, T))
        for t in range(T):
            state *= decay
            state[:, t] += k[t, h]
            out[h, t] = state.T @ q[t, h] / np.sqrt(dim)
    return out


def delta_rows(q, k, beta, g):
    """c(t, s), (heads, T, T): S <- e^g S, S <- S + k (beta (v - S^T k))^T, o = S^T q, with v_s a unit vector."""
    T, heads, dim = q.shape
    out = np.zeros((heads, T, T))
    for h in range(heads):
        state = np.zeros((dim, T))
        for t in range(T):
            state *= np.exp(g[t, h])
            change = -(state.T @ k[t, h])
            change[t] += 1
            state += np.outer(k[t, h], beta[t, h] * change)
            out[h, t] = state.T @ q[t, h]
    return out


class Model:
    """A side of a pair: its weights, and its layers one by one."""

    def __init__(self, folder):
        with open(folder + "/config.json", encoding="utf-8") as file:
            self.config = json.load(file)
        self.weights = tensors(folder + "/model.safetensors")
        self.hypenet = self.config["model_type"] == "hypenet"
        self.kinds = self.config["mixer_types" if self.hypenet else "layer_types"]
        self.eps = self.config["rms_norm_eps"]
        self.heads, self.key_heads = self.config["num_attention_heads"], self.config["num_key_value_heads"]

    def is_linear(self, layer):
        return self.kinds[layer] in ("lightning-attn", "jet")

    def linear(self, layer, name, x):
        prefix = f"model.layers.{layer}.{name}"
        y = x @ self.weights[prefix + ".weight"].T
        return y + self.weights[prefix + ".bias"] if prefix + ".bias" in self.weights else y

    def normed(self, layer, name, x, eps=None):
        return rms(x, self.weights[f"model.layers.{layer}.{name}.weight"], eps or self.eps)

    def split(self, layer, name, x, heads):
        return self.linear(layer, "self_attn." + name, x).reshape(x.shape[0], heads, -1)

    def coefficients(self, layer, x):
        """c(t, s) of a linear layer on its normed input."""
        if self.hypenet:
            n = self.config["lightning_nh"]
            q, k = (self.normed(layer, f"self_attn.{r}_norm", self.split(layer, r + "_proj", x, n)) for r in "qk")
            return lightning_rows(rope(q, self.config["rope_theta"]), rope(k, self.config["rope_theta"]))
        n = self.config["efficient_attention_config"]["jet"]["num_heads"]
        q, k = (silu(self.split(layer, r + "_proj", x, n)) for r in "qk")
        q, k = (y / np.sqrt((y * y).sum(-1, keepdims=True) + 1e-6) for y in (q, k))
        beta = sigmoid(self.linear(layer, "self_attn.b_proj", x))
        raw = self.linear(layer, "self_attn.a_proj", x) + self.weights[f"model.layers.{layer}.self_attn.dt_bias"]
        g = -np.exp(self.weights[f"model.layers.{layer}.self_attn.A_log"]) * np.log1p(np.exp(raw))
        return delta_rows(q / np.sqrt(q.shape[-1]), k, beta, g)

    def maps(self, layer, x):
        """a(t, s) of a softmax layer on its normed input."""
        q = self.split(layer, "q_proj", x, self.heads)
        k = self.split(layer, "k_proj", x, self.key_heads)
        if not self.hypenet:
            theta = self.config["rope_theta"]
            window = self.config["efficient_attention_config"]["swa"]["window_size"]
            return softmax_maps(rope(q, theta), rope(k, theta), window if self.kinds[layer] == "swa" else 0)
        q, k = self.normed(layer, "self_attn.q_norm", q), self.normed(layer, "self_attn.k_norm", k)
        a = float(self.config["attn_logits_scaling"].split()[1])
        scale = np.log(np.arange(x.shape[0]) + a) / np.log(a)
        return softmax_maps(q * scale[:, None, None], k, 0)

    def values(self, layer, x, heads):
        if self.hypenet or not self.is_linear(layer):
            return self.split(layer, "v_proj", x, heads)
        v = self.linear(layer, "self_attn.v_proj", x)
        name = "self_attn.dynamic_conv1d.kernel_generator."
        kernel = self.linear(layer, name + "w2", silu(self.linear(layer, name + "w1", x)))
        kernel = kernel.reshape(x.shape[0], v.shape[1], -1)
        width = kernel.shape[-1]
        padded = np.concatenate([np.zeros((width - 1, v.shape[1])), v])
        return silu(sum(padded[i:i + len(x)] * kernel[..., i] for i in range(width))).reshape(len(x), heads, -1)

    def mixed(self, layer, x, rows):
        """The mixer's output, of its rows (heads, T, T)."""
        heads = rows.shape[0]
        v = self.values(layer, x, heads if self.is_linear(layer) else self.key_heads)
        out = np.einsum("hts,shd->thd", rows, np.repeat(v, heads // v.shape[1], 1))
        if self.hypenet:
            out = out.reshape(len(x), -1)
            if self.is_linear(layer):
                out = self.normed(layer, "self_attn.o_norm", out)
            out = out * sigmoid(self.linear(layer, "self_attn." + ("z_proj" if self.is_linear(layer) else "o_gate"), x))
        elif self.is_linear(layer):
            gate = silu(self.linear(layer, "self_attn.g_proj", x)).reshape(out.shape)
            eps = float(self.config["efficient_attention_config"]["jet"]["norm_eps"])
            out = (self.normed(layer, "self_attn.o_norm", out, eps) * gate).reshape(len(x), -1)
        return self.linear(layer, "self_attn.o_proj", out.reshape(len(x), -1))

    def run(self, layer, x):
        """The output of the layer."""
        normed = self.normed(layer, "input_layernorm", x)
        rows = self.coefficients(layer, normed) if self.is_linear(layer) else self.maps(layer, normed)
        x = x + self.mixed(layer, normed, rows)
        normed = self.normed(layer, "post_attention_layernorm", x)
        hidden = silu(self.linear(layer, "mlp.gate_proj", normed)) * self.linear(layer, "mlp.up_proj", normed)
        return x + self.linear(layer, "mlp.down_proj", hidden)

    def states(self, golden):
        """The inputs of all layers, which must meet those of the golden."""
        x = self.weights["model.embed_tokens.weight"][golden["input_ids"].reshape(-1)]
        out = [x]
        for layer in range(len(self.kinds)):
            x = self.run(layer, x)
            out.append(x)
        out[-1] = rms(x, self.weights["model.norm.weight"], self.eps)
        for layer, state in enumerate(out):
            known = golden.get(f"hidden_states.{layer}")
            if known is None:
                continue
            worst = min(np.abs(y - known).max() / np.abs(known).max() for y in (state, x)[:1 + (layer == len(out) - 1)])
            assert worst < WORST_STATE, (layer, worst)
        return out

    def rows(self, layer, x):
        c = np.abs(self.coefficients(layer, self.normed(layer, "input_layernorm", x)))
        return c / c.sum(-1, keepdims=True)


def ranges(rows):
    """hist, mean and long_mass of each head, over the queries t >= T / 2."""
    T = rows.shape[1]
    distance = np.arange(T)[:, None] - np.arange(T)
    bins = np.where(distance > 0, np.floor(np.log2(np.maximum(distance, 1))).astype(int) + 1, 0)
    count, seen = T - T // 2, slice(T // 2, T)
    out = []
    for p in rows:
        hist = [float(p[seen][(bins[seen] == b) & (distance[seen] >= 0)].sum() / count) for b in range(bins.max() + 1)]
        out.append({"hist": hist, "mean": float((p * np.maximum(distance, 0))[seen].sum() / count),
                    "long_mass": float(p[seen][distance[seen] >= LONG].sum() / count)})
    return out


def shift(p, r):
    """Mean Jensen-Shannon divergence of rows, in nats."""
    seen = slice(p.shape[1] // 2, p.shape[1])
    p, r = p[:, seen], r[:, seen]
    m = (p + r) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / m), 0) + np.where(r > 0, r * np.log(r / m), 0)
    return float(terms.sum(-1).mean() / 2)


def write(path, object):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(object, file, indent=1)


def main():
    for folder in sys.argv[1:]:
        model = {side: Model(f"{folder}/{side}") for side in ("pre", "post")}
        states = {side: model[side].states(tensors(f"{folder}/golden-{side}.safetensors")) for side in model}
        linear = [i for i in range(len(model["post"].kinds)) if model["post"].is_linear(i)]
        for side in model:
            path = f"{folder}/range-{side}.json"
            with open(path, encoding="utf-8") as file:
                known = json.load(file)
            known.update({str(i): ranges(model[side].rows(i, states[side][i])) for i in linear})
            write(path, {key: known[key] for key in sorted(known, key=int)})
        write(f"{folder}/range-shift.json",
              {str(i): shift(model["pre"].rows(i, states["post"][i]), model["post"].rows(i, states["post"][i]))
               for i in linear})


main()
