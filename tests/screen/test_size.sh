#!/bin/sh
# test_size.sh - any size: nothing is lost, nothing breaks, and a message appears when the size is too small.
. "$srcdir/tests/screen/lib.sh"

resize() {
    $tmux resize-window -x "$1" -y "$2"
}

start --ascii
keys Space
wait_row 0 restore
resize 50 10
check "too small says both sizes" wait_for '50x10 is too small, 60x15 is needed'
keys Space Space m
resize 51 10 # drawn once the keys are read: they were sent before
wait_for '51x10 is too small'
resize 80 24
check "a larger size recovers by itself" wait_for 'layer 1 - full'
check "keys that nobody could see did nothing" wait_for '1 choice, not exported'
resize 60 15
check "60x15 shows the list" wait_row 0 restore
keys Enter
check "and the detail on the whole screen" wait_for 'rel. %'
keys Enter
resize 200 60
check "a large screen shows the detail beside" wait_for '|- layer 1 - full'
check "with both numbers of a choice" wait_row 0 '7.04 -> 0 %\|->0'

alive() {
    resize 80 24
    wait_for 'hypenet'
}
for view in '' Enter '?' e W; do
    [ -z "$view" ] || keys "$view"
    for size in '1 1' '300 3' '2 100' '59 15' '60 14' '61 16' '119 17' '120 18' '121 80' '79 23' '400 100' '60 15'; do
        # shellcheck disable=SC2086
        resize $size
        keys Down Up Tab
    done
    check "view '${view:-list}' survives every size" alive
    [ -z "$view" ] || keys q
done
resize 30 5
wait_for 'small'
keys q
resize 80 24
check "q is heard at any size" wait_for 'leave? y/n'
keys n
check "n stays" wait_gone 'y/n'
keys Q
wait_for 'y/n'
keys y
check "y leaves" wait_end 0
check "the terminal is as before" restored

done_testing
