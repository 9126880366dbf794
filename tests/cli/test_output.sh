#!/bin/sh
# test_output.sh - output that cannot be written, readers that leave early, the line of progress.
. "$srcdir/tests/cli/common.sh"

# into FILE ARGUMENT... - runs the program with its output there.
into() {
    target=$1
    shift
    out=/dev/null
    err=$work/messages
    "$QKSCOPE" "$@" >"$target" 2>"$err"
    code=$?
}
if [ -c /dev/full ]; then
    for command in "diff $pre $post" "diff --json $pre $post" "diff --csv --heads $pre $post" "info $post" doctor --help \
        "diff --help" --version "plan $pre $post --set full=restore -o -" "$pre $post"; do
        # shellcheck disable=SC2086
        into /dev/full $command
        check "$(echo "$command" | sed "s|$QK_DEMO_DATA/||g") on a full device" complains 4 \
            'standard output: cannot write: No space left on device'
    done
else
    skip "a full device" "there is no /dev/full"
fi
"$QKSCOPE" diff "$pre" "$post" >&- 2>"$work/messages"
code=$?
check "closed standard output" complains 4 'standard output: cannot write: Bad file descriptor'
"$QKSCOPE" export "$pre" "$post" --set full=restore -o "$work/out" >&- 2>"$work/messages"
check "  does not end up in a file of an export" python3 "$tools/check_export.py" "$pre" "$post" "$work/out" 1,4,7,10 qk
"$QKSCOPE" info "$work/none" 2>&- >"$work/printed"
check "closed standard error" test $? -eq 4

# leaves ARGUMENT... - a reader that leaves before anything is written: no message, and the command's own code.
leaves() {
    { "$QKSCOPE" "$@" 2>"$work/messages"; echo $? >"$work/code"; } | true
    code=$(cat "$work/code")
    err=$work/messages
    check "a closed pipe: $1" sh -c "[ $code -eq 0 ] && [ ! -s '$err' ]"
}
leaves diff --json "$pre" "$post"
leaves info "$post"
leaves --help
leaves clean "$work"
leaves cases needle --length 100000 --count 20
leaves plan "$pre" "$post" --set full=restore -o -
check "head takes what it wants" test "$("$QKSCOPE" diff --csv --heads "$pre" "$post" 2>&1 | head -n 1 | cut -c 1-10)" = layer,kind

python3 "$tools/make_holes.py" "$work/holes"
# The line of progress, as a terminal gets it: there while it works, wiped when it is done.
python3 "$tools/on_terminal.py" "$QKSCOPE" diff --layers 0 --threads 1 "$work/holes/pre" "$work/holes/post" \
    >"$work/printed" 2>"$work/messages"
code=$?
check "progress on a terminal" grep -q 'comparing  *[0-9]* %  [0-9]* s left' "$work/messages"
check "  is wiped at the end" test "$(tail -c 1 "$work/messages" | od -An -tx1)" = " 0d"
check "  and never in the output" sh -c "! grep -q comparing '$work/printed'"
python3 "$tools/make_holes.py" "$work/smaller" 1 4096
run diff "$work/smaller/pre" "$work/smaller/post"
check "no progress where nobody looks" test ! -s "$err"
done_testing
