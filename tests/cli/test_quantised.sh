#!/bin/sh
# test_quantised.sh - weights of 8 bits with scales of every form and name, and packed ones, which are named. The drift
# is that of numpy.
. "$srcdir/tests/cli/common.sh"
python=${PYTHON:-/usr/bin/python3} # the one that Debian's numpy belongs to
made=$work/made
PYTHONPATH=$tools PYTHONDONTWRITEBYTECODE=1 "$python" "$tools/quantised.py" "$fixtures" "$made" || exit 1
printf '1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16' >"$work/ids"

# --- drift ---
while read -r a b; do
    "$QKSCOPE" diff "$made/$a" "$made/$b" --json >"$work/$a $b.json" || exit 1
done <"$made/pairs"
# Tolerance: both sides compute the same products in float64, from the same bytes.
cat >"$work/compare.py" <<'PYTHON'
import json, sys
work, pair = sys.argv[1:]
expected = json.load(open(f"{work}/made/expected.json"))[pair]
layers = json.load(open(f"{work}/{pair}.json"))["layers"]
assert len(layers) == len(expected) == 4
for layer, numbers in zip(layers, expected):
    for part, value in zip(("q", "k", "routing"), numbers):
        found = layer[part]["rel_fro"]
        assert value > 1e-4 and abs(found - value) <= 1e-5 * value, (layer["index"], part, found, value)
PYTHON
while read -r a b; do
    check "drift of $a and $b" python3 "$work/compare.py" "$work" "$a $b"
done <"$made/pairs"
run diff "$made/pre" "$made/huge"
check "cells of huge numbers do not run together" awk \
    'NR > 2 && (NF != 12 || !/1\.0e8% .* 1\.0e6 .* 1\.0e14% /) { exit 1 }' "$out"
run info "$made/whole"
check "info: one number" says 'scaled by one number'
check "  scales of activations are no q or k" sh -c "! grep -q 'look like q or k' '$out'"
run info "$made/row"
check "info: by row" says 'scaled by row'
run info "$made/group"
check "info: parts of rows" says 'scaled in blocks of 1 x 16'

# --- restoring ---
# restored PRE POST [HEADS] - the export has q and k of pre with their scales, all other bytes of post; of the first
# query head alone with HEADS.
cat >"$work/restored.py" <<'PYTHON'
import sys
sys.path.insert(0, sys.argv[1])
from stored_file import read_file
pre, post, out = (read_file(f"{folder}/model.safetensors") for folder in sys.argv[2:5])
head = len(sys.argv) > 5
assert list(out) == list(post)
scales = moved = 0
for name, (dtype, shape, raw) in post.items():
    mine = ".q_proj." in name or (".k_proj." in name and not head)
    aside = "input_scale" in name or "k_scale" in name
    expected = pre[name][2] if mine and not aside else raw
    if head and mine:
        cut = len(raw) // 4  # four heads
        expected = pre[name][2][:cut] + raw[cut:]
    assert out[name][2] == expected, name
    scales += mine and "scale" in name and not aside
    moved += mine and "scale" in name and expected != raw
assert scales == (4 if head else 8) and moved > 0, (scales, moved)
PYTHON
for pair in "block-pre block" "row-pre row" "whole-pre whole"; do
    set -- $pair
    run export "$made/$1" "$made/$2" --set all=restore -o "$work/out"
    check "$1 restored in $2" ended 0
    check "  values and scales" python3 "$work/restored.py" "$tools" "$made/$1" "$made/$2" "$work/out"
    run verify "$work/out"
    check "  verified" ended 0
    mv "$work/out" "$work/$1-restored"
done
run export "$made/row-pre" "$made/row" --set all/q0=restore -o "$work/out"
check "scales by row: a head alone" python3 "$work/restored.py" "$tools" "$made/row-pre" "$made/row" "$work/out" head
run export "$made/whole-pre" "$made/whole" --set 0/q0=restore -o "$work/none"
check "one scale: no head alone" complains 3 'q0 cannot be chosen alone: its blocks of scales hold other rows, too'
run export "$made/row-pre" "$made/row" --set all=lerp:0.5 -o "$work/none"
check "no blend of scaled values" complains 3 'q with scaled blocks cannot be blended'

# --- formats that differ ---
other='pre and post store q differently: it can be compared, but not restored or blended'
formats='(F8_E4M3 scaled by model.layers.0.self_attn.q_proj.weight_scale_inv, F32, one for 32 x 32 values in pre, BF16 in post)'
for set in all=restore all=lerp:0.5 0:q=restore; do
    run export "$made/block-pre" "$made/same" --set "$set" -o "$work/none"
    check "8 and 16 bits: no $set" complains 2 "layer 0 cannot be chosen: $other $formats"
