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

run heads "$srcdir/tests/data/fixtures/jet_nemotron/pre" "$srcdir/tests/data/fixtures/jet_nemotron/post" --prompts 2
check "without a tokenizer: exit 3" ended 3
done_testing
