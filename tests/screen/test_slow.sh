#!/bin/sh
# test_slow.sh - while numbers are computed and files written the screen answers; what is cancelled leaves nothing.
. "$srcdir/tests/screen/lib.sh"

python3 "$tools/make_holes.py" "$work/holes"
# gone PATTERN - no name in the folder has it.
gone() {
    [ -z "$(find "$work/holes" -name "*$1*")" ]
}

screen_start 80 24 "(cd holes && '$QKSCOPE' pre post)"
check "the first screen is there before any number" wait_for 'computing 0/8'
keys Space
check "choices can be made meanwhile" wait_row 0 restore
keys b
text 'routing>0.1'
keys Enter
check "a test of numbers that are not there says so" wait_for 'not known yet'
keys '?'
check "help opens" wait_for 'every action'
keys q
wait_gone 'every action'

keys e w
check "an export shows its progress" wait_for 'export .*% .* of 2.15 GB'
keys q
check "the list can be used while it runs" wait_for 'exporting'
keys j m
check "to choose on" wait_row 2 'restore'
keys Q
check "leaving asks about the export" wait_for 'an export is running: stop it and leave? y/n'
keys n
wait_gone 'y/n'
keys e
wait_for 'Esc cancel'
keys Escape
check "Esc stops it" wait_for 'export stopped: nothing was written'
check "nothing is left of it" until_true gone qkscope
keys w
wait_for 'Esc cancel'
keys C-c
check "so does Ctrl-C" wait_for 'export stopped: nothing was written'
keys w
wait_for 'Esc cancel'
keys Q
wait_for 'y/n'
keys y
check "leaving stops it" wait_end 0
check "and leaves nothing" gone qkscope

done_testing
