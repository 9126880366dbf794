#!/usr/bin/env python3
"""check_readme.py - the comparison of the numbers in the README's tour with the program's output.

    check_readme.py README DIFF_JSON RANGE_JSON

Prints each sentence that the README lacks, and fails when there is one.
"""
import json
import re
import sys


def layer(path, index):
    with open(path, encoding="utf-8") as file:
        return {entry["index"]: entry for entry in json.load(file)["layers"]}[index]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        readme = re.sub(r"\s+", " ", file.read())
    drift = layer(sys.argv[2], 7)
    head = drift["q"]["heads"][0]
    shifts = {index: layer(sys.argv[3], index)["shift"] for index in (1, 4, 7, 10)}
    others = sorted(shift for index, shift in shifts.items() if index != 7)
    sentences = [
        f"{100 * drift['q']['rel_fro']:.1f} % in q, {100 * drift['k']['rel_fro']:.1f} % in k, "
        f"{100 * drift['routing']['rel_fro']:.1f} % in routing",
        f"{100 * head['rel_fro']:.1f} %, with a largest principal angle of {head['angle_max_deg']:.1f}°",
        f"largest in layer 7: {shifts[7]:.3f} nats, and {others[0]:.3f} to {others[-1]:.3f} in the other",
    ]
    missing = [sentence for sentence in sentences if sentence not in readme]
    print("\n".join(missing))
    sys.exit(1 if missing else 0)


main()
