#!/bin/sh
# test_heads.sh - qkscope heads: the heads that recall come first on both trained pairs, and the message without them.
. "$srcdir/tests/cli/common.sh"

# json_holds PYTHON [PAIR] - the expression over the last output, called d, is true; H is its heads as LAYER/qHEAD, and
# E the table of what restoring parts of the pair does, which other software measured.
json_holds() {
    python3 -c '
import json, sys
d = json.load(open(sys.argv[1]))
H = {"%d/q%d" % (h["layer"], h["head"]): h for h in d["heads"]}
E = json.load(open(sys.argv[3] + "/effects.json"))
sys.exit(not eval(sys.argv[2]))' "$out" "$1" "${2:-$QK_DEMO_DATA}"
}
# The layer of the first two heads is the one whose restoration brings back most recall.
leading="{n.split('/')[0] for n in list(H)[:2]} == {max(E['layers'], key=lambda l: E['layers'][l]['recall'])}"

run heads "$pre" "$post" --prompts 6 --length 256 --json
check "the recall heads of the first pair lead" json_holds "set(list(H)[:2]) == {'7/q1', '7/q2'}"
check "  in the layer whose restoration recalls most" json_holds "$leading"
check "  they fetch the needle, the others do not" json_holds \
    "all((h['mass']['pre']['mean'] > 0.5) == (n in ('7/q1', '7/q2')) for n, h in H.items())"
check "  every query head is there, linear ones too" json_holds "len(H) == 48 and H['0/q0']['kind'] == 'linear'"
check "  the drop is pre less post" json_holds \
    "all(abs(h['drop']['mean'] - (h['mass']['pre']['mean'] - h['mass']['post']['mean'])) < 1e-9 for h in H.values())"
check "  without a choice there is no current" json_holds "all('current' not in h['mass'] for h in H.values())"
check "  distances add up to the prompts" json_holds \
    "all(sum(b['prompts'] for b in h['by_distance']) == d['prompts'] == 6 for h in H.values())"

run heads "$jet/pre" "$jet/post" --prompts 6 --length 256 --set 10=restore --json
check "the recall heads of the second pair lead" json_holds "set(list(H)[:2]) == {'10/q0', '10/q1'}"
check "  in the layer whose restoration recalls most" json_holds "$leading" "$jet"
check "  restoring their layer gives most of the mass back" json_holds \
    "all(H[n]['mass']['current']['mean'] > (H[n]['mass']['pre']['mean'] + H[n]['mass']['post']['mean']) / 2 for n in ('10/q0', '10/q1'))"
check "  layers before the choice are as in post" json_holds \
    "all(H['%d/q%d' % (l, q)]['mass']['current'] == H['%d/q%d' % (l, q)]['mass']['post'] for l in range(10) for q in range(4))"

run heads "$pre" "$post" --prompts 4 --length 200 --csv
check "CSV has the largest drop first" sh -c "head -n 1 '$out' | grep -q '^layer,head,kind,mass_pre,mass_post,drop,drop_error' &&
    sed -n 2p '$out' | grep -q '^7,q[12],full,'"
run heads "$pre" "$post" --prompts 4 --length 200 --rows 2 --ascii
check "the table ends with what it leaves out" grep -q '^46 more heads' "$out"

printf '%s\n' '{"prompt": "The code of abc is 4711. It is ", "answer": "4711"}' '{"prompt": "Two and two make ", "answer": "4"}' \
    >"$work/needles.jsonl"
run heads "$pre" "$post" --needles "$work/needles.jsonl" --json
check "cases of one's own" json_holds "d['prompts'] == 1 and len(d['skipped']) == 1"
check "  one that is no needle is named" grep -q "needles.jsonl:2: the answer is not in the prompt" "$err"

# --- states of files: those that a range keeps are of the same form ---
for i in 1 3; do
    sed -n ${i}p "$srcdir/tests/data/needle/short.jsonl" >"$work/$i.jsonl"
    python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); sys.stdout.write(d["prompt"] + d["answer"])' \
        "$work/$i.jsonl" >"$work/$i.txt"
    for side in pre post; do
        XDG_CACHE_HOME=$work/cache "$QKSCOPE" range "$QK_DEMO_DATA/$side" "$QK_DEMO_DATA/$side" --probe "$work/$i.txt" >"$out"
        mv "$work"/cache/qkscope/*.states.safetensors "$work/$side-$i.safetensors"
    done
done
cat "$work/1.jsonl" "$work/3.jsonl" >"$work/two.jsonl"
run heads "$pre" "$post" --needles "$work/two.jsonl" --json
mv "$out" "$work/by_pass.json"
# The states are float32, and rows of other blocks are summed in another order: 1e-6.
by_states="(lambda P: len(H) == 48 and d['prompts'] == 2 and all(abs(h['mass'][s]['mean'] - p['mass'][s]['mean']) < 1e-6 and
    h['copies'] == p['copies'] for n, h in H.items() for p in [P[n]] for s in ('pre', 'post')))(
    {'%d/q%d' % (h['layer'], h['head']): h for h in json.load(open('$work/by_pass.json'))['heads']})"
run heads "$pre" "$post" --needles "$srcdir/tests/data/needle/short.jsonl" --states-pre "$work/pre-3.safetensors" --json \
    --states-pre "$work/pre-1.safetensors" --states "$work/post-1.safetensors" --states "$work/post-3.safetensors"
check "states of files give the masses of all layers" json_holds "$by_states"
check "  and of the restored layer" json_holds "all(h['mass']['restored'] is not None for h in H.values())"
run heads "$pre" "$post" --needles "$work/two.jsonl" --states "$work/pre-1.safetensors" --states "$work/pre-1.safetensors"
check "  the same prompt twice is refused" complains 3 'pre-1.safetensors: input_ids: another file has the same prompt'
run heads "$pre" "$post" --needles "$work/3.jsonl" --states "$work/pre-1.safetensors"
check "  and one of no needle" complains 3 'pre-1.safetensors: input_ids: no needle has these tokens'
run heads "$pre" "$post" --needles "$work/two.jsonl" --states "$work/post-1.safetensors" --states-pre "$work/pre-3.safetensors"
check "  and other prompts of pre" complains 3 'hold different prompts'
run heads "$pre" "$post" --states "$work/post-1.safetensors"
check "  and states without the prompts" complains 2 'needs --needles'

make_without_pass "$work/bare"
run heads "$work/bare/pre" "$work/bare/post"
check "a family without a forward pass gets that advice" complains 3 'no forward pass .*--states FILE'

run heads "$srcdir/tests/data/fixtures/jet_nemotron/pre" "$srcdir/tests/data/fixtures/jet_nemotron/post" --prompts 2
check "without a tokenizer: exit 3" ended 3
done_testing
