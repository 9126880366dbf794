#!/bin/sh
# test_diff.sh - drift against reference values on every family, and the shapes of tables, CSV and JSON.
. "$srcdir/tests/cli/common.sh"

# json_holds PYTHON - the expression over the last output, called d, is true.
json_holds() {
    python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); sys.exit(not eval(sys.argv[2]))' "$out" "$1"
}

run diff "$pre" "$post" --json
check "demo pair agrees with its reference" sh -c "python3 '$tools/check_drift.py' '$QK_DEMO_DATA/drift.json' <'$out'"
check "  layer 7 has the largest routing of the softmax layers" json_holds \
    "max((l for l in d['layers'] if l['kind'] == 'full'), key=lambda l: l['routing']['rel_fro'])['index'] == 7"
check "  every head has full rank" json_holds \
    "all(h['rank'] == 32 for l in d['layers'] for r in 'qk' for h in l[r]['heads'])"
check "  names its inputs" json_holds "d['pre'] == {'path': '$pre', 'model_type': 'hypenet'}"
cp "$out" "$work/once.json"
for threads in 1 2 7; do
    run diff "$pre" "$post" --json --threads $threads
    check "  the same with $threads threads" cmp "$work/once.json" "$out"
done

for folder in "$jet" "$fixtures"/*; do
    family=${folder##*/}
    [ -d "$folder/pre" ] || continue # one side alone, for its forward pass
    [ "$family" != deepseek_v3 ] || continue # its reference has no numbers; test_layouts.sh computes them
    run diff "$folder/pre" "$folder/post" --json
    check "$family agrees with its reference" \
        sh -c "python3 '$tools/check_drift.py' '$folder/drift.json' <'$out' && [ ! -s '$err' ]"
done

run diff "$pre" "$post"
check "the table has two heading lines and a line a layer" test "$(wc -l <"$out")" -eq 14
check "  all of them fit into 100 columns" python3 -c "
import sys; sys.exit(max(len(line) for line in open('$out', encoding='utf-8')) > 100)"
check "  layer 7" grep -q '^    7 full   10.62% 0.9943 0.997  4.11  9.61% 0.9954 0.997  3.92  15.71%' "$out"
check "  messages are empty" test ! -s "$err"
for locale in C C.UTF-8; do
    LC_ALL=$locale "$QKSCOPE" diff "$pre" "$post" >"$work/$locale.txt"
done
check "  blocks in UTF-8" grep -q '█' "$work/C.UTF-8.txt"
check "  ASCII alone in the C locale" sh -c "LC_ALL=C grep -q '#####' '$work/C.txt' && ! LC_ALL=C grep -q '[^ -~]' '$work/C.txt'"
LC_ALL=C.UTF-8 "$QKSCOPE" diff "$pre" "$post" --ascii >"$work/ascii.txt"
check "  and with --ascii" cmp "$work/C.txt" "$work/ascii.txt"
COLUMNS=76 "$QKSCOPE" diff "$pre" "$post" >"$work/narrow.txt"
check "  no bars where there is no room" sh -c "! LC_ALL=C grep -q '.\{77\}' '$work/narrow.txt'"
"$QKSCOPE" "$pre" "$post" >"$work/screen.txt" 2>&1
check "qkscope PRE POST on a pipe prints the same" cmp "$out" "$work/screen.txt"
run "$pre" "$post" --set full=restore --set 4:q=lerp:0.25
check "  and with --set a column of choices" says '^    7 full .*  restore$'
check "  by role where they differ" grep -q '^    4 full .*  q lerp 0.25, k restore$' "$out"

