#!/bin/sh
# test_adapter_names.sh - adapters as trainers write them: names of every kind on both sides, and tensors that have
# nothing to do with q and k. The drift is that of numpy.
. "$srcdir/tests/cli/common.sh"
python=${PYTHON:-/usr/bin/python3} # the one that Debian's numpy belongs to
real=$work/real
PYTHONPATH=$tools PYTHONDONTWRITEBYTECODE=1 "$python" "$tools/real_adapters.py" "$fixtures" "$real" || exit 1
printf '1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16' >"$work/ids"

# has_drift BASE ADAPTER - the last JSON has the drift of q and k that numpy computed, to 1e-5 of itself.
has_drift() {
    python3 - "$real/expected.json" "$1 $2" "$out" <<'PYTHON'
import json, sys
expected = json.load(open(sys.argv[1]))[sys.argv[2]]
layers = {layer["index"]: layer for layer in json.load(open(sys.argv[3]))["layers"]}
for i, roles in enumerate(expected):
    for role, value in zip("qk", roles or ()):
        found = layers[i][role]["rel_fro"]
        assert value > 0.01 and abs(found - value) <= 1e-5 * value, (i, role, found, value)
    assert roles is not None or "q" not in layers.get(i, {}), layers[i]
PYTHON
}

# notes N PATTERN - the last run ended well and said N lines, with the pattern among them.
notes() {
    [ "$code" -eq 0 ] && [ "$(wc -l <"$err")" -eq "$1" ] && grep -q -e "$2" "$err"
}

while read -r base adapter; do
    run diff "$real/$base" "$real/$adapter" --layers all --json
    check "$adapter on $base" has_drift "$base" "$adapter"
done <"$real/pairs"

run diff "$real/base" "$real/plain"
check "a plain adapter needs no note" says full
run diff "$real/gpt2" "$real/conv1d" --json
sed 's/conv1d/conv1d-mistaken/' "$out" >"$work/conv1d"
run diff "$real/gpt2" "$real/conv1d-mistaken" --json
check "fan_in_fan_out that contradicts the shapes" cmp "$work/conv1d" "$out"

# --- what has nothing to do with q and k: one note, and an export with --adapter ---
# aside BASE ADAPTER PATTERN - diff, plan and an export of the adapter go on; an export that merges is refused by name.
aside() {
    run diff "$real/$1" "$real/$2"
    check "$2: one note" notes 1 "$3"
    run plan "$real/$1" "$real/$2" --set 0=restore
    check "  of a plan, too" notes 1 "$3"
    run export "$real/$1" "$real/$2" --set 0=restore --adapter -o "$work/$2"
    check "  exported as an adapter" notes 1 "$3"
    run verify "$work/$2"
    check "  verified" ended 0
    run export "$real/$1" "$real/$2" --set 0=restore -o "$work/none"
    check "  not merged" sh -c "[ $code -eq 3 ] && tail -n 1 '$err' | grep -q -e '$3.*: no merged checkpoint can hold it: export with --adapter'"
}
aside base resized 'lm_head.weight and 1 more: trained with another number of rows than the base has (found (132, 64), lm_head.weight has (128, 64))'
aside tied tied-head 'lm_head.weight: a head of its own, which the base ties to its embedding'
aside base score 'score.weight: left out, for the base has no such tensor'
aside base value-head 'v_head.summary.weight: left out, for the base has no such tensor'
aside base experts 'mlp.experts.lora_A.weight: left out, for the base has no such tensor'
aside base tokens 'trainable_tokens_delta: trainable_token_indices is not supported'
run diff "$real/base" "$real/zero3"
check "empty factors: the layer has no numbers" notes 2 'layer 1 cannot be compared: post: .*lora_A.weight: it is empty, as ZeRO-3'
run export "$real/base" "$real/zero3" --set 1=restore --adapter -o "$work/none"
check "  and cannot be chosen" sh -c "[ $code -eq 2 ] && tail -n 1 '$err' | grep -q 'layer 1 cannot be chosen: .*it is empty'"
run export "$real/base" "$real/zero3" --set 2=restore -o "$work/none"
check "  nor merged" sh -c "[ $code -eq 3 ] && grep -q 'it is empty.*export with --adapter' '$err'"

