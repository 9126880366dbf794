#!/bin/sh
# test_make_pair.sh - the generator of large pairs: the program finds the drift that it stored.
. "$srcdir/tests/cli/common.sh"

make_pair() {
    "$QK_MAKE_PAIR" "$@" --d 256 --heads 4,2 --head-dim 32 --vocab 1000
}

# The same on one processor.
make_pair_alone() {
    python3 -c 'import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.execv(sys.argv[1], sys.argv[1:])' "$QK_MAKE_PAIR" "$@" --d 256 --heads 4,2 --head-dim 32 --vocab 1000
}

# Both sum squares of the stored values in float64, the generator of differences taken in float32 (24 bits): 1e-6.
agrees() {
    python3 - "$1/truth.json" "$out" <<'EOF'
import json
import sys
truth, found = (json.load(open(path))["layers"] for path in sys.argv[1:])
assert len(truth) == len(found) == 4
for a, b in zip(truth, found):
    for role in "qk":
        put, measured = a[role], b[role]["rel_fro"]
        assert abs(put["rel_fro"] - measured) < 1e-6 * measured, (a["index"], role, put, measured)
        # Only rounding to bfloat16 lies between the requested and the stored numbers.
        asked = (put["drift"] ** 2 + put["noise"] ** 2) ** 0.5
        assert abs(asked - measured) < 1e-3, (a["index"], role, asked, measured)
EOF
}

for preset in hypenet-9b jet-nemotron-4b qwen3-next-80b; do
    check "$preset is written" make_pair "$preset" --layers 4 "$work/$preset"
    run diff --json "$work/$preset/pre" "$work/$preset/post"
    check "$preset has the drift that was put in" agrees "$work/$preset"
done
check "it is written again by one processor" make_pair_alone hypenet-9b --layers 4 "$work/again"
check "byte for byte" cmp "$work/hypenet-9b/post/model-00001-of-00001.safetensors" \
    "$work/again/post/model-00001-of-00001.safetensors"
check "what is not looked at are holes" sh -c \
    "[ \$(du -k '$work/hypenet-9b/post' | cut -f1) -lt \$(du -k --apparent-size '$work/hypenet-9b/post' | cut -f1) ]"
check "it is written without holes" make_pair hypenet-9b --layers 4 --dense --rank 0 --noise 0.3 --condition 1 "$work/dense"
run diff --json "$work/dense/pre" "$work/dense/post"
check "and with noise alone it has that" agrees "$work/dense"
done_testing
