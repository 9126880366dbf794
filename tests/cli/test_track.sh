#!/bin/sh
# test_track.sh - qkscope track: the checkpoints of a run in their order, numbers as numpy, diff and range have them, kept
# numbers, and a run that goes on.
. "$srcdir/tests/cli/common.sh"
before=$(sums "$QK_DEMO_DATA")
run_of="$work/a run"
python3 "$tools/make_run.py" "$pre" "$post" "$run_of" 1000 80 400 >"$work/numpy.json"

# holds PYTHON - the expression is true: d is the last output, P its checkpoints, N numpy's numbers, D the drift of post by
# `qkscope diff` and R its ranges.
holds() {
    python3 -c '
import json, sys
d, N, D, R = (json.load(open(p)) for p in sys.argv[2:])
P = d["runs"][0]["checkpoints"]
sys.exit(not eval("(" + sys.argv[1] + ")"))' "$1" "$work/track.json" "$work/numpy.json" "$work/diff.json" "$work/range.json"
}
last="$run_of/checkpoint-1000"
run diff "$pre" "$last" --json
cp "$out" "$work/diff.json"
run range "$pre" "$last" --json --length 128 --no-cache
cp "$out" "$work/range.json"
run track "$pre" "$run_of" --ranges --length 128 --json
cp "$out" "$work/track.json"
check "the checkpoints come in the order of their steps" holds "[p['step'] for p in P] == [80, 400, 1000]"
# numpy sums in float64; the program's products within a block are float32, whose error is below 1e-6 (drift/product.h).
check "Frobenius distances are numpy's" holds "all(abs(l[r]['rel_fro'] - x) < 1e-6 * x for p in P
    for l in p['layers'] for r, x in N[str(p['step'])][str(l['index'])].items())"
check "  of q and k of every layer" holds "all(len(n) == 12 and all(len(r) == 2 for r in n.values()) for n in N.values())"
check "the last checkpoint's numbers are those of diff" holds "all(a[r]['rel_fro'] == b[r]['rel_fro'] and
    a[r]['angle_mean_deg'] == b[r]['angle_mean_deg'] and a['routing_rel_fro'] == b['routing']['rel_fro'] and
    [h['angle_max_deg'] for h in a[r]['heads']] == [h['angle_max_deg'] for h in b[r]['heads']] and
    [h['routing_rel_fro'] for h in a['q']['heads']] == [h['rel_fro'] for h in b['routing']['heads']]
    for a, b in zip(P[-1]['layers'], D['layers'], strict=True) for r in 'qk')"
check "  and of range" holds "all(a['shift'] == b['shift'] and a['mean'] == b['post']['mean'] and
    a['long_mass'] == b['post']['long_mass'] and p['mean'] == b['pre']['mean'] and
    [h['mean'] for h in a['q']['heads']] == [h['mean'] for h in b['post']['heads']]
    for a, b, p in zip(P[-1]['layers'], R['layers'], d['pre']['layers'], strict=True))"
check "the step that passes half of the last shift is named" holds "d['metric'] == 'shift' and len(d['runs'][0]['passes']) == 12 and
    all(p['path'] == next(c['path'] for c in P if c['layers'][i]['shift'] >= P[-1]['layers'][i]['shift'] / 2)
    for i, p in enumerate(d['runs'][0]['passes']))"

kept() {
    find "$HOME/.cache/qkscope" -name '*.track' -printf '%f %T@ %s\n' | sort
}
kept >"$work/kept"
run track "$pre" "$run_of" --ranges --length 128 --json
check "the numbers are kept" sh -c "[ $(wc -l <"$work/kept") -eq 3 ] && cmp -s '$out' '$work/track.json'"
kept >"$work/kept2"
check "  and not computed again" cmp "$work/kept" "$work/kept2"
for file in "$HOME"/.cache/qkscope/*.track; do
    printf x | dd of="$file" bs=1 seek=200 conv=notrunc 2>/dev/null
done
run track "$pre" "$run_of" --ranges --length 128 --json
check "  damaged ones are" cmp "$out" "$work/track.json"

run track "$pre" "$run_of" -l full --ascii
check "the table has a row a layer, and one of all" sh -c "[ \$(grep -c full '$out') -eq 4 ] && grep -q '^ all ' '$out'"
check "  a column a step" grep -q '^layer kind *80 *400 *1000 *50% at$' "$out"
run track "$pre" "$run_of" "$post" --metric q.angle -l 7 --heads --passes 10
check "runs have tables of their own" test "$(grep -c '^q: mean principal angle' "$out")" -eq 2
check "  with rows of heads" test "$(grep -c '^  head q' "$out")" -eq 8
run track "$pre" "$last" "$post" --csv -l 1,4
check "CSV has checkpoints, layers and roles" sh -c "[ \$(wc -l <'$out') -eq 13 ] && grep -q '^\".*/post\",,4,full,k,,0\\.' '$out'"

run track "$pre" "$work"
check "a folder without checkpoints" complains 3 "neither a checkpoint nor a folder of checkpoints"
run track "$pre" "$run_of" --metric shift
check "a range without --ranges" complains 2 "--metric shift needs --ranges"
run track "$pre" "$run_of" --metric k.routing
check "a number that a role has not" complains 2 "unknown number (found 'k.routing'"
run track "$pre" "$run_of" -l 'routing>0.1'
check "a test of layers" complains 2 "--layers: a test has another answer at each checkpoint"
run track "$pre" "$last" "$jet/post"
check "a checkpoint of another model" complains 3 ""

"$QKSCOPE" track "$pre" "$run_of" -l 7 --follow >"$out" 2>"$err" &
follower=$!
await() { # PATTERN TIMES FILE
    for _ in $(seq 1200); do
        [ "$(grep -c "$1" "$3")" -lt "$2" ] || return 0
        sleep 0.1
    done
    return 1
}
check "--follow prints the run" await '^ all ' 1 "$out"
mkdir "$run_of/checkpoint-1200"
cp "$post/config.json" "$run_of/checkpoint-1200"
check "  waits for what is being written" await 'looking again' 1 "$err"
cp "$post"/* "$run_of/checkpoint-1200"
check "  and prints again" await '^ all ' 2 "$out"
check "    with the new step" sh -c "tail -n 3 '$out' | grep -q '1000 *1200'"
kill "$follower"
wait "$follower"
check "the inputs are unchanged" test "$before" = "$(sums "$QK_DEMO_DATA")"
done_testing
