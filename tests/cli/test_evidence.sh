#!/bin/sh
# test_evidence.sh - scripts/evidence on few cases: a page of the program's own figures, and statistics that are scipy's.
. "$srcdir/tests/cli/common.sh"
python=${PYTHON:-/usr/bin/python3} # the one that Debian's numpy belongs to

check "the script makes a page" sh -c "'$python' '$srcdir/scripts/evidence' --quick '$QKSCOPE' '$jet' >'$work/page'"
for heading in 'Layers and roles' 'Kinds and blends' Heads "What predicts a layer's effect" 'Found selections on fresh cases'; do
    check "  it has: $heading" grep -q "^### $heading" "$work/page"
done
check "  each table says what to conclude and what not" test \
    "$(tr '\n' ' ' <"$work/page" | grep -o 'What to conclude: [^|]*What not to conclude' | wc -l)" -eq 5
"$QKSCOPE" cases needle -t "$jet/post" -n 160 -d 2 -c 1 --value digits --seed 1 >"$work/recall.jsonl"
"$QKSCOPE" cases needle -t "$jet/post" -n 160 -d 2 -c 1 --value hex --seed 1 >>"$work/recall.jsonl"
run eval "$jet/pre" "$jet/post" --as x --set full:k=restore -c "$work/recall.jsonl" --limit 2 --json
check "  and the program's figures" "$python" -c '
import json, re, sys
tasks = json.load(open(sys.argv[1]))["results"][0]["tasks"]
share = 100 * sum(t["right"] for t in tasks) / sum(t["total"] for t in tasks)
page = open(sys.argv[2]).read()
sys.exit(f"\n| `full:k=restore` | {share:.1f} (" not in page[page.index("### Kinds"):page.index("### Heads")])' "$out" "$work/page"
if "$python" -c 'import scipy.stats' 2>"$work/none"; then
    check "Spearman's rho and its interval are scipy's" "$python" "$tools/evidence_reference.py" "$srcdir/scripts/evidence"
else
    skip "Spearman's rho and its interval are scipy's" "no scipy"
fi
done_testing
