#!/bin/sh
# test_faults.sh - failures of some calls of every command, chosen evenly over their kinds; run_faults.py --all takes
# all calls.
. "$srcdir/tests/cli/common.sh"
faulty=$QKSCOPE_FAULTY

some=2
[ -z "${QK_TEST_BRIEF-}" ] || some=1
out=$work/printed
err=$work/messages
python3 "$srcdir/tests/fault/run_faults.py" "$faulty" --some $some >"$out" 2>"$err"
code=$?
sed 's/^/# /' "$out"
check "every failure is reported or ignored, and nothing is left half done" ended 0
check "  many were tried" sh -c "[ \"\$(sed -n 's/.* kinds of calls, \([0-9]*\) failures.*/\1/p' '$out')\" -gt $((30 * some)) ]"

# A runner that notices nothing would be glad of anything: what it looks for is what it finds.
QK_FAULT=memory:40 "$faulty" info "$post" >"$out" 2>"$err"
code=$?
check "a failure is a failure" complains 4 'out of memory'
QK_FAULT=read:1 "$faulty" info "$post" >"$out" 2>"$err"
code=$?
check "  of the disk, too" complains 4 'cannot read: Input/output error'
done_testing
