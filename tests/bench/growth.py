#!/usr/bin/env python3
"""growth.py - how the time of `qkscope diff` grows with the number of layers, their width, and their heads.

    growth.py QKSCOPE MAKE_PAIR [ROUNDS]

Makes small pairs with make_pair in a temporary folder (of $TMPDIR), and prints a Markdown table for each of the
three: median seconds of interleaved rounds, seconds a unit, and seconds a unit of the part added since the row above,
without a fixed cost of starting. Where growth is linear the last column does not grow.
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 5
SAME = {"--layers": 8, "--d": 2048, "--heads": "16,4", "--head-dim": 128, "--vocab": 256}
# What grows, its word, and its sizes: (option's value, units). A key head comes with every four query heads.
GROWTH = [
    ("--layers", "layer", [(n, n) for n in (4, 8, 16, 32)]),
    ("--d", "1,024 columns", [(n, n / 1024) for n in (1024, 2048, 4096, 8192)]),
    ("--heads", "query head", [(f"{n},{n // 4}", n) for n in (4, 8, 16, 32)]),
]


def make(make_pair, folder, option, value):
    options = {**SAME, option: value}
    words = [str(word) for pair in options.items() for word in pair]
    subprocess.run([make_pair, "hypenet-9b", *words, "--q-k-only", folder], check=True)


def seconds_of(qkscope, folder):
    begin = time.monotonic()
    subprocess.run([qkscope, "diff", folder + "/pre", folder + "/post"], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - begin


def table(qkscope, make_pair, rounds, option, word, sizes):
    took = [[] for _ in sizes]
    with tempfile.TemporaryDirectory() as top:
        folders = [os.path.join(top, str(i)) for i in range(len(sizes))]
        for folder, (value, _) in zip(folders, sizes):
            os.mkdir(folder)
            make(make_pair, folder, option, value)
            seconds_of(qkscope, folder)  # warm
        for _ in range(rounds):
            for seconds, folder in zip(took, folders):
                seconds.append(seconds_of(qkscope, folder))
    same = ", ".join(f"{name[2:]} {value}" for name, value in SAME.items() if name not in (option, "--vocab"))
    print(f"| {option[2:]} ({same}) | seconds | ms a {word} | ms a {word} added |")
    print("|---|---|---|---|")
    before = None
    for (value, units), seconds in zip(sizes, took):
        s = statistics.median(seconds)
        added = "" if before is None else f"{1000 * (s - before[0]) / (units - before[1]):.2f}"
        print(f"| {value} | {s:.3f} | {1000 * s / units:.2f} | {added} |")
        before = s, units
    print()


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: growth.py QKSCOPE MAKE_PAIR [ROUNDS]")
    qkscope, make_pair = (os.path.abspath(path) for path in sys.argv[1:3])
    rounds = int(sys.argv[3]) if len(sys.argv) == 4 else ROUNDS
    for option, word, sizes in GROWTH:
        table(qkscope, make_pair, rounds, option, word, sizes)


main()
