#!/bin/sh
# test_hybrids.sh - ranges, evaluation and search on a small checkpoint of each hybrid, and of others with such parts.
. "$srcdir/tests/cli/common.sh"

printf '{"task": "t", "prompt": "12 34 56 7", "answer": "8"}\n{"task": "t", "prompt": "90 12", "answer": "3"}\n' \
    >"$work/cases.jsonl"
seq 3 40 >"$work/ids"

# try NAME FOLDER SIZE - the folder holds post, or a pair; the vocabulary has that size.
try() {
    copy "$2" "$work/$1"
    side=$work/$1/post
    [ -d "$side" ] || side=$work/$1
    before=$work/$1/pre
    [ -d "$before" ] || before=$side
    make_tokenizer "$3" "$side/tokenizer.json"
    cp "$side/tokenizer.json" "$before" 2>/dev/null
    run range "$before" "$side" --ids "$work/ids" --json
    check "$1: ranges" ended 0
    check "  of every layer with q and k, that are numbers" python3 -c "
import json, sys
layers = json.load(open(sys.argv[1]))['layers']
least = 0 if sys.argv[2] == 'gpt_oss' else 1 - 1e-5 # a sink takes its part
sums = [sum(l[side]['hist']) for l in layers for side in ('pre', 'post')]
sys.exit(not sums or not all(least <= s <= 1 + 1e-5 for s in sums))" "$out" "$1"
    run eval "$before" "$side" --set all=restore --baselines --cases "$work/cases.jsonl" --json
    check "  evaluation" ended 0
    run search "$before" "$side" --cases "$work/cases.jsonl" --max-evals 3 --json
    check "  search" ended 0
}
for name in qwen3_next qwen3_next_moe qwen3_5_moe_text kimi_linear nemotron_h granitemoehybrid_moe falcon_h1 \
    olmo_hybrid lfm2_moe minimax_moe jamba jamba_moe bamba recurrent_gemma deepseek_v3 gemma4_text; do
    try "$name" "$fixtures/$name" 128
done
for name in gpt_oss deepseek_v3_yarn zamba2 mistral4 gated_deltanet kda bailing_moe_v2 chatglm minicpm_sala bailing2_5 \
    llama4 minimax_m2 minicpm; do
    try "$name" "$QK_TEST_DATA/softmax/$name" 64
done
folder=$QK_TEST_DATA/softmax/zamba2
run range "$folder" "$folder" --states "$folder/golden.safetensors" --json
check "zamba2: ranges on states, which see the embedded tokens of hidden_states.0" ended 0
cp "$out" "$work/states.json"
python3 - "$folder/golden.safetensors" >"$work/golden.ids" <<'END'
import os, struct, sys
sys.path.insert(0, os.environ["srcdir"] + "/tests/cli")
from stored_file import read_file
raw = read_file(sys.argv[1])["input_ids"][2]
print(*struct.unpack("<%dq" % (len(raw) // 8), raw))
END
run range "$folder" "$folder" --ids "$work/golden.ids" --json
check "  are those of the pass" python3 -c "
import json, sys
a, b = (json.load(open(path))['layers'] for path in sys.argv[1:])
pairs = [(x, y) for l, m in zip(a, b) for x, y in zip(l['post']['hist'], m['post']['hist'])]
sys.exit(len(a) != 3 or max(abs(x - y) for x, y in pairs) > 1e-5)" "$work/states.json" "$out"
done_testing
