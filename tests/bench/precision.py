"""precision.py - what --precision bf16 changes in the ranges and the answers of the demo pair.

precision.py QKSCOPE PAIR: prints rows of a Markdown table, or a line where bfloat16 cannot be multiplied. Exit 1 when a
command fails.
"""
import json
import subprocess
import sys

CASES = 15  # of each task


def run(program, *arguments):
    """What the command prints, in both precisions."""
    return [json.loads(subprocess.run([program, *arguments, "--json", "--no-cache", "--precision", precision], check=True,
                                      stdout=subprocess.PIPE).stdout) for precision in ("f32", "bf16")]


def largest(pairs):
    return max(abs(a - b) for a, b in pairs)


def main():
    program, pair = sys.argv[1:]
    sides = (f"{pair}/pre", f"{pair}/post")
    doctor = subprocess.run([program, "doctor"], check=True, stdout=subprocess.PIPE, text=True).stdout
    if not any(line.strip().startswith("bfloat16, one core") and line.endswith("Gflop/s") for line in doctor.splitlines()):
        print("This build or processor does not multiply bfloat16.")
        return 0
    print("| figure | float32 | bfloat16 |")
    print("|---|---|---|")
    one, half = (d["layers"] for d in run(program, "range", *sides))
    both = [(a[side], b[side]) for a, b in zip(one, half) for side in ("pre", "post")]
    means = [(a["mean"], b["mean"]) for a, b in both]
    print(f"| mean distance of a layer: from, to; largest difference | {min(a for a, _ in means):.1f}, "
          f"{max(a for a, _ in means):.1f} tokens | {largest(means):.3f} tokens |")
    print(f"| long mass of a layer: largest difference | | {largest((a['long_mass'], b['long_mass']) for a, b in both):.1e} |")
    print(f"| shift of a layer: largest; largest difference | {max(a['shift'] for a in one):.4f} | "
          f"{largest((a['shift'], b['shift']) for a, b in zip(one, half)):.1e} |")
    cases = [f"--cases={pair}/cases/{name}.jsonl" for name in ("recall", "reasoning")]
    one, half = (d["results"] for d in run(program, "eval", *sides, "--baselines", f"--limit={CASES}", *cases))
    for a, b in zip(one, half):
        for x, y in zip(a["tasks"], b["tasks"]):
            print(f"| {a['name']}, {x['task']}: right of {x['total']} | {x['right']} | {y['right']} |")
    return 0


sys.exit(main())
