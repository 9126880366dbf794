#!/bin/sh
# test_adapter.sh - POST as a PEFT adapter: the same numbers and the same export as with the checkpoint that numpy
# merged, and one line for every adapter that is refused.
. "$srcdir/tests/cli/common.sh"
python=${PYTHON:-/usr/bin/python3} # the one that Debian's numpy belongs to
before=$(sums "$fixtures")

# same_tensors UNITS FOLDER FOLDER [OTHER...] - every tensor of both is equal, to so many units in the last place of
# the largest value that stands there in any of the folders; 0: bit for bit. The headers may be another way.
same_tensors() {
    PYTHONPATH=$tools "$python" -c "
import sys
import numpy as np
from stored import FORMATS, decode, read_file
units = float(sys.argv[1])
a, b, *others = (read_file(folder + '/model.safetensors') for folder in sys.argv[2:])
assert a.keys() == b.keys(), a.keys() ^ b.keys()
for name in a:
    (dtype, shape, x), (other, other_shape, y) = a[name], b[name]
    assert (dtype, shape) == (other, other_shape), name
    values = [decode(dtype, raw) for raw in [x, y] + [other[name][2] for other in others]]
    unit = np.exp2(np.floor(np.log2(np.maximum(np.abs(values).max(0), 1e-30))) - FORMATS[dtype][0])
    steps = (np.abs(values[0] - values[1]) / unit).max()
    assert x == y or 0 < steps <= units, (name, steps)" "$@"
}

# without_paths - what diff --json prints but for the paths.
without_paths() {
    sed 's/"path":[[:space:]]*"[^"]*"//' "$1"
}

