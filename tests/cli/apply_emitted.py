#!/usr/bin/env python3
"""apply_emitted.py TOOL FILE EXPORT UNITS - an interpreter of the emitted file, whose result is
compared with an exported folder.

TOOL is mergekit or brainsurgery. It knows the used part of each tool's language, written from its
documentation; anything else in the file is an error. Every tensor of the export must be there, with the same
dtype, and equal to UNITS units in the last place (0: bit for bit; NaN is not expected anywhere).
"""
import os
import re
import sys

import numpy as np
import yaml

from stored import encode, order, read_folder, rounded

FLOATS = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}


def keys(mapping, required, optional=()):
    assert isinstance(mapping, dict), mapping
    assert set(required) <= set(mapping) <= set(required) | set(optional), sorted(mapping)


# --- mergekit: a linear merge of whole models ---

def setting(entries, name):
    """The value of the first entry whose filter is part of the name; one without a filter is for every name."""
    for entry in entries:
        keys(entry, ["value"], ["filter"])
        if "filter" not in entry or entry["filter"] in name:
            return entry["value"]
    raise AssertionError("no weight for " + name)


def mergekit(document):
    keys(document, ["merge_method", "base_model", "models", "parameters"], ["dtype", "out_dtype"])
    assert document["merge_method"] == "linear"
    assert document["parameters"] == {"normalize": False}
    models = []
    for entry in document["models"]:
        keys(entry, ["model", "parameters"])
        keys(entry["parameters"], ["weight"])
        models.append((entry["model"], read_folder(entry["model"]), entry["parameters"]["weight"]))
    assert document["base_model"] in [path for path, _, _ in models]
    names = set().union(*(tensors for _, tensors, _ in models))
    result = {}
    for name in names:
        parts = [tensors[name] for _, tensors, _ in models]
        assert len({numbers.shape for _, numbers in parts}) == 1, name
        work = FLOATS[document["dtype"]] if "dtype" in document else parts[0][0]
        assert "dtype" in document or len({dtype for dtype, _ in parts}) == 1, name
        total = 0
        for (_, _, weights), (_, numbers) in zip(models, parts):
            # each step is rounded to the dtype that the tensors have there
            weight = rounded(work, np.array(setting(weights, name), float))
            total = rounded(work, total + rounded(work, weight * rounded(work, numbers)))
        out = FLOATS[document["out_dtype"]] if "out_dtype" in document else work
        result[name] = (out, rounded(out, total))
    return result


# --- brainsurgery: a list of transforms on tensors, found by regular expressions ---

def brainsurgery(document):
    keys(document, ["inputs", "transforms", "output"])
    keys(document["output"], ["path", "format"])
    models, written = {}, set()
    for item in document["inputs"]:
        alias, path = item.split("::", 1)
        models[alias] = read_folder(path)

    def part(reference):
        """(alias, expression, index): [0:4, :] behind the name is a slice of the tensor."""
        alias, expression, *rest = reference.split("::")
        if not rest:
            return alias, expression, ...
        assert len(rest) == 1 and re.fullmatch(r"\[(\d*:\d*)(, \d*:\d*)*\]", rest[0]), reference
        bounds = [[int(n) if n else None for n in axis.split(":")] for axis in rest[0][1:-1].split(", ")]
        return alias, expression, tuple(slice(*ends) for ends in bounds)

    def find(reference):
        alias, expression, _ = part(reference)
        found = [name for name in models[alias] if re.fullmatch(expression, name)]
        assert found, "nothing matches " + reference
        return alias, found, expression

    def pairs(body):
        alias, found, expression = find(body["from"])
        to_alias, template, _ = part(body["to"])
        written.add(to_alias)
        for name in found:
            yield models[alias][name], models[to_alias], re.fullmatch(expression, name).expand(template)

    def targets(body):
        alias, found, _ = find(body["target"])
        written.add(alias)
        return [(models[alias], name) for name in found]

    for transform in document["transforms"]:
        ((what, body),) = transform.items()
        if what == "assign":
            keys(body, ["from", "to"])
            for (dtype, numbers), model, name in pairs(body):
                source, target = part(body["from"])[2], part(body["to"])[2]
                assert model[name][0] == dtype and model[name][1][target].shape == numbers[source].shape, name
                changed = model[name][1].copy()
                changed[target] = numbers[source]
                model[name] = (dtype, changed)
        elif what == "cast":
            keys(body, ["from", "to", "dtype"])
            for (_, numbers), model, name in pairs(body):
                assert name not in model, name
                model[name] = (FLOATS[body["dtype"]], rounded(FLOATS[body["dtype"]], numbers))
        elif what == "add_":
            keys(body, ["from", "to"])
            for (dtype, numbers), model, name in pairs(body):
                assert model[name][0] == dtype and model[name][1].shape == numbers.shape, name
                model[name] = (dtype, rounded(dtype, model[name][1] + numbers))
        elif what == "scale_":
            keys(body, ["target", "by"])
            for model, name in targets(body):
                dtype, numbers = model[name]
                model[name] = (dtype, rounded(dtype, numbers * body["by"]))
        elif what == "cast_":
            keys(body, ["target", "to"])
            for model, name in targets(body):
                model[name] = (FLOATS[body["to"]], rounded(FLOATS[body["to"]], model[name][1]))
        elif what == "delete":
            keys(body, ["target"])
            for model, name in targets(body):
                del model[name]
        else:
            raise AssertionError("unknown transform " + what)
    (alias,) = written  # what is saved is the one alias that is written to
    return models[alias]


def distance(name, found, expected):
    assert found[0] == expected[0] and found[1].shape == expected[1].shape, name
    if encode(*found) == encode(*expected):
        return 0
    return int(np.abs(order(*found) - order(*expected)).max()) or 1  # 0 and -0 are no steps apart, and differ


def main():
    tool, path, folder, units = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        document = yaml.safe_load(file)
    found = {"mergekit": mergekit, "brainsurgery": brainsurgery}[tool](document)
    expected = read_folder(folder)
    assert set(found) == set(expected), set(found) ^ set(expected)
    worst = max(distance(name, found[name], expected[name]) for name in expected)
    print(f"{os.path.basename(path)}: {len(expected)} tensors, worst {worst} units in the last place")
    sys.exit(worst > int(units))


main()
