#!/bin/sh
# test_emit.sh - selections as files for mergekit and brainsurgery. A reader of their languages makes from them the
# files of `qkscope export`. Selections that these languages cannot express are refused.
. "$srcdir/tests/cli/common.sh"
python=${PYTHON:-/usr/bin/python3} # the one that Debian's numpy and yaml belong to
before=$(sums "$fixtures" "$QK_DEMO_DATA")

# same TOOL NAME PRE POST UNITS ARGUMENT... - what the tool's file makes equals the export, to so many units.
same() {
    tool=$1 name=$2 a=$3 b=$4 units=$5
    shift 5
    run emit "$tool" "$a" "$b" "$@" -o "$work/$tool-$name.yaml"
    check "$tool: $name" says '^[0-9]* of [0-9]* layers keep'
    [ -d "$work/out-$name" ] || "$QKSCOPE" export "$a" "$b" "$@" -o "$work/out-$name" >/dev/null 2>"$work/export"
    check "  makes what export writes, to $units units" \
        "$python" "$tools/apply_emitted.py" "$tool" "$work/$tool-$name.yaml" "$work/out-$name" "$units"
}

for tool in mergekit brainsurgery; do
    same $tool restored "$pre" "$post" 0 --set full=restore --set 10:q=keep
    # computed in float32 (mergekit) or float64, then rounded once to bfloat16, as here from float64
    same $tool blended "$pre" "$post" 1 --set full=lerp:0.3 --set 4=restore --set 7:k=lerp:0.9 --set 10=lerp:0.00001
    same $tool biases "$fixtures/qwen2/pre" "$fixtures/qwen2/post" 1 --set all:q=lerp:0.25 --set all:k=restore
    same $tool norms "$fixtures/qwen3/pre" "$fixtures/qwen3/post" 0 --set 1=restore --norms
    # as good as restore
    same $tool rotated "$fixtures/llama/pre" "$fixtures/llama/post" 0 --set all=procrustes:1 --set 0=qk-pro:0
    run emit $tool "$pre" "$post" --set 4=qk-pro:0.3 --set 1=restore
    check "$tool: no qk-pro" complains 2 "layer 4: $tool cannot express this choice (found qk-pro 0.3, expected keep, restore or lerp)"
    run emit $tool "$pre" "$post" --set 4:q=procrustes:0.5
    check "$tool: no procrustes" complains 2 "layer 4: $tool cannot express this choice (found procrustes 0.5"
    run emit $tool "$pre" "$post" --set full=keep
    check "$tool: nothing to say" complains 2 'this selection changes nothing in post'
    run emit $tool "$pre" "$post"
    check "$tool: nothing chosen" complains 2 'emit: nothing is chosen'
done
run emit mergekit "$fixtures/phi3/pre" "$fixtures/phi3/post" --set 1=restore
check "mergekit: no rows of a fused tensor" complains 3 'post/model.safetensors: .*layers.1.self_attn.qkv_proj.weight: .*only in part'
run emit mergekit "$fixtures/qwen3_next/pre" "$fixtures/qwen3_next/post" --set full:q=restore
check "mergekit: no rows of a gated q_proj" complains 3 'self_attn.q_proj.weight: .*only in part'
run emit mergekit "$pre" "$post" --set 7/q1=restore
check "mergekit: no single heads" complains 3 'layers.7.self_attn.q_proj.weight: mergekit cannot express this selection: it changes only in part'
run emit mergekit "$pre" "$post" --set 7=restore --set 7/q1=lerp:0.5
check "mergekit: no heads of two kinds" complains 3 'layers.7.self_attn.q_proj.weight: mergekit .*its parts do not change alike'
run emit mergekit "$pre" "$post" --set 7/g0=qk-pro:0.3
check "mergekit: no qk-pro of a head" complains 2 'layer 7: mergekit cannot express this choice (found qk-pro 0.3'
same brainsurgery heads "$pre" "$post" 0 --set 7/q1-2,k0=restore --set 10/g1=restore
same brainsurgery kinds "$pre" "$post" 1 --set 7=restore --set 7/q1,k1=lerp:0.5 --set 10/q0=lerp:0.25 --set 10/q3=keep
same brainsurgery fused "$fixtures/phi3/pre" "$fixtures/phi3/post" 0 --set all/q0,k0=restore
same brainsurgery gated "$fixtures/qwen3_next/pre" "$fixtures/qwen3_next/post" 0 --set full:q=restore
same brainsurgery columns "$fixtures/gpt2/pre" "$fixtures/gpt2/post" 1 --set all/q1=restore --set all/k0=lerp:0.5
same brainsurgery head-gains "$fixtures/qwen3/pre" "$fixtures/qwen3/post" 0 --set 1/q0=restore --norms
run emit brainsurgery "$fixtures/deepseek_v3/pre" "$fixtures/deepseek_v3/post" --set 1/k0=restore
check "brainsurgery: no factors" complains 3 'kv_b_proj.weight: brainsurgery cannot express this selection: it changes only in part'
# The restored values alone, cast nowhere
check "restore needs no dtype" sh -c "! grep -q dtype '$work/mergekit-restored.yaml' '$work/brainsurgery-restored.yaml'"

