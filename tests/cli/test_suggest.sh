#!/bin/sh
# test_suggest.sh - qkscope suggest: the recall heads of both trained pairs, recipes, and models without such heads.
. "$srcdir/tests/cli/common.sh"

# json_holds PYTHON - the expression over the last output, called d, is true; R is its recall heads as LAYER/qHEAD, P its
# proposals by name, S their --set texts.
json_holds() {
    python3 -c '
import json, sys
d = json.load(open(sys.argv[1]))
R = {"%d/q%d" % (h["layer"], h["head"]): h for h in d["heads"] if h["fetches"] or h["lost"]}
P = {p["name"]: p for p in d["proposals"]}
S = {name: p["set"] for name, p in P.items()}
sys.exit(not eval(sys.argv[2]))' "$out" "$1"
}
# plans_agree PRE POST DIR - each recipe of the folder plans what the --set texts of its proposal do, from PRE and POST.
plans_agree() {
    python3 -c '
import json, sys
for p in json.load(open(sys.argv[1]))["proposals"]:
    print(p["recipe"].split("/")[-1], p["set"])' "$out" >"$work/sets"
    [ "$(wc -l <"$work/sets")" -eq 3 ] || return 1
    while read -r file sets; do
        "$QKSCOPE" plan "$1" "$2" --recipe "$3/$file" >"$work/by-recipe" || return 1
        # shellcheck disable=SC2046
        "$QKSCOPE" plan "$1" "$2" $(printf -- '--set %s ' $sets) >"$work/by-set" || return 1
        cmp "$work/by-recipe" "$work/by-set" || return 1
    done <"$work/sets"
}
jet=$QK_DATA/tiny-jet-nemotron

run suggest "$jet/pre" "$jet/post" --prompts 6 --length 256 -o "$work/jet" --json
check "a pair with two recall heads in one key group" ended 0
check "  exactly these are named" json_holds "list(sorted(R)) == ['10/q0', '10/q1'] and d['recall_heads'] == 'found'"
check "  they read one key head" json_holds "{h['key'] for h in R.values()} == {0}"
check "  they are clearly apart" json_holds "d['clear'] and d['gap']['mean'] > 0.5 and d['prompts'] == 6"
check "  the proposals" json_holds \
    "S == {'careful': '10/k0=restore', 'recall heads': '10/q0-1,k0=restore', 'QK-Restore': '1,3,6,8,10=restore'}"
check "  their size" json_holds "[(p['query_heads'], p['key_heads'], p['layers']) for p in d['proposals']] == \
    [(0, 1, 1), (2, 1, 1), (20, 10, 5)] and P['recall heads']['bytes'] == 3 * P['careful']['bytes']"
check "  each was measured, and gives mass back" json_holds \
    "all(p['measured'] and p['mass']['mean'] > d['mass']['post']['mean'] and p['gained']['error'] > 0 for p in d['proposals'])"
check "  three recipes" test "$(ls "$work/jet" | tr '\n' ' ')" = "careful.json qk-restore.json recall-heads.json "
check "  recipes and --set texts are the same choices" plans_agree "$jet/pre" "$jet/post" "$work/jet"
check "  an export takes one" "$QKSCOPE" export "$jet/pre" "$jet/post" --recipe "$work/jet/recall-heads.json" \
    -o "$work/mended"
check "  and it holds" "$QKSCOPE" verify "$work/mended"

run suggest "$pre" "$post" --prompts 6 --length 256 -o "$work/hypenet" --json
check "a pair with recall heads in both key groups" json_holds \
    "list(sorted(R)) == ['7/q1', '7/q2'] and sorted(h['key'] for h in R.values()) == [0, 1]"
check "  heads that look at the needle now and then do not count" json_holds \
    "max(h['mass']['pre']['mean'] for h in d['heads'][2:]) > d['rule']['least']"
check "  the proposals" json_holds "S == {'careful': '7:k=restore', 'recall heads': '7:k=restore 7/q1-2=restore', \
    'QK-Restore': 'full=restore'}"
