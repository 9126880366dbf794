#!/usr/bin/env python3
"""latent_estimate.py FOLDER JSON - the estimate of latent attention (MLA) in numpy, beside what the program printed.

The mean logit at distance t over inputs of white noise is the trace of W_Q^T R(t) W_K. W_Q and W_K are products of
factors, with the gains of the latents' norms; a latent's norm makes the mean square of its entries 1.
"""
import json
import os
import sys

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.environ["srcdir"], "tests", "data"))
from reference import read, yarn  # noqa: E402


def growth(factor, scale):
    return 0.1 * scale * np.log(factor) + 1 if factor > 1 else 1


def latent(up, gain, down):
    return up * gain @ down * np.sqrt(len(down) / (down * down).sum())


def main():
    folder, printed = sys.argv[1:]
    with open(os.path.join(folder, "config.json")) as file:
        c = json.load(file)
    with open(printed) as file:
        found = json.load(file)
    t, n = read(os.path.join(folder, "model.safetensors")), c["num_attention_heads"]
    still, turned, rank = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["kv_lora_rank"]
    rope = c["rope_parameters"]
    f, scale = 1 / rope["rope_theta"] ** (np.arange(0, turned, 2) / turned), (still + turned) ** -0.5
    grown = 1
    if rope["rope_type"] == "yarn":
        f = yarn(turned, rope).astype(np.float64)
        grown = growth(rope["factor"], rope["mscale"]) / growth(rope["factor"], rope["mscale_all_dim"])
        if c["model_type"] != "mistral4":
            scale *= growth(rope["factor"], rope["mscale_all_dim"]) ** 2
    worst, most = 0, 0
    for layer in found["layers"]:
        def w(name):
            return t[f"model.layers.{layer['index']}.self_attn.{name}.weight"]
        q = latent(w("q_b_proj"), w("q_a_layernorm"), w("q_a_proj")) if c["q_lora_rank"] else w("q_proj")
        q, down = q.reshape(n, still + turned, -1), w("kv_a_proj_with_mqa")
        k = latent(w("kv_b_proj"), w("kv_a_layernorm"), down[:rank]).reshape(n, -1, q.shape[2])[:, :still]
        for h, head in enumerate(layer["pre"]["heads"]):
            rows = np.concatenate([k[h], down[rank:]])
            for distance, logit in zip(found["distances"], head["logit"]):
                R = np.eye(still + turned)
                for j, angle in enumerate(f * distance):
                    one, two = (2 * j, 2 * j + 1) if c.get("rope_interleave", True) else (j, j + turned // 2)
                    at = np.ix_([still + one, still + two], [still + one, still + two])
                    cos, sin = grown ** 2 * np.cos(angle), grown ** 2 * np.sin(angle)
                    R[at] = [[cos, -sin], [sin, cos]]
                expected = scale * ((R @ q[h]) * rows).sum()
                worst, most = max(worst, abs(logit - expected)), max(most, abs(expected))
    print(f"{worst / most:.1e} of the largest")
    sys.exit(not found["layers"] or not worst < 1e-6 * most)  # the frequencies are float32 in one of the two


main()
