#!/bin/sh
# test_find.sh - finding layers: sort, filter, search, marks that follow, and clicks.
. "$srcdir/tests/screen/lib.sh"

start 80 40
check "layers stand in their order" wait_order '0 1 2 3 4 5 6 7 8 9 10 11'
keys s
check "s asks what to sort by" wait_for 'sort by: its key'
keys q
check "q sorts by q, the largest first" wait_order '7 6 8 11 3 9 5 4 2 1 10 0'
check "the pointer goes to the top" wait_selected 7
check "the heading says so" wait_for 'Q drift▼'
keys S
check "S turns it around" wait_order '0 10 1 2 4 5 9 3 11 8 6 7'
check "from the top again" wait_selected 0
keys s q
check "the key of the order does so, too" wait_order '7 6 8 11 3 9 5 4 2 1 10 0'
keys s s
check "and s" wait_order '0 10 1 2 4 5 9 3 11 8 6 7'
keys s r
check "r sorts by routing" wait_order '11 7 6 8 5 3 9 1 4 2 10 0'
keys Space
check "by what it shows: a layer that is restored goes down" wait_order '7 6 8 5 3 9 1 4 2 10 0 11'
check "  and the pointer is on the next" wait_selected 7
keys u
wait_order '11 7 6 8 5 3 9 1 4 2 10 0'
keys s a
check "a column without a place gets one" wait_for 'angle▼'
keys s
wait_for 'sort by: its key'
keys Escape
wait_gone 'sort by: its key'
check "Esc leaves the order" wait_for 'angle▼'
text ':sort kind'
keys Enter
check ":sort names a column" wait_order '1 4 7 10 0 2 3 5 6 8 9 11'
text ':sort index'
keys Enter
wait_order '0 1 2 3 4 5 6 7 8 9 10 11'

keys '\'
wait_for 'filter'
text full
check "a filter acts while it is typed" wait_order '1 4 7 10'
keys Enter
check "the state line says what is filtered" wait_for "filter 'full' shows 4"
keys G Space
check "the last row in view is chosen" wait_row 10 'restore'
keys Escape
check "Esc shows all again" wait_order '0 1 2 3 4 5 6 7 8 9 10 11'
keys '\'
text 'routing>0.15'
keys Enter
check "numbers filter" wait_order '6 7 11'
keys '\' C-u
text 'routing>14'
keys Enter
check "a share that no layer can have is explained" wait_for '14 % is 0.14 or 14%'
keys '\' C-u
text 'routing>15%'
keys Enter
check "per cent are taken" wait_order '6 7 11'
keys '\' C-u
text 'nothing has this'
keys Enter
check "an empty list says how to go on" wait_for 'Esc shows all'
keys Space
check "and nothing can be chosen in it" wait_for 'restore: no layer'
keys Escape
wait_order '0 1 2 3 4 5 6 7 8 9 10 11'
check "the selected layer is the one from before" wait_selected 11
text ':layer 2'
keys Enter '\'
text full
keys Enter
check "where it is filtered out, the next one takes its place" wait_selected 4
keys Escape
wait_order '0 1 2 3 4 5 6 7 8 9 10 11'
keys '\'
text 3,5-8
check "lists filter" wait_order '3 5 6 7 8'
keys Escape
check "Esc in the prompt takes the filter back" wait_order '0 1 2 3 4 5 6 7 8 9 10 11'

keys g /
wait_for 'n and N go on'
text restore
check "a search goes there while it is typed" wait_selected 10
keys Enter g /
text full
keys Enter
check "/ finds a kind" wait_selected 1
keys n n
check "n goes on" wait_selected 7
keys N
check "N goes back" wait_selected 4
keys n n n
check "and around the end" wait_selected 1
keys / Enter
check "/ and Enter search for the same once more" wait_selected 4
keys N
wait_selected 1
keys /
text 'no such word'
keys Enter
check "a failed search is reported" wait_for 'not found'
keys Escape
wait_gone 'not found'
text ':layer 9'
keys Enter
check ":layer goes to a number" wait_selected 9
text ':7'
keys Enter
check "a number alone is no action" wait_for "no action is called '7'"
keys Escape
wait_gone "is called"

# mouse BUTTON ROW COLUMN - what the terminal sends (0: left, 3: released, 64: wheel up, 65: down), places from 0.
mouse() {
    text "$(printf '\033[M%b%b%b' "\\0$(printf %o $((32 + $1)))" "\\0$(printf %o $((33 + $3)))" \
        "\\0$(printf %o $((33 + $2)))")"
}
press() {
    mouse "$1" "$2" "$3"
    mouse 3 "$2" "$3"
}
keys P
check "P turns the mouse on and mentions Shift" wait_for 'hold Shift'
press 0 5 10
check "a click selects a row" wait_selected 2
press 65 5 10
check "the wheel goes down" wait_selected 3
press 64 5 10
check "and up" wait_selected 2
press 0 17 20
check "a click selects a head" wait_for '^ q1  *0  *1 '
press 0 2 16
check "a click on a heading sorts by its column" wait_for 'Q drift▼'
press 0 2 16
check "  and once more the other way around" wait_for 'Q drift▲'
text ':sort index'
keys Enter
wait_order '0 1 2 3 4 5 6 7 8 9 10 11'
press 0 5 10
wait_selected 2
press 0 5 10
check "a second click opens the layer" wait_gone 'layer▲kind'
press 0 38 2
check "the footer's words are buttons" wait_for 'every action'
keys q
wait_gone 'every action'
keys q
wait_for 'layer▲kind'
keys P
check "P turns it off" wait_for 'mouse off'
text "$(printf '\033[M +&\033[M#+&')"
$tmux resize-window -x 50 -y 10
check "what comes late holds nothing up" wait_for 'is too small'
$tmux resize-window -x "$columns" -y "$rows"
wait_for 'layer▲kind'
check "  and is no key" wait_row 2 keep

keys g E
check "E multiplies the gains of the norms in" wait_for 'with norm gains'
wait_gone 'computing'
check "which changes numbers" wait_row 0 ' [0-9.]* *keep'
keys E
check "and back" wait_gone 'with norm gains'
wait_gone 'computing'
check "the numbers are as at first" wait_row 0 ' 7.04 .* 10.4 '
keys r
check "r computes again" wait_row 0 ' 7.04 .* 10.4 '
keys P
wait_for 'hold Shift'
press 0 5 10
wait_selected 2
mouse 1 5 10
mouse 3 5 10
kill -TERM "$(cat "$work/pid")"
check "a button that does nothing holds nothing up" wait_end 130

done_testing