check "  recipes and --set texts are the same choices" plans_agree "$pre" "$post" "$work/hypenet"

sums "$work/hypenet" >"$work/before"
run suggest "$pre" "$post" --prompts 4 --length 200 -o "$work/hypenet"
check "a folder that exists is refused" complains 2 "exists (use --force"
check "  and stays as it is" sh -c "find '$work/hypenet' -type f -exec sha256sum {} + | sort | cmp - '$work/before'"
run suggest "$pre" "$post" --prompts 4 --length 200 -o "$work/hypenet" --force
check "--force writes into it" says '^    -> .*/hypenet/recall-heads.json$'
run suggest "$pre" "$post" --prompts 4 --length 200 -o "$pre/suggested"
check "never into a checkpoint" complains 2 "."
check "  and leaves nothing there" test ! -e "$pre/suggested"

run suggest "$pre" "$post" --prompts 6 --length 256
check "the words name the heads" says '^2 of 48 query heads fetch needles: 7/q1, 7/q2\. '
check "  and the choices" says '^    --set 7:k=restore --set 7/q1-2=restore$'
check "  and what they give" says '^    mass of the recall heads 0\.[0-9]* +- 0\.[0-9]* (post 0\.[0-9]*, pre 0\.[0-9]*)'
check "  and how sure it is" says 'standard error'
check "  and what was not measured" says '^Not measured here: '
check "  and the commands to type" says '^      --as recall-heads --set 7:k=restore --set 7/q1-2=restore'
check "  lines fit, but those to type" sh -c "! grep -v qkscope '$out' | grep -q '.\{101\}'"
run suggest "$pre" "$post" --prompts 4 --length 200
check "too few prompts for one of them" says '^Too few prompts to be sure: 1 more head has such a mass'
run suggest "$pre" "$post" --prompts 1
check "one prompt is not enough: exit 0" says 'but 1 prompt is not enough'
check "  QK-Restore is left" says '^1\. QK-Restore (the fallback, not measured)$'

for family in jet_nemotron qwen3; do
    copy "$fixtures/$family" "$work/$family"
    make_tokenizer 128 "$work/$family/post/tokenizer.json"
    run suggest "$work/$family/pre" "$work/$family/post" --prompts 4 --length 200 -o "$work/none-$family"
    check "a random $family: nothing is known, and that is no failure" says \
        '^The recall heads cannot be known: no head of PRE fetches'
    check "  why" says 'unlike the'
    check "  what helps" says '--needles FILE'
    check "  QK-Restore is the fallback" says '^1\. QK-Restore (the fallback, not measured)$'
    check "  with a recipe" test "$(ls "$work/none-$family")" = qk-restore.json
    tr '\n' ' ' <"$out" | grep -o 'recall is in the [0-9]* linear layer' >"$work/linear-$family"
done
check "linear layers are named where there are some" test -s "$work/linear-jet_nemotron"
check "  and nowhere else" test ! -s "$work/linear-qwen3"
run suggest "$work/qwen3/pre" "$work/qwen3/post" --prompts 4 --length 200 --json
check "in JSON: none, without NaN" json_holds \
    "d['recall_heads'] == 'none' and R == {} and not P['QK-Restore']['measured'] and P['QK-Restore']['share'] is None"

run suggest "$fixtures/jet_nemotron/pre" "$fixtures/jet_nemotron/post" -o "$work/nothing"
check "without a tokenizer: exit 3" complains 3 "tokenizer"
check "  and no folder" test ! -e "$work/nothing"
make_without_pass "$work/bare"
make_tokenizer 128 "$work/bare/post/tokenizer.json"
run suggest "$work/bare/pre" "$work/bare/post" --prompts 2 -o "$work/nothing"
check "without a forward pass: exit 3" complains 3 "forward"
check "  and no folder" test ! -e "$work/nothing"
run suggest "$pre"
check "one checkpoint: exit 2" complains 2 "."
done_testing
