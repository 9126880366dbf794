#!/bin/sh
# test_output.sh - output that cannot be written, readers that leave early, signals.
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
check "head takes what it wants" test "$("$QKSCOPE" diff --csv --heads "$pre" "$post" 2>&1 | head -n 1 | cut -c 1-10)" = layer,kind

# --- signals ---
python3 "$tools/make_pair.py" "$work/big" 400000000
before=$(sums "$work/big")
# interrupt.py runs the program, waits until its work has begun, and sends the signal.
for signal in INT TERM HUP; do
    python3 "$tools/interrupt.py" $signal "$work/target" "$QKSCOPE" export "$work/big/pre" "$work/big/post" \
        --set all=qk-pro:0.3 -o "$work/target" >"$work/printed" 2>"$work/messages"
    code=$?
    out=$work/printed
    if [ "$code" -eq 77 ]; then
        skip "SIG$signal during an export" "it was over too soon"
        rm -rf "$work/target"
    else
        check "SIG$signal during an export" complains 130 'interrupted'
        check "  leaves nothing behind" test -z "$(find "$work" -maxdepth 1 -name '*target*')"
    fi
done
python3 "$tools/make_holes.py" "$work/holes"
for command in diff plan; do
    spec=
    [ $command = diff ] || spec="--set routing>0.1=restore -o $work/r.json"
    # shellcheck disable=SC2086
    python3 "$tools/interrupt.py" INT - "$QKSCOPE" $command "$work/holes/pre" "$work/holes/post" $spec \
        >"$work/printed" 2>"$work/messages"
    code=$?
    check "SIGINT while $command compares" complains 130 'interrupted'
done
check "  leaves no recipe" test ! -e "$work/r.json"
# The line of progress, as a terminal gets it: there while it works, wiped when it is done.
python3 "$tools/on_terminal.py" "$QKSCOPE" diff --layers 0 --threads 1 "$work/holes/pre" "$work/holes/post" \
    >"$work/printed" 2>"$work/messages"
code=$?
check "progress on a terminal" grep -q 'comparing  *[0-9]* %  [0-9]* s left' "$work/messages"
check "  is wiped at the end" test "$(tail -c 1 "$work/messages" | od -An -tx1)" = " 0d"
check "  and never in the output" sh -c "! grep -q comparing '$work/printed'"
run diff --layers 0 "$work/holes/pre" "$work/holes/post"
check "no progress where nobody looks" test ! -s "$err"
check "the inputs are unchanged" test "$before" = "$(sums "$work/big")"
done_testing