# --- the numbers of what is merged ---
# range_of ADAPTER - the ranges of post, with the paths left out.
range_of() {
    run range "$real/base" "$1" --ids "$work/ids" --json
    sed 's/"path":[[:space:]]*"[^"]*"//' "$out" >"$work/range"
}
run range "$real/base" "$real/resized" --ids "$work/ids"
check "resized: the range of attention" notes 1 'another number of rows'
printf '1 2 3 131' >"$work/new-ids"
run range "$real/base" "$real/resized" --ids "$work/new-ids"
check "  a token that is new is unknown to pre" sh -c "[ $code -eq 0 ] && grep -q 'base: token 3 of the probe is outside the vocabulary (found 131, expected 0 to 127' '$err'"
run range "$real/base" "$real/tokens" --ids "$work/ids"
check "tokens: no range from an unknown embedding" sh -c "[ $code -eq 3 ] && tail -n 1 '$err' | grep -q 'trainable_token_indices is not supported'"
run range "$real/base" "$real/experts" --ids "$work/ids"
check "experts: no range of half a model" sh -c "[ $code -ne 0 ] && tail -n 1 '$err' | grep -q 'its adapter changes tensors of layers that the base does not have'"

# merged ADAPTER - the export is the base with the adapter merged by numpy: embedding and q, bit for bit.
merged() {
    PYTHONPATH=$tools "$python" - "$real/base" "$real/$1" "$work/$1-merged" <<'PYTHON'
import sys
import numpy as np
from stored import decode, encode, read_file
base, adapter, merged = (read_file(f"{folder}/{name}.safetensors") for folder, name in
                         zip(sys.argv[1:], ("model", "adapter_model", "model")))
def numbers(tensor):
    return decode(tensor[0], tensor[2]).reshape(tensor[1])
name = "model.embed_tokens"
values = numbers(base[name + ".weight"])
whole = [adapter[key] for key in adapter if "embed_tokens" in key and key.endswith(".weight")]
dtype = base[name + ".weight"][0]
if whole:
    values = decode(dtype, encode(dtype, numbers(whole[0]))).reshape(values.shape)
low = [numbers(adapter[f"base_model.model.{name}.lora_embedding_{x}"]) for x in "AB"]
assert merged[name + ".weight"][2] == encode(dtype, values + 2 * (low[1] @ low[0]).T)
name = "model.layers.2.self_attn.q_proj"
low = [numbers(adapter[f"base_model.model.{name}.lora_{x}.weight"]) for x in "AB"]
assert merged[name + ".weight"][2] == encode(base[name + ".weight"][0], numbers(base[name + ".weight"]) + 2 * (low[1] @ low[0]))
PYTHON
}
for adapter in low-rank-embedding low-rank-embedding-whole; do
    run export "$real/base" "$real/$adapter" --set all=keep -o "$work/$adapter-merged"
    check "$adapter: merged" merged "$adapter"
    run verify "$work/$adapter-merged"
    check "  verified" ended 0
done
run export "$real/base-multimodal" "$real/body" --set 1=restore -o "$work/across"
check "an adapter of the text class, merged into a multimodal base" ended 0
run verify "$work/across"
check "  verified" ended 0

# --- the kind of a folder ---
copy "$fixtures/llama/post" "$work/left-over"
cp "$real/plain/adapter_config.json" "$work/left-over"
run diff "$fixtures/llama/pre" "$fixtures/llama/post" --json
sed 's/"path":[[:space:]]*"[^"]*"//' "$out" >"$work/expected"
run diff "$fixtures/llama/pre" "$work/left-over" --json
sed 's/"path":[[:space:]]*"[^"]*"//' "$out" >"$work/found"
check "full weights beside a left-over adapter_config.json: a note" \
    notes 1 'adapter_config.json: left over: the weights beside it are those of a whole model'
check "  and their drift" cmp "$work/expected" "$work/found"
run info "$work/left-over"
check "  info says so, too" says 'adapter_config.json: left over'
mkdir "$work/weights-only"
cp "$real/plain/adapter_model.safetensors" "$work/weights-only"
run diff "$real/base" "$work/weights-only"
check "an adapter without its config" complains 3 "weights-only: the weights of an adapter without their adapter_config.json"

# --- refused ---
copy "$real/plain" "$work/fused"
run diff "$fixtures/phi3/pre" "$work/fused"
check "q alone on a base that fuses q, k and v" complains 3 'self_attn.k_proj.lora_A.weight: not supported, or made for another model'
done_testing