run plan "$pre" "$post" --set full=restore --set 10:q=keep -o "$work/recipe.json"
run emit mergekit "$pre" "$post" --recipe "$work/recipe.json"
check "a recipe says the same, on standard output" cmp "$out" "$work/mergekit-restored.yaml"
run emit axolotl "$pre" "$post" --set full=restore
check "another tool" complains 2 "emit: unknown word (found 'axolotl', expected mergekit|brainsurgery); see 'qkscope emit --help'"
run emit "$pre" "$post" --set full=restore
check "no tool" complains 2 'emit: wrong number of operands (found 2, expected mergekit|brainsurgery PRE POST)'

# --- what a linear merge of everything would spoil ---
# odd NAME - a copy of post with one tensor another way, as spoiled by stored.py.
odd() {
    mkdir "$work/$1" && cp "$post/config.json" "$work/$1" && (cd "$tools" && "$python" -c "
import sys
from stored import decode, encode, read_file, write_file
tensors = read_file(sys.argv[1])
name = 'model.norm.weight'
dtype, shape, raw = tensors[name]
$2
write_file(sys.argv[2], tensors)" "$post/model.safetensors" "$work/$1/model.safetensors")
}
odd more "tensors['extra.weight'] = (dtype, shape, raw)"
run emit mergekit "$pre" "$work/more" --set full=restore
check "mergekit: a tensor that only post has" complains 3 'more/model.safetensors: extra.weight: .*only post has it'
same brainsurgery more "$pre" "$work/more" 0 --set full=restore
odd less "del tensors[name]"
run emit mergekit "$pre" "$work/less" --set full=restore
check "mergekit: a tensor that only pre has" complains 3 'pre/model.safetensors: model.norm.weight: .*only pre has it'
odd wide "tensors[name] = (dtype, [shape[0] + 1], raw + raw[:2])"
run emit mergekit "$pre" "$work/wide" --set full=restore
check "mergekit: another shape" complains 3 'model.norm.weight: .*it has another shape in pre'
odd mixed "tensors[name] = ('F32', shape, encode('F32', decode(dtype, raw)))"
run emit mergekit "$pre" "$work/mixed" --set full=restore
check "mergekit: more than one dtype" complains 3 'model.norm.weight: .*one dtype'
same brainsurgery mixed "$pre" "$work/mixed" 1 --set full=lerp:0.5
odd single "tensors = {n: ('F32', s, encode('F32', decode(d, r))) for n, (d, s, r) in tensors.items()}"
same mergekit single "$pre" "$work/single" 0 --set full=restore
same brainsurgery single "$pre" "$work/single" 0 --set full=restore
odd named "tensors[name + '.model.layers.1.self_attn.q_proj.weight'] = tensors[name]"
copy "$work/named" "$work/named2"
run emit mergekit "$work/named" "$work/named2" --set 1=restore
check "mergekit: a filter that would catch another tensor" complains 3 'the name of a changed tensor is part of its name'
mkdir "$work/a+b" && copy "$post" "$work/a+b/post"
run emit mergekit "$pre" "$work/a+b/post" --set full=restore
check "mergekit: a path that means an adapter there" complains 3 'a+b/post: mergekit cannot express this path'
run emit mergekit "$pre" "$post/model.safetensors" --set full=restore
check "mergekit: a file" complains 2 'model.safetensors: mergekit reads folders (found a file)'
same brainsurgery file "$pre/model.safetensors" "$post/model.safetensors" 0 --set full=restore
copy "$post" "$work/it's: #1 {post}"
same mergekit quoted "$pre" "$work/it's: #1 {post}" 0 --set 1=restore
same brainsurgery quoted "$pre" "$work/it's: #1 {post}" 0 --set 1=restore

run emit mergekit "$pre" "$work/it's: #1 {post}" --set 1=restore -o "$work/it's: #1 {post}/config.json"
check "nothing is written into an input" complains 2 'refused: it is in'
run emit mergekit "$pre" "$post" --set 1=restore -o "$work/no/such.yaml"
check "a folder that is not there" complains 4 "no: cannot"
check "the inputs are unchanged" test "$before" = "$(sums "$fixtures" "$QK_DEMO_DATA")"
done_testing
