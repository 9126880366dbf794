#!/usr/bin/env python3
"""blend_reference.py - a blend recomputed in float64 numpy, and compared with an exported checkpoint.

    blend_reference.py PRE POST OUT MODE PARAM [GROUP]

With GROUP the heads of that key group alone are blended, and all others are post's, bit for bit.

The code comes from the formulas alone and shares nothing with the program: it finds the rows of each family itself,
procrustes through numpy's SVD and complex plane angles, qk-pro through numpy's solve. Prints the worst difference
in units in the last place of bfloat16 and exits 1 when one is above 1, or when any other tensor differs from post.
"""
import json
import os
import sys

import numpy as np

from stored import decode, order, read_file


def numbers(tensor):
    dtype, shape, raw = tensor
    assert dtype == "BF16"
    return decode(dtype, raw).reshape(shape)


def layout(config, layer):
    """(positions, rotary dims, gains in the way) of a layer that has q and k, else None."""
    kind = config["model_type"]
    hd = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    if kind == "hypenet":
        full = config["mixer_types"][layer] == "attn"
        return ("none" if full else "half", hd, True)
    if kind == "jamba":
        types = config.get("layers_block_type") or config.get("layer_types")
        attention = types[layer] in ("attention", "full_attention") if types else \
            layer % config["attn_layer_period"] == config["attn_layer_offset"]
        return ("none", 0, False) if attention else None
    if kind in ("llama", "mistral", "qwen2"):
        return ("half", hd, False)
    raise SystemExit("no rows known for " + kind)


def rotation(form, rotary, m):
    if form == "none":
        u, _, vt = np.linalg.svd(m)
        return u @ vt
    turn = np.eye(len(m))
    for i in range(rotary // 2):
        j = i + rotary // 2
        # pre ~ e^{i angle} post: the best angle is the phase of sum pre * conj(post)
        z = complex(m[i, i] + m[j, j], m[j, i] - m[i, j])
        z /= abs(z)
        turn[i, i] = turn[j, j] = z.real
        turn[j, i], turn[i, j] = z.imag, -z.imag
    return turn


def blend_layer(a, b, form, rotary, gains, mode, param):
    """Dict role -> rows, from dicts role -> (heads, hd, d) of pre and post, where "bias q" and "bias k" may be, too."""
    group = len(a["q"]) // len(a["k"])
    out = {role: np.empty_like(rows) for role, rows in b.items()}
    for g in range(len(a["k"])):
        queries = range(g * group, (g + 1) * group)
        if mode == "lerp" or (mode == "procrustes" and gains):
            turn = np.eye(a["k"].shape[1])
        elif mode == "procrustes":
            m = a["k"][g] @ b["k"][g].T + sum(a["q"][h] @ b["q"][h].T for h in queries)
            turn = rotation(form, rotary, m)
        if mode == "qk-pro":
            out["k"][g] = a["k"][g]
            gram = a["k"][g] @ a["k"][g].T
            ridge = gram + param * np.trace(gram) / len(gram) * np.eye(len(gram))
            for h in queries:
                out["q"][h] = b["q"][h] + gram @ np.linalg.solve(ridge, a["q"][h] - b["q"][h])
            if "bias q" in b:
                out["bias k"], out["bias q"] = a["bias k"], b["bias q"]
            continue
        for role in b:
            for h in queries if role.endswith("q") else [g]:
                out[role][h] = (1 - param) * turn @ b[role][h] + param * a[role][h]
    return out


def keep_others(result, post, group):
    """Puts post's rows back where the head is in another key group."""
    per_group = len(post["q"]) // len(post["k"])
    for role, rows in result.items():
        first, n = (group * per_group, per_group) if role.endswith("q") else (group, 1)
        rows[:first], rows[first + n:] = post[role][:first], post[role][first + n:]


def main():
    folders, mode, param = sys.argv[1:4], sys.argv[4], float(sys.argv[5])
    pre, post, found = (read_file(os.path.join(folder, "model.safetensors")) for folder in folders)
    with open(os.path.join(folders[1], "config.json")) as file:
        config = json.load(file)
    worst, compared, touched = 0, 0, set()
    for layer in range(config["num_hidden_layers"]):
        rows = layout(config, layer)
        if rows is None:
            continue
        form, rotary, gains = rows
        names = {role: next(n for n in post if f"layers.{layer}.self_attn.{role}_proj.weight" in n) for role in "qk"}
        biases = {"bias " + role: name[:-len("weight")] + "bias" for role, name in names.items()}
        names.update({role: name for role, name in biases.items() if name in post})
        norm = next((n for n in post if f"layers.{layer}.self_attn.q_norm.weight" in n), None)
        hd = post[norm][1][0] if norm else \
            config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        views = [{role: numbers(side[name]).reshape(-1, hd, *side[name][1][1:]) for role, name in names.items()}
                 for side in (pre, post)]
        result = blend_layer(*views, form, rotary, gains, mode, param)
        if len(sys.argv) > 6:
            keep_others(result, views[1], int(sys.argv[6]))
        for role, name in names.items():
            steps = np.abs(order("BF16", result[role]).ravel() - order("BF16", numbers(found[name])).ravel())
            worst, compared = max(worst, int(steps.max())), compared + steps.size
            touched.add(name)
    others = [name for name in post if name not in touched and post[name] != found[name]]
    print(f"{compared} values of {len(touched)} tensors, worst {worst} units in the last place", *others)
    sys.exit(worst > 1 or bool(others) or compared == 0)


main()
