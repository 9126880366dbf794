#!/bin/sh
# test_readme.sh - the README: its commands run as written, its numbers are the program's, its lines are short.
. "$srcdir/tests/cli/common.sh"

readme=$srcdir/README.md
mkdir "$work/tour" "$work/bin"
ln -s "$srcdir/data" "$work/tour/data"
ln -s "$QKSCOPE" "$work/bin/qkscope"
sed -n '/^## A tour/,/^## Choices/s/^    qkscope /qkscope /p' "$readme" >"$work/commands"
check "the tour has commands" test "$(wc -l <"$work/commands")" = 5
while read -r line; do
    check "  $line" sh -c "cd '$work/tour' && PATH='$work/bin':\$PATH && $line </dev/null"
done <"$work/commands"
check "  the recipe makes the same export" diff -r "$work/tour/restored" "$work/tour/again"

"$QKSCOPE" diff "$pre" "$post" --json >"$work/diff.json"
"$QKSCOPE" range "$pre" "$post" --json >"$work/range.json"
check "the numbers of the tour" python3 "$tools/check_readme.py" "$readme" "$work/diff.json" "$work/range.json"
"$QKSCOPE" export "$pre" "$post" --set full=restore -o "$work/dry" --dry-run >"$work/plan"
check "  what the export writes" grep -q '^would change 197 kB in 8 tensors$' "$work/plan"

for page in README.md CONTRIBUTING.md SECURITY.md docs/families.md docs/hardening.md docs/passes.md docs/performance.md \
    docs/real-files.md data/README.md; do
    check "$page: no line over 120 characters" python3 -c '
import sys
sys.exit(any(len(line.rstrip("\n")) > 120 for line in open(sys.argv[1], encoding="utf-8")))' "$srcdir/$page"
    for link in $(grep -o '](\([^)#:]*\))' "$srcdir/$page" | tr -d '()]'); do
        check "  its link to $link" test -e "$srcdir/$(dirname "$page")/$link"
    done
done
done_testing
