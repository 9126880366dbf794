#!/usr/bin/env python3
"""check_drift.py REFERENCE < JSON - the comparison of `qkscope diff --json` with reference values.

Values agree to 1e-5 of themselves, angles to 1e-3 degrees; keys must be in their documented order.
"""
import json
import sys

ROLE = ["rel_fro", "cosine", "norm_ratio", "angle_mean_deg", "angle_max_deg"]
faults = []


def keys(where, found, expected):
    if list(found) != expected:
        faults.append(f"{where}: keys {list(found)}, expected {expected}")


def number(where, key, found, expected):
    good = abs(found - expected) <= (1e-3 if key.endswith("_deg") else 1e-5 * abs(expected))
    if not good:
        faults.append(f"{where}.{key}: {found}, expected {expected}")


def role(where, found, expected):
    keys(where, found, ROLE + ["heads"])
    for key in ROLE:
        number(where, key, found[key], expected[key])
    if len(found["heads"]) != len(expected["heads"]):
        faults.append(f"{where}: {len(found['heads'])} heads, expected {len(expected['heads'])}")
    for i, (a, b) in enumerate(zip(found["heads"], expected["heads"])):
        keys(f"{where}.heads[{i}]", a, ROLE + ["rank"])
        for key in ROLE:
            number(f"{where}.heads[{i}]", key, a[key], b[key])


def layer(where, found, expected):
    for key in ("index", "kind"):
        if found[key] != expected[key]:
            faults.append(f"{where}.{key}: {found[key]}, expected {expected[key]}")
    if "q" not in expected:
        keys(where, found, ["index", "kind"])
        return
    keys(where, found, ["index", "kind", "q", "k", "routing"])
    role(where + ".q", found["q"], expected["q"])
    role(where + ".k", found["k"], expected["k"])
    number(where + ".routing", "rel_fro", found["routing"]["rel_fro"], expected["routing"]["rel_fro"])
    for i, (a, b) in enumerate(zip(found["routing"]["heads"], expected["routing"]["heads"], strict=True)):
        number(f"{where}.routing.heads[{i}]", "rel_fro", a["rel_fro"], b["rel_fro"])


def main():
    with open(sys.argv[1]) as file:
        expected = json.load(file)
    found = json.load(sys.stdin)
    keys("root", found, ["qkscope", "pre", "post", "layers"])
    for side in ("pre", "post"):
        keys(side, found[side], ["path", "model_type"])
    if len(found["layers"]) != len(expected["layers"]):
        faults.append(f"{len(found['layers'])} layers, expected {len(expected['layers'])}")
    for a, b in zip(found["layers"], expected["layers"]):
        layer(f"layers[{b['index']}]", a, b)
    print("\n".join(faults))
    sys.exit(bool(faults))


main()