for pair in plain:llama patterns:qwen2 conv1d:gpt2 latent:deepseek_v3; do
    kind=${pair%:*} base=$fixtures/${pair#*:}/pre
    adapter=$work/$kind merged=$work/$kind-merged
    "$python" "$tools/make_adapter.py" $kind "$base" "$adapter" &&
        "$python" "$tools/merge_adapter.py" "$base" "$adapter" "$merged" || exit 1
    read_only=$(sums "$adapter")
    run diff "$base" "$merged" --json
    without_paths "$out" >"$work/expected"
    run diff "$base" "$adapter" --json
    without_paths "$out" >"$work/found"
    check "$kind: the drift is that of the merged checkpoint" cmp "$work/expected" "$work/found"
    check "  and is there" sh -c "[ $code -eq 0 ] && grep -q 'rel_fro\":[[:space:]]*0\.[0-9]*[1-9]' '$work/found'"
    check "  post is the adapter" grep -q "\"path\":[[:space:]]*\"$adapter\"" "$out"

    run export "$base" "$adapter" --set all=keep -o "$work/$kind-out"
    check "  exported without a choice it is merged" ended 0
    check "  as numpy does" same_tensors 0 "$work/$kind-out" "$merged"
    run verify "$work/$kind-out"
    check "  and verified" says 'every byte is what its recipe says'

    choices="--set 0=restore --set 1=lerp:0.3 --set 2:q=procrustes:0.5"
    [ $kind != latent ] || choices="--set 0=restore --set 1=restore-latent --set 2:q=restore"
    run export "$base" "$merged" $choices -o "$work/$kind-chosen-merged"
    run export "$base" "$adapter" $choices -o "$work/$kind-chosen"
    check "  choices: the same export" same_tensors 0 "$work/$kind-chosen" "$work/$kind-chosen-merged"
    run verify "$work/$kind-chosen"
    check "  verified, too" says 'every byte is what its recipe says'
    check "  the adapter is unchanged" test "$read_only" = "$(sums "$adapter")"
done

base=$fixtures/llama/pre adapter=$work/plain merged=$work/plain-merged
printf '1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16' >"$work/ids"
run range "$base" "$merged" --ids "$work/ids" --json
without_paths "$out" >"$work/expected"
run range "$base" "$adapter" --ids "$work/ids" --json
without_paths "$out" >"$work/found"
check "ranges are those of the merged checkpoint" sh -c "[ $code -eq 0 ] && cmp '$work/expected' '$work/found'"
run range "$base" "$adapter" --ids "$work/ids" --json
without_paths "$out" >"$work/found"
check "  also from kept states" cmp "$work/expected" "$work/found"

run plan "$base" "$adapter" --set 0=restore -o "$work/recipe.json"
check "a recipe has the adapter's fingerprints" grep -q '"adapter_config.json"' "$work/recipe.json"
check "  of both files" grep -q '"adapter_model.safetensors"' "$work/recipe.json"
run plan "$base" "$adapter" --recipe "$work/recipe.json"
check "  and replays" says restore
run plan "$base" "$merged" --recipe "$work/recipe.json"
check "  not on another post" complains 3 'the recipe was made for another checkpoint'
copy "$adapter" "$work/scaled"
sed -i 's/"lora_alpha": 8/"lora_alpha": 9/' "$work/scaled/adapter_config.json"
run plan "$base" "$work/scaled" --recipe "$work/recipe.json"
check "  nor on the same factors with another scale" complains 3 'adapter_config.json: the recipe was made for another'

run export "$base" "$adapter" --set 0=restore -o "$adapter/out"
check "no export into the adapter" complains 2 "refused: it is, or is in, post's folder"
run plan "$base" "$adapter" --set 0=restore -o "$adapter/r.json"
check "no recipe into the adapter" complains 2 "refused: it is in post's folder"
run emit mergekit "$base" "$adapter" --set 0=restore
check "emit names files: an adapter is exported first" complains 3 'an adapter: mergekit reads whole checkpoints'
run diff "$adapter" "$base"
check "an adapter is no PRE" complains 3 'plain: an adapter: give it as POST'
run info "$adapter"
check "  and nothing alone" complains 3 'plain: an adapter: give it as POST'

copy "$adapter" "$work/both"
cp "$base/model.safetensors" "$base/config.json" "$work/both"
run export "$work/both/model.safetensors" "$work/both" --set all=keep -o "$work/from-both"
check "an adapter beside its base is merged" same_tensors 0 "$work/from-both" "$merged"
check "  and leaves no config that would add it once more" test ! -e "$work/from-both/adapter_config.json"
run verify "$work/from-both"
check "  verified" says 'every byte is what its recipe says'

# --- adapter_model.bin of older PEFT ---
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$tools "$python" - "$adapter" "$work/older" <<'PYTHON'
import os, shutil, sys
import make_torch as t
source, target = sys.argv[1:]
tensors, storages = {}, {}
for i, (name, (dtype, shape, data)) in enumerate(t.read_safetensors(source + "/adapter_model.safetensors").items()):
    storages[str(i)] = data
    tensors[name] = t.Tensor(dtype, shape, str(i), len(data))
os.mkdir(target)
shutil.copy(source + "/adapter_config.json", target)
t.write(target + "/adapter_model.bin", t.archive("adapter_model", t.state_dict_pickle(tensors), storages))
PYTHON
run diff "$base" "$adapter" --json
without_paths "$out" >"$work/expected"
run diff "$base" "$work/older" --json
without_paths "$out" >"$work/found"
check "adapter_model.bin: the same drift" sh -c "[ $code -eq 0 ] && cmp '$work/expected' '$work/found'"
run export "$base" "$work/older" --set 0=restore -o "$work/older-whole"
check "  is exported, merged" ended 0
run export "$base" "$work/older" --set 0=restore --adapter -o "$work/older-out"
check "  and as an adapter" ended 0
run verify "$work/older-out"
check "  verified" says 'every byte is what its recipe says'
check "  its archive is whole" python3 -m zipfile -t "$work/older-out/adapter_model.bin"
run export "$base" "$work/older-out" --set all=keep -o "$work/older-merged"
check "  merged it is the whole export" same_tensors 0 "$work/older-merged" "$work/older-whole"
echo broken >"$work/older/adapter_model.bin"
cp "$adapter/adapter_model.safetensors" "$work/older"
run diff "$base" "$work/older"
check "  not read where there is adapter_model.safetensors" ended 0

# --- choices in the adapter itself ---
# as_adapter NAME KIND BASE UNITS ARGUMENT... - an adapter is exported that makes of the base what the whole export is.
as_adapter() {
    name=$1 kind=$2 base=$3 units=$4
    from=$work/$kind
    shift 4
    run export "$base" "$from" "$@" -o "$work/$name-whole"
    run export "$base" "$from" "$@" --adapter -o "$work/$name"
    check "--adapter: $name" ended 0
    check "  its files, and a recipe" sh -c "[ \"\$(ls '$work/$name')\" = \"\$( (ls '$from'; echo qkscope-recipe.json) )\" ]"
    "$python" "$tools/merge_adapter.py" "$base" "$work/$name" "$work/$name-merged"
    check "  merged it is the whole export" same_tensors "$units" "$work/$name-merged" "$work/$name-whole" "$base" "$from-merged"
    run verify "$work/$name"
    check "  verified" says 'every byte is what its recipe says'
    run diff "$base" "$work/$name" --layers 0
    check "  and a POST again" ended 0
}
as_adapter restored plain "$fixtures/llama/pre" 0 --set 0,2=restore --set 1:q=restore
# The whole export rounds post, at most half a unit of it, of which 0.7 remain, and then the blend; the adapter's
# factors are float32, and its blend is rounded alone.
as_adapter blended plain "$fixtures/llama/pre" 1.35 --set 0=restore --set 1-3=lerp:0.3
as_adapter fused conv1d "$fixtures/gpt2/pre" 0 --set 0=restore --set 1:k=restore
as_adapter heads plain "$fixtures/llama/pre" 0 --set 0/q1,k0=restore --set 1/g1=restore
as_adapter blended-heads plain "$fixtures/llama/pre" 1.35 --set 0/q1-2=restore --set 0/q0,k0=lerp:0.3
as_adapter fused-heads conv1d "$fixtures/gpt2/pre" 0 --set 0/q1,k0=restore
base=$fixtures/llama/pre
run export "$base" "$adapter" --set 1=qk-pro:0.3 --adapter -o "$work/none"
check "--adapter: no qk-pro" complains 2 'layer 1: an adapter cannot hold this choice (found qk-pro 0.3, expected keep, restore or lerp)'
run export "$fixtures/qwen2/pre" "$work/patterns" --set 1=restore --adapter -o "$work/none"
check "--adapter: no whole tensors" complains 3 'layers.1.self_attn.q_proj.base_layer.bias: trained as a whole'
for choice in restore restore-latent; do
    run export "$fixtures/deepseek_v3/pre" "$work/latent" --set 1=$choice --adapter -o "$work/none"
    check "--adapter: no latent attention, $choice" complains 2 \
        'layer 1: q is a product of stored tensors (latent attention), and an adapter holds no choice for it'
done
run export "$base" "$merged" --set 1=restore --adapter -o "$work/none"
check "--adapter: no checkpoint" complains 2 'plain-merged: post is not an adapter'
run export "$base" "$adapter" --set 1=restore --adapter --patch-only -o "$work/none"
check "--adapter: no patch" complains 2 'adapter and --patch-only cannot be given together'
check "  nothing is written" test ! -e "$work/none"
printf x | dd of="$work/restored/adapter_model.safetensors" bs=1 seek=40000 conv=notrunc 2>/dev/null
run verify "$work/restored"
check "verify finds a byte that changed" sh -c "[ $code -eq 1 ] && grep -q 'adapter_model.safetensors: base_model.*differs from' '$out'"

# --- refused adapters ---
# bad WHAT PATTERN CODE - diff refuses an adapter in which Python CODE changed `config` or `tensors`.
bad() {
    rm -rf "$work/bad"
    copy "$adapter" "$work/bad"
    PYTHONPATH=$tools "$python" -c "
import json, struct, sys
from stored_file import *
folder = sys.argv[1]
config = json.load(open(folder + '/adapter_config.json'))
tensors = read_file(folder + '/adapter_model.safetensors')
name = 'base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight'
other = name.replace('lora_A', 'lora_B')
dtype, shape, raw = tensors[name]
$3
json.dump(config, open(folder + '/adapter_config.json', 'w'))
write_file(folder + '/adapter_model.safetensors', tensors)" "$work/bad"
    run diff "$base" "$work/bad"
    check "$1" complains 3 "$2"
}
bad "another type" 'adapter_config.json: peft_type: not supported (found "IA3", expected "LORA")' "config['peft_type'] = 'IA3'"
bad "no type" 'peft_type: not supported (found ""' "del config['peft_type']"
for option in "use_qalora True" "lora_bias True" "layer_replication [[0,2],[1,3]]" "alora_invocation_tokens [1]" \
    "use_bdlora {'nblocks':2}" "arrow_config {'top_k':2}" \
    "monteclora_config {'n':2}" "kasa_config {'k':2}"; do
    key=${option%% *}
    bad "$key" "adapter_config.json: $key: this variant of LoRA is not supported" "config['$key'] = ${option#* }"
done
bad "DoRA" 'adapter_config.json: use_dora: this variant' "config['use_dora'] = True"
bad "a base that is changed first" 'init_lora_weights: an initialisation that may change' "config['init_lora_weights'] = 'pissa_niter_4'"
bad "a rank that is not the config's" 'lora_A.weight: its rank differs from the config.s (found 4, expected 16)' "config['r'] = 16"
bad "a huge rank" 'its rank differs from the config.s (found 4, expected 1e+300)' "config['r'] = 1e300"
bad "a rank of 0" 'the factors do not fit each other' "
tensors[name] = (dtype, [0, shape[1]], b'')
tensors[other] = (dtype, [tensors[other][1][0], 0], b'')"
bad "two biases" 'base_layer.norm.weight and base_model.model.model.norm.weight are both model.norm.weight' "
tensors['base_model.model.model.norm.weight'] = tensors['base_model.model.model.base_layer.norm.weight'] = ('F32', [64], bytes(256))"
bad "no rank" 'adapter_config.json: r: missing or wrong' "del config['r']"
bad "an alpha that is no number" 'lora_alpha: missing or wrong' "config['lora_alpha'] = 'much'"
bad "no lora_B" 'q_proj.lora_B.weight: missing, though there is' "del tensors[other]"
bad "no lora_A" 'q_proj.lora_A.weight: missing, though there is' "del tensors[name]"
bad "factors of two ranks" 'the factors do not fit each other' "tensors[name] = (dtype, [2, shape[1]], raw[:len(raw) // 2])"
bad "another width" 'lora_A.weight: it does not fit the base' "tensors[name] = (dtype, [shape[0], shape[1] // 2], raw[:len(raw) // 2])"
bad "NaN" 'q_proj.lora_A.weight: holds a value that is not finite' "tensors[name] = (dtype, shape, struct.pack('<f', float('nan')) + raw[4:])"
bad "what does not fit" 'the merged weight does not fit BF16' "
config['lora_alpha'] = 1e300"
bad "another model's module" 'not supported, or made for another model' "tensors[name.replace('layers.1', 'layers.99')] = tensors[name]
tensors[other.replace('layers.1', 'layers.99')] = tensors[other]"
bad "a tensor of another kind" 'lora_magnitude_vector: not supported' "tensors[name.replace('lora_A.weight', 'lora_magnitude_vector')] = tensors[name]"
bad "integers" 'I32 is not read as numbers' "tensors[name] = ('I32', shape, raw)"
bad "a pattern that is none" 'rank_pattern: a key is not a regular expression' "config['rank_pattern'] = {'(': 4}"
bad "a pattern without end" 'rank_pattern: the search for a key takes too long' "config['rank_pattern'] = {'(?:(?:.+)+)+[A-Z]': 4}"
bad "nothing" 'adapter_model.safetensors: holds no tensors' "tensors.clear()"
echo '[' >"$work/bad/adapter_config.json"
run diff "$base" "$work/bad"
check "no JSON" complains 3 'adapter_config.json: '
rm "$work/bad/adapter_model.safetensors"
cp "$adapter/adapter_config.json" "$work/bad"
run diff "$base" "$work/bad"
check "no weights" complains 4 'adapter_model.safetensors: cannot open'
check "the inputs are unchanged" test "$before" = "$(sums "$fixtures")"
done_testing
