"""forward_torch.py - passes with ranges beside plain PyTorch passes of the same model, in turn.

forward_torch.py QKSCOPE BENCH_FORWARD FOLDER [TOKENS...]: FOLDER receives a pair with the shapes of Qwen3 0.6B
(QK_BENCH_LAYERS of its 28 layers, 8 without it), or holds it from before. `qkscope range` runs as its own process,
from its start to its last line. PyTorch runs one pass of one side in a process that keeps running, without maps, in
float32. Both use the processors of this process. Then bench_forward continues 16 prompts of 1,024 tokens with 64 tokens
each, and so does PyTorch; and one thread is compared with more. Prints rows of Markdown tables; exit 1 when a limit is
missed.
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


def run_torch(torch, w, layers, ids, kept=None):
    """Final states (B, T, d) of a pass over ids (B, T), written as in a notebook. kept: a list with (keys, values) of
    each layer, of the tokens before; the pass adds its own."""
    def norm(x, name):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * w[name + ".weight"]

    def project(x, name):
        return x @ w[name + ".weight"].T

    b, t = ids.shape
    before = kept[0][0].shape[2] if kept else 0
    angle = torch.arange(before, before + t).float()[:, None] / 1e6 ** (torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
    cosine, sine = (torch.cat([f(angle)] * 2, -1) for f in (torch.cos, torch.sin))

    def place(x):
        low, high = x.split(HEAD_DIM // 2, -1)
        return x * cosine + torch.cat([-high, low], -1) * sine

    attend = getattr(torch.nn.functional, "scaled_dot_product_attention", None)
    mask = None if attend or t == 1 else torch.full((t, t), float("-inf")).triu(1)
    x = w["model.embed_tokens.weight"][ids]
    for i in range(layers):
        below = f"model.layers.{i}."
        normed = norm(x, below + "input_layernorm")
        q, k, v = (project(normed, f"{below}self_attn.{r}_proj").view(b, t, -1, HEAD_DIM).transpose(1, 2)
                   for r in "qkv")
        q, k = (place(norm(z, f"{below}self_attn.{r}_norm")) for z, r in ((q, "q"), (k, "k")))
        if kept is not None:
            if before:
                k, v = torch.cat([kept[i][0], k], 2), torch.cat([kept[i][1], v], 2)
                kept[i] = (k, v)
            else:
                kept.append((k, v))
        if t == 1:  # the heads of a group share keys and values, which are not copied
            grouped = q.reshape(b, KEYS, HEADS // KEYS, HEAD_DIM)
            mixed = (torch.softmax(grouped @ k.transpose(2, 3) * HEAD_DIM ** -0.5, -1) @ v).view(b, HEADS, 1, HEAD_DIM)
        else:
            k, v = (z.repeat_interleave(HEADS // KEYS, 1) for z in (k, v))
            if attend:
                mixed = attend(q, k, v, is_causal=True)
            else:
                mixed = torch.softmax(q @ k.transpose(2, 3) * HEAD_DIM ** -0.5 + mask, -1) @ v
        x = x + project(mixed.transpose(1, 2).reshape(b, t, -1), below + "self_attn.o_proj")
        normed = norm(x, below + "post_attention_layernorm")
        gate = torch.nn.functional.silu(project(normed, below + "mlp.gate_proj"))
        x = x + project(gate * project(normed, below + "mlp.up_proj"), below + "mlp.down_proj")
    return norm(x, "model.norm")


def generate_torch(torch, w, layers, ids, new):
    """Seconds of the first token and of all `new` tokens behind ids (B, T), the likeliest each. Prompts are read one by
    one, since maps of all would need gigabytes: so the first one is read, its time counts for each, and all go on from
    its keys and values."""
    start = time.perf_counter()
    head = w["model.embed_tokens.weight"].T
    one = []
    states = run_torch(torch, w, layers, ids[:1], one)[:, -1:]
    first = (time.perf_counter() - start) * len(ids)
    kept = [tuple(x.repeat(len(ids), 1, 1, 1) for x in layer) for layer in one]
    last = (states @ head).argmax(-1).repeat(len(ids), 1)
    start = time.perf_counter()
    for _ in range(new - 1):
        last = (run_torch(torch, w, layers, last, kept) @ head).argmax(-1)
    return first, first + time.perf_counter() - start


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare_passes(torch, weights, program, folder, layers, lengths):
    """Rows for `range` of both sides beside two passes; true when a limit is missed."""
    threads = torch.get_num_threads()
    print(f"| tokens ({layers} layers, {threads} threads) | PyTorch {torch.__version__}, one pass "
          "| `qkscope range`, both sides | qkscope : two passes | limit |")
    print("|---|---|---|---|---|")
    missed = False
    for n in lengths:
        command = range_command(program, folder, n)
        ids = torch.tensor([read_ids(folder, n)])
        rounds = []
        for i in range(ROUNDS + 1):  # the first warms up
            ours = seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
            theirs = seconds(lambda: run_torch(torch, weights, layers, ids))
            if i > 0:
                rounds.append((theirs, ours, ours / (2 * theirs)))
        theirs, ours, ratio = medians(rounds)
        missed |= ratio > 1
        print(f"| {n:,} | {theirs:.2f} s | {ours:.2f} s | {ratio:.2f} | at most 1 |")
    return missed


def compare_generation(torch, weights, bench, folder, layers):
    """Rows for greedy continuations, and for the rate of reading one prompt; true when a limit is missed."""
    prompts, tokens, new = 16, 1024, 64
    ids = torch.tensor([[(t * t * 31 + i * 7) % 251 for t in range(tokens)] for i in range(prompts)])
    rounds, rates = [], []
    for _ in range(ROUNDS):
        read, all_of, _ = run_bench(bench, folder, prompts, tokens, new)
        first, total = generate_torch(torch, weights, layers, ids, new)
        rounds.append((read, all_of - read, first, total - first, first / read, (total - first) / (all_of - read),
                       total / all_of))
        read, _, sgemm = run_bench(bench, folder, 1, 2048, 1)
        rates.append((sgemm / read,))
    read, steps, first, rest, ratio, step_ratio, both = medians(rounds)
    rate = medians(rates)[0]
    print("\n| figure | qkscope | PyTorch | PyTorch : qkscope | limit |\n|---|---|---|---|---|")
    print(f"| {prompts} prompts of {tokens:,} tokens, read | {read:.2f} s | {first:.2f} s | {ratio:.2f} | |")
    print(f"| {new - 1} tokens more behind each | {steps:.2f} s | {rest:.2f} s | {step_ratio:.2f} | at least 2 |")
    print(f"| both | {read + steps:.2f} s | {first + rest:.2f} s | {both:.2f} | |")
    print(f"| 2,048 tokens: rate : OpenBLAS's sgemm of as many operations | {rate:.2f} | | | at least 0.7 |")
    return step_ratio < 2 or rate < 0.7


def compare_threads(program, folder, lengths):
    """Rows for `range` with 1, 2, 4 ... threads beside one thread."""
    most = len(os.sched_getaffinity(0))
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64, 128) if n < most] + [most]
    print("\n| tokens | " + " | ".join(f"{n} threads" if n > 1 else "one thread" for n in counts) + " |")
    print("|---" * (len(counts) + 1) + "|")
    for n in lengths:
        rounds = []
        for _ in range(ROUNDS):
            commands = [range_command(program, folder, n) + ["--threads", str(c)] for c in counts]
            rounds.append([seconds(lambda: subprocess.run(c, check=True, stdout=subprocess.DEVNULL)) for c in commands])
        times = [f"{medians(rounds)[0]:.2f} s"] + [
            f"{t:.2f} s, {speed:.1f} times" for t, speed in
            zip(medians(rounds)[1:], medians([[r[0] / x for x in r[1:]] for r in rounds]))]
        print(f"| {n:,} | " + " | ".join(times) + " |")


def range_command(program, folder, n):
    ids = np.random.default_rng(n).integers(0, VOCABULARY, n).tolist()
    with open(f"{folder}/ids{n}", "w") as f:
        f.write(" ".join(map(str, ids)))
    return [program, "range", f"{folder}/pre", f"{folder}/post", "--ids", f"{folder}/ids{n}", "--no-cache"]


def read_ids(folder, n):
    with open(f"{folder}/ids{n}") as f:
        return [int(x) for x in f.read().split()]


def run_bench(bench, folder, *numbers):
    out = subprocess.run([bench, f"{folder}/pre", *map(str, numbers)], check=True, capture_output=True, text=True)
    return [float(x) for x in out.stdout.split()]


def medians(rounds):
    return [statistics.median(r[k] for r in rounds) for k in range(len(rounds[0]))]


def main():
    program, bench, folder = sys.argv[1:4]
    lengths = [int(x) for x in sys.argv[4:]] or [512, 2048]
    layers = int(os.environ.get("QK_BENCH_LAYERS", "8"))
    try:
        import torch
    except ImportError:
        print("python3-torch is not installed: nothing was compared.")
        return 0
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_grad_enabled(False)
    for seed, side in enumerate(("pre", "post")):
        if not os.path.exists(f"{folder}/{side}/config.json"):
            write_side(f"{folder}/{side}", layers, seed)
    weights = read_side(torch, f"{folder}/pre")
    missed = compare_passes(torch, weights, program, folder, layers, lengths)
    missed |= compare_generation(torch, weights, bench, folder, layers)
    compare_threads(program, folder, [n for n in lengths if n <= 2048])
    return int(missed)


sys.exit(main())