run diff "$pre" "$post" --heads --layers 7
check "--heads has a line a head" test "$(wc -l <"$out")" -eq 7
check "  key heads beside the first query heads" grep -q '^  head 2 .*%[^%]*%  *[█#]*' "$out"
run diff "$pre" "$post" --layers full --csv
check "--layers KIND" test "$(cut -d, -f1 "$out" | tr '\n' ' ')" = 'layer 1 4 7 10 '
run diff "$pre" "$post" --layers 2,8-9 --csv
check "--layers LIST" test "$(cut -d, -f1 "$out" | tr '\n' ' ')" = 'layer 2 8 9 '
run diff "$pre" "$post" --layers 'routing>0.15' --csv
check "--layers TEST" test "$(cut -d, -f1 "$out" | tr '\n' ' ')" = 'layer 6 7 11 '
run diff "$pre" "$post" --layers full --sort routing --csv
check "--sort routing" test "$(cut -d, -f1 "$out" | tr '\n' ' ')" = 'layer 7 1 4 10 '
run diff "$pre" "$post" --layers full --sort cosine --csv
check "--sort cosine: the smallest is the most drift" test "$(cut -d, -f1 "$out" | tr '\n' ' ')" = 'layer 7 4 1 10 '
run diff "$pre" "$post" --layers full --sort needle --csv
check "--sort needle: the layer whose heads fetch comes first" test "$(sed -n 2p "$out" | cut -d, -f1)" = 7
run diff "$pre" "$post" --layers full --sort k.rel_fro --json
check "--sort k.rel_fro orders the JSON, too" json_holds "[l['index'] for l in d['layers']] == [7, 1, 4, 10]"

run diff "$pre" "$post" --csv
check "--csv has thirteen columns in every line" test "$(awk -F, '{ print NF }' "$out" | sort -u)" = 13
check "  the heading" grep -q '^layer,kind,q_rel_fro,q_cosine,q_norm_ratio,q_angle_mean_deg,q_angle_max_deg,k_rel_fro,.*,routing_rel_fro$' "$out"
run diff "$pre" "$post" --csv --heads
check "--csv --heads has a line a head" test "$(wc -l <"$out")" -eq $((1 + 8 * 8 + 4 * 6))
check "  of twelve columns" test "$(awk -F, '{ print NF }' "$out" | sort -u)" = 12
LC_ALL=de_DE.UTF-8 "$QKSCOPE" diff "$pre" "$post" --csv --heads >"$work/german.csv"
check "  with decimal points in every locale" cmp "$out" "$work/german.csv"
run diff "$fixtures/jamba/pre" "$fixtures/jamba/post" --csv
check "a layer without q and k has empty fields" grep -q '^0,none,,,,,,,,,,,$' "$out"

run diff "$pre" "$post" --effective --json
check "--effective multiplies the gains in" json_holds \
    "abs(d['layers'][7]['q']['rel_fro'] - json.load(open('$work/once.json'))['layers'][7]['q']['rel_fro']) > 1e-6"
run diff "$fixtures/llama/pre" "$fixtures/llama/post" --json
cp "$out" "$work/plain.json"
run diff "$fixtures/llama/pre" "$fixtures/llama/post" --json --effective
check "  and changes nothing where there are none" cmp "$work/plain.json" "$out"

run diff "$pre" "$pre" --json
check "a checkpoint does not drift from itself" json_holds \
    "all(l['routing']['rel_fro'] == 0 and l['q']['rel_fro'] == 0 and l['q']['angle_max_deg'] < 1e-6 for l in d['layers'])"
run diff "$pre" "$fixtures/llama/post"
check "other numbers of layers are reported" complains 3 "does not fit .* (found [0-9]* layers, expected 12)"

python3 "$tools/spoil.py" not-finite "$post" "$work/nan"
run diff "$pre" "$work/nan" --json
check "values that are not finite are no failure" ended 0
check "  are named" grep -q '^qkscope: .*model.layers.3.self_attn.k_proj.weight: head 0 holds values that are not finite (1 NaN' "$err"
check "  and null in JSON, where they reach" json_holds \
    "d['layers'][3]['k']['rel_fro'] is None and d['layers'][3]['q']['rel_fro'] > 0 and d['layers'][4]['k']['rel_fro'] > 0"
run diff "$pre" "$work/nan"
check "  and - in the table" grep -q '^    3 linear 10.05% 0.9949 0.996  3.92      -      -     -     -       -$' "$out"
run diff "$pre" "$work/nan" --csv
check "  and empty in CSV" grep -q '^3,linear,0.1005[0-9]*,.*,,,,,,$' "$out"
done_testing
