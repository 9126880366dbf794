"""forward_torch.py - passes with ranges beside plain PyTorch passes of the same model, in turn.

forward_torch.py QKSCOPE FOLDER [TOKENS...]: FOLDER receives a pair with the shapes of Qwen3 0.6B (QK_BENCH_LAYERS of
its 28 layers, 8 without it), or holds it from before. `qkscope range` runs as its own process, from its start to its
last line. PyTorch runs one pass of one side in a process that keeps running, without maps, in float32. Both use the
processors of this process. Prints rows of a Markdown table; exit 1 when two passes of PyTorch take less time.
"""
import json
import os
import statistics
import struct
import subprocess
import sys
import time

import numpy as np

ROUNDS = 3
D, HEADS, KEYS, HEAD_DIM, WIDTH, VOCABULARY = 1024, 16, 8, 128, 3072, 32768


def shapes(layers):
    """Tensors of a side: name -> (shape, standard deviation, 0 for a gain of ones)."""
    out = {"model.embed_tokens.weight": ((VOCABULARY, D), 1.0)}
    for i in range(layers):
        below = f"model.layers.{i}."
        for name, rows, columns in (("self_attn.q_proj", HEADS * HEAD_DIM, D), ("self_attn.k_proj", KEYS * HEAD_DIM, D),
                                    ("self_attn.v_proj", KEYS * HEAD_DIM, D), ("self_attn.o_proj", D, HEADS * HEAD_DIM),
                                    ("mlp.gate_proj", WIDTH, D), ("mlp.up_proj", WIDTH, D),
                                    ("mlp.down_proj", D, WIDTH)):
            out[f"{below}{name}.weight"] = ((rows, columns), columns ** -0.5)
        for name, n in (("input_layernorm", D), ("post_attention_layernorm", D), ("self_attn.q_norm", HEAD_DIM),
                        ("self_attn.k_norm", HEAD_DIM)):
            out[f"{below}{name}.weight"] = ((n,), 0.0)
    out["model.norm.weight"] = ((D,), 0.0)
    return out


def write_side(folder, layers, seed):
    os.makedirs(folder, exist_ok=True)
    config = dict(model_type="qwen3", hidden_size=D, num_attention_heads=HEADS, num_key_value_heads=KEYS,
                  head_dim=HEAD_DIM, intermediate_size=WIDTH, num_hidden_layers=layers, vocab_size=VOCABULARY,
                  rms_norm_eps=1e-6, rope_theta=1e6, tie_word_embeddings=True, hidden_act="silu",
                  attention_bias=False, torch_dtype="bfloat16")
    with open(f"{folder}/config.json", "w") as f:
        json.dump(config, f)
    header, at, tensors = {}, 0, shapes(layers)
    for name, (shape, _) in tensors.items():
        n = 2 * int(np.prod(shape))
        header[name] = dict(dtype="BF16", shape=list(shape), data_offsets=[at, at + n])
        at += n
    text = json.dumps(header).encode()
    random = np.random.default_rng(seed)
    with open(f"{folder}/model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for shape, deviation in tensors.values():
            values = random.standard_normal(shape, dtype=np.float32) * deviation if deviation else np.ones(shape)
            f.write((values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes())


def read_side(torch, folder):
    with open(f"{folder}/model.safetensors", "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        raw = np.fromfile(f, dtype=np.uint16)
    out = {}
    for name, entry in header.items():
        begin, end = (x // 2 for x in entry["data_offsets"])
        values = (raw[begin:end].astype(np.uint32) << 16).view(np.float32)
        out[name] = torch.from_numpy(values.reshape(entry["shape"]).copy())
    return out


def run_torch(torch, w, layers, ids):
    """Final states (T, d) of a pass, written as in a notebook."""
    def norm(x, name):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * w[name + ".weight"]

    def project(x, name):
        return x @ w[name + ".weight"].T

    t = len(ids)
    angle = torch.arange(t).float()[:, None] / 1e6 ** (torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
    cosine, sine = (torch.cat([f(angle)] * 2, -1) for f in (torch.cos, torch.sin))

    def place(x):
        low, high = x.split(HEAD_DIM // 2, -1)
        return x * cosine + torch.cat([-high, low], -1) * sine

    attend = getattr(torch.nn.functional, "scaled_dot_product_attention", None)
    mask = None if attend else torch.full((t, t), float("-inf")).triu(1)
    x = w["model.embed_tokens.weight"][torch.tensor(ids)]
    for i in range(layers):
        below = f"model.layers.{i}."
        normed = norm(x, below + "input_layernorm")
        q, k, v = (project(normed, f"{below}self_attn.{r}_proj").view(t, -1, HEAD_DIM) for r in "qkv")
        q = place(norm(q, below + "self_attn.q_norm").transpose(0, 1))
        k = place(norm(k, below + "self_attn.k_norm").transpose(0, 1)).repeat_interleave(HEADS // KEYS, 0)
        v = v.transpose(0, 1).repeat_interleave(HEADS // KEYS, 0)
        if attend:
            mixed = attend(q[None], k[None], v[None], is_causal=True)[0]
        else:
            scores = torch.baddbmm(mask.expand(HEADS, t, t), q, k.transpose(1, 2), alpha=HEAD_DIM ** -0.5)
            mixed = torch.softmax(scores, -1) @ v
        x = x + project(mixed.transpose(0, 1).reshape(t, -1), below + "self_attn.o_proj")
        normed = norm(x, below + "post_attention_layernorm")
        gate = torch.nn.functional.silu(project(normed, below + "mlp.gate_proj"))
        x = x + project(gate * project(normed, below + "mlp.up_proj"), below + "mlp.down_proj")
    return norm(x, "model.norm")


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main():
    program, folder = sys.argv[1:3]
    lengths = [int(x) for x in sys.argv[3:]] or [512, 2048]
    layers = int(os.environ.get("QK_BENCH_LAYERS", "8"))
    try:
        import torch
    except ImportError:
        print("python3-torch is not installed: nothing was compared.")
        return 0
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    for seed, side in enumerate(("pre", "post")):
        if not os.path.exists(f"{folder}/{side}/config.json"):
            write_side(f"{folder}/{side}", layers, seed)
    weights = read_side(torch, f"{folder}/pre")
    print(f"| tokens ({layers} layers, {threads} threads) | PyTorch {torch.__version__}, one pass "
          "| `qkscope range`, both sides | qkscope : two passes | limit |")
    print("|---|---|---|---|---|")
    missed = False
    for n in lengths:
        ids = np.random.default_rng(n).integers(0, VOCABULARY, n).tolist()
        with open(f"{folder}/ids", "w") as f:
            f.write(" ".join(map(str, ids)))
        command = [program, "range", f"{folder}/pre", f"{folder}/post", "--ids", f"{folder}/ids", "--no-cache"]
        rounds = []
        for i in range(ROUNDS + 1):  # the first warms up
            ours = seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
            theirs = seconds(lambda: run_torch(torch, weights, layers, ids))
            if i > 0:
                rounds.append((theirs, ours, ours / (2 * theirs)))
        theirs, ours, ratio = (statistics.median(r[k] for r in rounds) for k in range(3))
        missed |= ratio > 1
        print(f"| {n:,} | {theirs:.2f} s | {ours:.2f} s | {ratio:.2f} | at most 1 |")
    return int(missed)


sys.exit(main())
