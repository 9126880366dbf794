#!/bin/sh
# test_info.sh - info of every family, and doctor.
. "$srcdir/tests/cli/common.sh"

# json_holds PYTHON - the expression over the last output, called d, is true.
json_holds() {
    python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); sys.exit(not eval(sys.argv[2]))' "$out" "$1"
}

run info "$post"
check "info names the family" says '^  family hypenet, model type "hypenet"$'
check "  the layers by kind" grep -q '^  full    4: 1,4,7,10$' "$out"
check "  their geometry" grep -q 'attn: 4 query heads, 2 key heads of 32 x 128, no positions, q/k norm$' "$out"
check "  positions" grep -q 'lightning-attn: .*RoPE on 32 of 32 dims (halves, theta 10000)' "$out"
check "  the files" grep -q '^  1 file, 5.47 MB, 154 tensors, 2.73 million parameters$' "$out"
check "  the types" grep -q '^  BF16        154 tensors    5.45 MB$' "$out"
check "  what can be done" grep -q '^  compare, restore, lerp, qk-pro: 12 of 12 layers$' "$out"
check "  what procrustes comes to" grep -q '^  procrustes turns nothing and equals lerp: 12 layers (.*gains' "$out"
check "  and the folders" grep -q '^  Hugging Face cache .*/.cache/huggingface/hub (not there)$' "$out"
run info "$post" --json
check "--json: counts" json_holds "d['tensors'] == 154 and d['parameters'] == 2725248 and d['bytes'] == 5466944"
check "  layers" json_holds "[l['index'] for l in d['layers'] if l['kind'] == 'full'] == [1, 4, 7, 10]"
check "  tensors" json_holds "d['layers'][4]['k']['weight'] == 'model.layers.4.self_attn.k_proj.weight'"
check "  heads" json_holds "(d['layers'][4]['query_heads'], d['layers'][4]['key_heads'], d['layers'][4]['head_dim']) == (4, 2, 32)"
run info "$QK_DEMO_DATA"
check "the folder around a pair names what it holds" \
    complains 3 'tiny-hypenet: no config.json and no model.safetensors here (post and 1 more hold a checkpoint'
run info "$post/model.safetensors"
check "a single file" says '^  family hypenet'
python3 "$tools/spoil.py" shards "$post" "$work/shards"
run info "$work/shards"
check "shards are listed" says '^ .* MB  model-00002-of-00002.safetensors$'
run info "$work/shards/model.safetensors.index.json"
check "an index" says '^  2 files, '

for folder in "$fixtures"/*; do
    family=$(sed -n 's/^  "model_type": "\(.*\)",*$/\1/p' "$folder/post/config.json")
    run info "$folder/post"
    check "${folder##*/}" says "^  family .*, model type \"$family\"$"
    run info "$folder/post" --json
    check "  as JSON" json_holds "d['model_type'] == '$family' and any(l['kind'] != 'none' for l in d['layers'])"
done
run info "$fixtures/deepseek_v3/post"
check "latent attention is shown" says 'latent: 4 query heads, 4 key heads of 24 x 64, keys and values from a latent of 16, RoPE on 8 of 24 dims (pairs, theta [0-9.e+]*)$'
check "  what it can do" grep -q '^  compare, restore, restore-latent: 4 of 4 layers$' "$out"
check "  and not do" sh -c "! grep -q 'lerp\|procrustes' '$out'"
check "  that restore leaves the values" grep -q 'one latent (.*kv_a_proj_with_mqa.weight, rows 0 to 15): restore keeps post' "$out"
copy "$fixtures/deepseek_v3/post" "$work/latent"
sed -i 's/"deepseek_v3"/"never-heard-of"/' "$work/latent/config.json"
run info "$work/latent"
check "  of an unknown model type it is guessed" says '  full    4: 0-3' 'latent: .* from a latent of 16'
copy "$fixtures/llama/post" "$work/guess"
sed -i 's/"llama"/"never-heard-of"/g' "$work/guess/config.json"
run info "$work/guess"
check "an unknown model type is shown" says 'model type "never-heard-of" (not in the layout table: guessed)'
mkdir -p "$HOME/.config/qkscope/layouts" "$work/config/qkscope"
sed 's/"family": *"[a-z]*"/"family": "mine"/; s/"model_types": *\[[^]]*\]/"model_types": ["never-heard-of"]/' \
    "$srcdir/data/layouts/llama.json" >"$HOME/.config/qkscope/layouts/mine.json"
run info "$work/guess"
check "  unless a layout of one's own knows it" says '^  family mine, model type "never-heard-of"$'
run doctor
check "  which doctor lists" grep -q '^  mine: never-heard-of$' "$out"
echo '{"family": "mine"' >"$HOME/.config/qkscope/layouts/mine.json"
run info "$post"
check "a layout with a mistake is reported" complains 3 "$HOME/.config/qkscope/layouts/mine.json: "
mv "$HOME/.config/qkscope/layouts" "$work/config/qkscope"
run info "$post"
check "\$XDG_CONFIG_HOME wins over ~/.config" ended 0
XDG_CONFIG_HOME=$work/config "$QKSCOPE" info "$post" >"$out" 2>"$err"
code=$?
check "  in both directions" complains 3 "$work/config/qkscope/layouts/mine.json: "

run info "$fixtures/llama/post"
check "procrustes turns planes of RoPE" says '^  procrustes turns the planes of RoPE: '
run info "$fixtures/jamba/post"
check "procrustes turns whole heads" says '^  procrustes turns whole heads: '

python3 "$tools/spoil.py" whole-gains "$fixtures/qwen3/post" "$work/whole"
run info "$work/whole"
check "gains that are not numbers are reported" says '^  not procrustes: .*q_norm.weight: I16 is not read as numbers$'
check "  and keep nothing back" grep -q '^  layers are named ' "$out"

run doctor
check "doctor is content with this machine" ended 0
check "  shows its versions" grep -q '^  OpenBLAS  ' "$out"
check "  the kernels" grep -q "^  used  *[A-Za-z]" "$out"
check "  and thirteen tests" test "$(grep -c "^  .* ok  *[0-9.e-]*$" "$out")" = 13
check "  none of them near its limit" sh -c "! awk '/  ok  / && \$NF > 0.9' '$out' | grep -q ."
done_testing