done
run export "$made/block-pre" "$made/comfy" --set 1=restore -o "$work/none"
check "other scales: no restore" complains 2 "layer 1 cannot be chosen: $other .*weight_scale_inv, .*scale_weight"
run plan "$made/whole-pre" "$made/mixed" --set 0-1,3=restore
check "a layer that is not quantised leaves the others alone" ended 0
run plan "$made/whole-pre" "$made/mixed" --set 2=restore
check "  while it cannot" complains 2 "layer 2 cannot be chosen: $other (F8_E4M3"
run export "$made/block-pre" "$made/same" --set all=keep -o "$work/kept"
check "keeping is no choice" ended 0

# --- the pass ---
# The same numbers in float32 and in 8 bits with scales: the pass computes the same.
run range "$made/block-pre" "$made/exact" --ids "$work/ids" --json
check "a pass of scaled weights" python3 - "$out" <<'PYTHON'
import json, sys
layers = json.load(open(sys.argv[1]))["layers"]
assert len(layers) == 4
for layer in layers:
    assert layer["pre"]["mean"] > 0.5 and layer["shift"] < 1e-9, layer["shift"]
    assert abs(layer["pre"]["mean"] - layer["post"]["mean"]) < 1e-5
PYTHON
run range "$made/block-pre" "$work/block-pre-restored" --ids "$work/ids" --json
mv "$out" "$work/exported"
run range "$made/block-pre" "$made/block" --ids "$work/ids" --set all=restore --exact --json
check "  with restored scales: as that of the export" python3 - "$out" "$work/exported" <<'PYTHON'
import json, sys
exported = json.load(open(sys.argv[2]))["layers"]
for layer, other in zip(json.load(open(sys.argv[1]))["layers"], exported):
    assert layer["current"]["mean"] == other["post"]["mean"] != layer["post"]["mean"]
PYTHON
run range "$made/pre" "$made/unknown" --ids "$work/ids"
check "no pass of scales of an unknown form" complains 3 'no layer has q and k that fit'

# --- named ---
while read -r name words; do
    run diff "$made/pre" "$made/$name"
    check "$name is named" complains 3 "no layer has q and k that fit .*post: $words"
    run info "$made/$name"
    check "  info opens, and names it, too" says "$words"
done <<'NAMES'
bnb4 its weights are packed by quantisation (bitsandbytes, 4 bits, found model.layers.0.self_attn.q_proj.weight.quant_state
bnb8 its weights are packed by quantisation (bitsandbytes, 8 bits, found model.layers.0.self_attn.q_proj.SCB)
gptq its weights are packed by quantisation (GPTQ, found model.layers.0.self_attn.q_proj.g_idx)
gptq-unknown its weights are packed by quantisation (GPTQ, found model.layers.0.self_attn.q_proj.g_idx)
awq its weights are packed by quantisation (AWQ, found model.layers.0.self_attn.q_proj.qweight)
compressed its weights are packed by quantisation (compressed-tensors, found model.layers.0.self_attn.q_proj.weight_packed)
mxfp4 its weights are packed by quantisation (MXFP4, found model.layers.0.self_attn.q_proj_blocks)
nvfp4 its weights are packed by quantisation (NVFP4, found model.layers.0.self_attn.q_proj.weight_scale_2)
int8 model.layers.0.self_attn.q_proj.weight is stored as I8, scaled by model.layers.0.self_attn.q_proj.weight_scale (compressed-tensors)
unknown its weights are scaled by model.layers.0.self_attn.q_proj.scaling_factor_scale (no quant_method in its config)
misfit model.layers.0.self_attn.q_proj.weight_scale does not hold one scale, one for each row or one for each block of 128 x 128
NAMES
run diff "$made/pre" "$made/gptq-output"
check "a packed output projection: drift" says full
run range "$made/pre" "$made/gptq-output" --ids "$work/ids"
check "  and no pass, by the name of the method" complains 3 'o_proj.g_idx: packed by quantisation (GPTQ), which is not supported'
run diff "$made/pre" "$made/empty"
check "an empty tensor of ZeRO-3 leaves the other layers" sh -c \
    "[ $code -eq 0 ] && grep -q 'layer 2 cannot be compared: post: .*q_proj.weight holds no values, as ZeRO-3' '$err'"
done_testing
