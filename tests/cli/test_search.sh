#!/bin/sh
# test_search.sh - qkscope search on few cases: effects, front and recipes that give the figures again; faults.
. "$srcdir/tests/cli/common.sh"
cases=$QK_DEMO_DATA/cases
"$QKSCOPE" cases needle --length 160 --depths 6 --count 1 -o "$work/recall.jsonl"
head -n 4 "$cases/reasoning.jsonl" >"$work/reasoning.jsonl"
set -- -c "$work/recall.jsonl" -c "$work/reasoning.jsonl"

json_holds() {
    python3 -c '
import json, sys
d = json.load(open(sys.argv[1]))
sys.exit(not eval(sys.argv[2]))' "$out" "$1"
}

run search "$pre" "$post" "$@" --max-evals 14 -o "$work/front" --json
check "a search of fourteen trials" ended 0
check "  keys of the output" json_holds "list(d) == ['pre', 'complete', 'effects', 'front', 'near', 'trials']"
check "  it is not complete" json_holds "d['complete'] is False and 3 <= len(d['trials']) <= 14"
check "  post first, both objectives" json_holds \
    "d['trials'][0]['set'] == 'keep' and list(d['trials'][0]['objectives']) == ['recall', 'reasoning'] and d['trials'][0]['cases'] == 5"
check "  then the full layers, their keys, the heads that fetch needles, and blends" json_holds \
    "[t['set'] for t in d['trials'][1:3]] == ['full=restore', 'full:k=restore'] and d['trials'][3]['origin'] == 'recall heads' and '7/' in d['trials'][3]['set'] and d['trials'][5]['set'] == d['trials'][3]['set'].replace('restore', 'lerp:0.5')"
check "  the front is confirmed by the other half" json_holds \
    "all(p['confirmed'][o]['total'] == p['searched'][o]['total'] == n for p in d['front'] + d['near'] for o, n in (('recall', 3), ('reasoning', 2)))"
check "  nothing else was asked that half" json_holds \
    "not any('confirmed' in t for t in d['trials'][1:] if not t['front'] and t['set'] not in [p['set'] for p in d['near']])"
check "  no point of the front is worse than another" json_holds \
    "not any(all(a['objectives'][o] >= b['objectives'][o] for o in b['objectives']) and a['objectives'] != b['objectives'] for a in d['trials'] if a['cases'] == 5 for b in d['front'])"
cp "$out" "$work/search.json"
check "  a recipe for each of its points" json_holds \
    "all(p['cases'] == 5 and p['recipe'] == '$work/front/%d.json' % (i + 1) for i, p in enumerate(d['front'] + d['near']))"
for recipe in "$work"/front/*.json; do
    run eval "$pre" "$post" --recipe "$recipe" "$@" --no-cache --json
    check "  $(basename "$recipe") gives its figures again" python3 -c "
import json, sys
d = json.load(open(sys.argv[1]))['results'][0]
found = json.load(open(sys.argv[2]))
p = [p for p in found['front'] + found['near'] if p['recipe'] == sys.argv[3]][0]
sys.exit(d['tasks'] != p['tasks'])" "$out" "$work/search.json" "$recipe"
done
run search "$pre" "$post" "$@" --max-evals 14 --json
check "again, from kept answers, the same" python3 -c "
import json, sys
a, b = (json.load(open(p)) for p in sys.argv[1:])
for point in b['front'] + b['near']:
    del point['recipe']
sys.exit(a != b)" "$out" "$work/search.json"
run search "$pre" "$post" "$@" --max-evals 14 --ascii
check "as tables" grep -q 'Pareto front: ' "$out"
check "  in ASCII" sh -c "! LC_ALL=C grep -q '[^ -~]' '$out'"
check "  and says that more would find more" grep -q 'the limit ended the search early' "$err"

run search "$pre" "$post" "$@" --max-evals 14 --confirm 0 --constraint 'recall>=90' --json
check "no case held out, and a constraint" ended 0
check "  every case chooses the front" json_holds \
    "all(p['cases'] == 10 and 'confirmed' not in p for p in d['front'])"
check "  it keeps the constraint" json_holds \
    "all(p['objectives']['recall'] >= 0.9 for p in d['front']) and any(t['objectives']['recall'] < 0.9 for t in d['trials'])"
run search "$pre" "$post" "$@" --max-evals 2 --constraint 'speed>=1'
check "a constraint on nothing" complains 2 'no objective is called speed (the first is recall)'
run search "$pre" "$post" "$@" --max-evals 2 --constraint 'reasoning=95'
check "a constraint that is none" complains 2 'expected NAME>=PERCENT'

run search "$pre" "$post" "$@" --max-evals 2 -o "$work/front"
check "a folder that exists" complains 2 'front: exists (use --force'
run search "$pre" "$post"
check "no cases" complains 2 'nothing to ask (expected --cases FILE)'
run search "$pre" "$post" "$@" --minutes 0
check "no minutes" complains 2 minutes
run search "$post" "$@"
check "one checkpoint" complains 2 'PRE POST'
run search "$post" "$post" "$@" --max-evals 2
check "nothing drifted" ended 0
done_testing
