#!/bin/sh
# test_hostile_names.sh - every view of the screen, and the clipboard, over files whose names hold every character that
# steers a terminal or deceives a reader: the bytes that the program writes hold none of them.
. "$srcdir/tests/screen/lib.sh"

python=${PYTHON:-/usr/bin/python3}
hostile=$srcdir/tests/cli/hostile_names.py
mkdir "$work/hostile"
"$python" "$hostile" make "$QK_DEMO_DATA" "$work/hostile" || exit 1

# open_view ID - from the list of layers; every row of the table of views (ui/action_list.h) has its line here.
open_view() {
    case $1 in
    LIST) list_is_open ;;
    DETAIL) keys Enter && wait_for '^─ layer 0 · linear (lightning-attn.x1b\]0;owned' ;;
    EXPORT) keys Space e && wait_for '^ *target ' && wait_for 'model.layers.*x1b\]0;owned' ;;
    HELP) keys '?' && wait_for 'every action' ;;
    MESSAGES) keys W && wait_for 'messages, the newest first' ;;
    ATTENTION) keys Down f && wait_for 'aforged: line\|⏎forged: line' ;;
    EVAL) keys t && wait_for 'every case is answered' ;;
    MAP) keys M && wait_for 'map: rel. %' ;;
    SUGGEST) keys '!' && wait_for 'QK-Restore' ;;
    COMPARE) keys = && wait_for 'and the present choices' ;;
    *) false ;;
    esac
}

list_is_open() {
    wait_for '^layer▲kind '
}

screen_start 200 50 "XDG_CONFIG_HOME='$work/hostile/config' '$QKSCOPE' hostile/pair*/pre hostile/pair*/post --sort index \
    --needles hostile/needle.jsonl"
check "the names of the pair are shown" wait_for 'line.x0d.x9b2J.u202e.u2066.u200b.u200d.u2028.ufeff.u00ad.U000e0041.x09.x7f.x85.xff/pre '
check "  and of its family" wait_for '^ family.x1b\]0;owned.x07.x1b\[31m.x0aforged: line'
wait_for 'needle masses on 1 prompts' # the last message that comes by itself
keys y
check "the layer's tensors are copied" wait_for 'handed to the terminal'
# The messages get the longest names: those of a file that is not there, and of a spoilt one.
keys :
text "probe $(printf 'gone/\342\200\256\363\240\201\201')"
keys Enter
check "a message names a file" wait_for 'gone/.u202e.U000e0041: cannot open'
for id in $(sed -n '/define QK_SCREENS/,/^$/s/^ *X(\([A-Z]*\),.*/\1/p' "$srcdir/ui/action_list.h"); do
    check "$id is opened" open_view "$id"
    [ "$id" = LIST ] || keys Escape
    list_is_open
done
keys e w
check "an export is written" wait_for 'written to '
keys v
check "  and verified" wait_for 'what its recipe says\|cannot open'
leave
"$python" "$hostile" raw "$work/raw" >"$work/found"
check "nothing that was written is hidden or acts, on the screen and in the clipboard" \
    sh -c "[ \"\$(cat '$work/found')\" = 'clipboard 2' ]"
cat "$work/found"

done_testing
