#!/bin/sh
# test_manual.sh - the manual pages: without warnings of groff, and with everything that the program knows.
. "$srcdir/tests/cli/common.sh"

built=$(dirname "$QKSCOPE")/man
page=$built/qkscope.1
layout=$built/qkscope-layout.5
format=$built/qkscope-recipe.5
if ! command -v man >/dev/null || [ ! -f "$page" ]; then
    skip "the manual" "man or the built page is missing"
    done_testing
    exit 0
fi
for file in "$page" "$layout" "$format"; do
    MANWIDTH=100 man --warnings -l "$file" >"$work/text" 2>"$work/warnings"
    check "${file##*/} has no warnings" test ! -s "$work/warnings"
    check "  and no marks left" sh -c "! grep -q '^@[A-Z]' '$file'"
done
MANWIDTH=1000 man -l "$page" 2>/dev/null >"$work/wide"
sed 's/[[:space:]][[:space:]]*/ /g' "$work/wide" >"$work/text"
for command in info diff heads range cases plan export verify emit eval search suggest clean doctor; do
    "$QKSCOPE" $command --help >"$work/help"
    check "$command" grep -q "qkscope $command" "$work/text"
    for option in $(grep -o -e '--[a-z-]*' "$work/help" | sort -u); do
        check "  $option" grep -q -e "$option" "$work/text"
    done
done
for word in restore lerp qk-pro procrustes rel_fro cosine norm_ratio angle_max routing HF_HUB_CACHE NO_COLOR; do
    check "$word" grep -q -e "$word" "$work/text"
done
# The modes, as the program itself names them: in both pages that list them, and in the table of the README.
"$QKSCOPE" plan "$pre" "$post" --set all=? 2>"$work/modes"
modes=$(sed -n 's/.*expected \(.*\))$/\1/p' "$work/modes" | sed 's/:[A-Z]*//g; s/,//g; s/ or / /')
check "the program lists its modes" test "$(echo $modes | wc -w)" -ge 6
MANWIDTH=1000 man -l "$format" 2>/dev/null | sed -n '/^ *mode /,/^ *param /p' >"$work/recipe"
for mode in $modes; do
    check "  $mode in the manual" grep -q "^ *$mode\(:[A-Z]*\)\{0,1\}\( \|$\)" "$work/wide"
    check "  $mode in the format of recipes" grep -q "[ ,]$mode[ .,]" "$work/recipe"
    check "  $mode in the README" grep -q "^| \`$mode[:\`]" "$srcdir/README.md"
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

# The keys of a layout row: the page is made only when it holds each of the parser's keys, and no other.
template=$srcdir/man/qkscope-layout.5.in
sed '/^@KEY mixer rows_when@$/d' "$template" >"$work/short"
check "a layout page without one key is not made" sh -c "! '$built/tables' '$work/short' >/dev/null 2>'$work/why'"
check "  with its name" grep -q 'key rows_when of mixer' "$work/why"
sed 's/^@KEY mixer rows_when@$/&\n@KEY mixer columns@/' "$template" >"$work/long"
check "nor one with a key too many" sh -c "! '$built/tables' '$work/long' >/dev/null 2>'$work/why'"
check "  with its name" grep -q 'no such key: @KEY mixer columns@' "$work/why"
for key in 'family (text; required)' 'kind (one of full, window, linear, none; required)' 'window (value)' 'k_is_v (flag)' \
    'rows_when (list of pairs [condition, word])' 'refuse (object of config paths and words)'; do
    check "  $key" sh -c "MANWIDTH=1000 man -l '$layout' 2>/dev/null | grep -qF '$key'"
done

# Its example describes a checkpoint: the same numbers as of the checkpoint that this one is made of.
mkdir -p "$HOME/.config/qkscope/layouts"
sed -n '/^\.SH EXAMPLE/,/^\.fi/{/^[{} ]/p}' "$layout" | sed 's/\\-/-/g' >"$HOME/.config/qkscope/layouts/mynet.json"
for side in pre post; do
    python3 "$tools/make_mynet.py" "$fixtures/llama/$side" "$work/mynet/$side"
done
run info "$work/mynet/post"
check "the example of a layout row describes a model" says '^  family mynet, model type "mynet"$'
check "  and its heads" grep -q 'full: 4 query heads, 2 key heads of 16 x 64, RoPE on 16 of 16 dims' "$out"
numbers() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["layers"])' "$1"
}
for command in "diff" "range --ids $work/ids"; do
    echo "$(seq 1 40)" >"$work/ids"
    "$QKSCOPE" $command "$fixtures/llama/pre" "$fixtures/llama/post" --json >"$work/llama.json" 2>"$work/messages"
    "$QKSCOPE" $command "$work/mynet/pre" "$work/mynet/post" --json >"$work/mynet.json" 2>"$work/messages"
    numbers "$work/llama.json" >"$work/llama.numbers"
    numbers "$work/mynet.json" >"$work/mynet.numbers"
    check "  ${command%% *} has the same numbers" cmp "$work/llama.numbers" "$work/mynet.numbers"
    check "  in every layer" test "$(grep -o "'index'" "$work/mynet.numbers" | wc -l)" = 4
done
python3 "$tools/make_mynet.py" "$fixtures/llama/post" "$work/local" 8
run info "$work/local"
check "  layer_types makes a window layer" says '^  window  1: 1$'
check "  of the window that the config gives" grep -q 'window: .*, no positions, window 8$' "$out"
done_testing
