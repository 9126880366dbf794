#!/bin/sh
# test_slow.sh - the screen answers while numbers are computed and files written; cancelled work leaves nothing.
. "$srcdir/tests/screen/lib.sh"

python3 "$tools/make_holes.py" "$work/holes" 512
# gone PATTERN - no name of a target or beside it matches.
gone() {
    [ -z "$(find "$work" -maxdepth 1 -name "*$1*")" ]
}

screen_start 80 24 "'$QKSCOPE' holes/pre holes/post"
check "the first screen is there before any number" until_true wrote 'computing 0/512'
wait_for 'help'
keys Space
check "choices can be made meanwhile" wait_row 0 restore
keys b /
text 'routing>0.1'
keys Enter
check "a test of numbers that are not there says so" wait_for 'not known yet'
keys '?'
check "help opens" wait_for 'every action'
keys q
wait_gone 'every action'
leave

hold
screen_start 80 24 "$held '$QKSCOPE_FAULTY' pre post"
wait_for 'help'
keys Space
wait_row 0 restore
keys e w
check "an export shows its progress" wait_for 'export .*% .* of 5.47 MB'
keys q
check "the list can be used while it runs" wait_for 'exporting'
keys j m r
check "to choose on" wait_row 2 'restore'
keys Q
check "leaving asks about the export" wait_for 'an export is running: stop it and leave? y/n'
keys n
wait_gone 'y/n'
keys e
wait_for 'Esc cancel'
keys Escape
wait_for 'stopping'
release
check "Esc stops it" wait_for 'export stopped: nothing was written'
check "nothing is left of it" until_true gone qkscope
hold
keys w
wait_for 'Esc cancel'
keys C-c
wait_for 'stopping'
release
check "so does Ctrl-C" wait_for 'export stopped: nothing was written'
hold
keys w
wait_for 'Esc cancel'
keys Q
wait_for 'y/n'
keys y
release
check "leaving stops it" wait_end 0
check "and leaves nothing" gone qkscope

done_testing
