#!/bin/sh
# test_help.sh - help with every row of the action table, scrolled, searched, and without the actions that --readonly
# removes.
. "$srcdir/tests/screen/lib.sh"

names() {
    sed -n 's/^ *X([A-Z_]*, "[^"]*", "\([^"]*\)",.*/\1/p' "$srcdir/ui/action_list.h"
}

# keys_of NAME - the keys column of the table.
keys_of() {
    sed -n "s/^ *X([A-Z_]*, \"[^\"]*\", \"$1\", \"\([^\"]*\)\",.*/\1/p" "$srcdir/ui/action_list.h"
}

# Every action is in the help by its keys, or by its name.
all_listed() {
    screen >"$work/help"
    for name in $(names); do
        keys=$(keys_of "$name" | sed 's/\\\\/\\/g')
        [ -n "$keys" ] || keys=":$name"
        grep -F -q -e " $keys" "$work/help" || {
            echo "$name ($keys) is not there"
            return 1
        }
    done
}

check "the table has its rows" test "$(names | wc -l)" -ge 50
start 100 160
keys '?'
wait_for 'every action'
check "help lists every action" until_true all_listed
keys '?'
check "? closes it again" wait_gone 'every action'
keys '?' q
check "so does q" wait_gone 'every action'
keys q
wait_end 0

start
keys '?'
wait_for 'Moving'
check "help begins at the top on a small screen" wait_for 'Go up one row'
keys G
check "G goes to its end" wait_for 'In other views\|Hard-link'
keys Tab
check "Tab shows what modes are" wait_for "pre's weights, byte for byte"
keys G
check "  what numbers and signs mean" wait_for 'a number that is being computed'
keys Tab
wait_for 'Moving'
keys /
text 'clipboard'
keys Enter
check "help can be searched" wait_for 'OSC 52'
keys n
check "the only place is found again" wait_for 'OSC 52'
keys q
wait_gone 'every action'
keys e
wait_for 'target'
keys '?'
check "the keys of a view come first" wait_for 'Write the checkpoint'
keys q
wait_gone 'every action'
keys q q
wait_end 0

start 100 120 --readonly
check "read-only is shown" wait_for 'read-only'
check "the footer has no export" shows_not 'e export'
keys '?'
wait_for 'every action'
check "nor has help" shows_not 'would change, then write'
keys '?'
wait_gone 'every action'
keys e
check "the key says why" wait_for 'read-only: nothing is written'
keys q
wait_end 0

done_testing
