#!/bin/sh
# test_stress.sh - a few seconds of random keys, sizes, stops and ends over an analysis (requirements in stress.py).
. "$srcdir/tests/cli/common.sh"

check "the program survives random keys, always the same ones" python3 "$srcdir/tests/screen/stress.py" --seed 7 --seconds 4 --answer 600 \
    "$QKSCOPE" "$(dirname "$QKSCOPE")/man/qkscope.1" "$pre" "$post"
done_testing
