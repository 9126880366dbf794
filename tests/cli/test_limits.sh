#!/bin/sh
# test_limits.sh - every command under limits of address space and of the stack: it works or says why not in one line,
# and leaves nothing.
. "$srcdir/tests/cli/common.sh"

# A line for each command: its arguments. test_covered fails when one of --help is not here.
needles=$QK_TEST_DATA/needle/short.jsonl
cat >"$work/lines" <<END
info $post
diff $pre $post
heads $pre $post --needles $needles
track $pre $post
range $pre $post
cases arithmetic --count 2
plan $pre $post --set all=restore
export $pre $post --set all=procrustes:0.5 -o $work/new
verify $work/export
emit brainsurgery $pre $post --set all=restore
eval $pre --cases $needles --no-cache
search $pre $post --cases $needles --max-evals 3 --no-cache
suggest $pre $post --needles $needles
clean $work
doctor
$pre $post
END

test_covered() {
    "$QKSCOPE" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z]*\) .*/\1/p' >"$work/commands"
    [ -s "$work/commands" ] && while read -r name; do
        grep -q "^$name" "$work/lines" || { echo "no line for $name" && return 1; }
    done <"$work/commands"
}
check "every command has a line here" test_covered
run export "$pre" "$post" --set all=restore -o "$work/export"
check "  and verify has an export" ended 0

# limited LIMIT VALUE - every command under this limit ends within a minute, well or with one line and code 4.
limited() {
    bad=
    while read -r line; do
        # shellcheck disable=SC2086
        (ulimit "$1" "$2" && exec timeout 60 "$QKSCOPE" $line) >"$work/printed" 2>"$work/messages" </dev/null
        code=$?
        if [ "$code" -eq 4 ] && [ "$(wc -l <"$work/messages")" -ne 1 ] || [ "$code" -ne 4 ] && [ "$code" -ne 0 ]; then
            bad=1
            echo "$code: $line"
            head -n 3 "$work/messages"
        fi
        [ ! -e "$work/new" ] || [ "$code" -eq 0 ] || { bad=1 && echo "left: $work/new"; }
        rm -rf "$work/new"
    done <"$work/lines"
    [ -z "$bad" ] && ! find "$work" -name '*.partial*' | grep .
}
check "a stack of 64 KiB" limited -s 64
if bounded; then
    for mib in 128 900 1500; do
        check "$mib MiB of address space" limited -v $((mib * 1024))
    done
    (ulimit -v 131072 && run info "$post" && exit "$code")
    code=$?
    check "what computes nothing works in 128 MiB" ended 0
    (ulimit -v 131072 && run diff "$pre" "$post" && exit "$code")
    code=$?
    check "what computes says what it needs" complains 4 'OpenBLAS needs [0-9]* MiB of address space'
else
    skip "limits of address space" "sanitizers take more"
fi
done_testing
