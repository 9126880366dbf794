#!/bin/sh
# test_blend.sh - every mode with a parameter against numpy in float64, to one unit in the last place.
set -u
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
python=${PYTHON:-/usr/bin/python3} # the one that Debian's numpy belongs to
echo 1..24
n=0

# check NAME PRE POST MODE PARAM [GROUP] - of all heads, or of those of a key group
check() {
    n=$((n + 1))
    out=$work/$n
    if "$QKSCOPE" export "$2" "$3" --set "all${6:+/g$6}=$4:$5" -o "$out" >"$work/log" 2>&1 &&
        "$python" "$srcdir/tests/cli/blend_reference.py" "$2" "$3" "$out" "$4" "$5" ${6:-} >>"$work/log" 2>&1; then
        echo "ok $n - $1${6:+ g$6} $4:$5: $(tail -n 1 "$work/log")"
    else
        echo "not ok $n - $1${6:+ g$6} $4:$5"
        tail -n 5 "$work/log" | sed 's/^/# /'
    fi
}

for mode in lerp:0.3 qk-pro:0.3 procrustes:0.5; do
    # With gains in the way procrustes equals lerp; per pair of RoPE; with biases; full rotation without positions.
    check demo "$QK_DEMO_DATA/pre" "$QK_DEMO_DATA/post" "${mode%:*}" "${mode#*:}"
    check demo "$QK_DEMO_DATA/pre" "$QK_DEMO_DATA/post" "${mode%:*}" "${mode#*:}" 1
    for family in llama qwen2 jamba; do
        fixture=$QK_TEST_DATA/fixtures/$family
        check $family "$fixture/pre" "$fixture/post" "${mode%:*}" "${mode#*:}"
        check $family "$fixture/pre" "$fixture/post" "${mode%:*}" "${mode#*:}" 0
    done
done
