#!/bin/sh
# test_manual.sh - the manual pages: no warning of groff, and everything that the program knows is in them.
. "$srcdir/tests/cli/common.sh"

page=$(dirname "$QKSCOPE")/man/qkscope.1
format=$srcdir/man/qkscope-recipe.5
if ! command -v man >/dev/null || [ ! -f "$page" ]; then
    skip "the manual" "man or the built page is missing"
    done_testing
    exit 0
fi
for file in "$page" "$format"; do
    MANWIDTH=100 man --warnings -l "$file" >"$work/text" 2>"$work/warnings"
    check "${file##*/} has no warnings" test ! -s "$work/warnings"
    check "  and no marks left" sh -c "! grep -q '@[A-Z]*@' '$file'"
done
MANWIDTH=1000 man -l "$page" 2>/dev/null | sed 's/[[:space:]][[:space:]]*/ /g' >"$work/text"
for command in info diff cases plan export verify emit clean doctor; do
    "$QKSCOPE" $command --help >"$work/help"
    check "$command" grep -q "qkscope $command" "$work/text"
    for option in $(grep -o -e '--[a-z-]*' "$work/help" | sort -u); do
        check "  $option" grep -q -e "$option" "$work/text"
    done
done
for word in restore lerp qk-pro procrustes rel_fro cosine norm_ratio angle_max routing HF_HUB_CACHE NO_COLOR; do
    check "$word" grep -q -e "$word" "$work/text"
done
check "the screen's keys" sh -c "sed -n '/^KEYS/,/^CHOICES/p' '$work/text' | grep -q -e ':undo'"
"$QKSCOPE" export "$pre" "$post" --set 7=lerp:0.5 --comment x -o "$work/out" >"$work/printed"
keys=$(python3 -c "
import json
def walk(x):
    for key, value in x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ():
        if isinstance(key, str): print(key)
        walk(value)
walk(json.load(open('$work/out/qkscope-recipe.json')))" | sort -u)
check "a recipe has its keys" test "$(echo "$keys" | wc -l)" -ge 20
for key in $keys; do
    check "  $key" grep -q "$key" "$format"
done
done_testing
