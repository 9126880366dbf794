#!/bin/sh
# test_precision.sh - --precision: bfloat16 is refused where it cannot be, is near float32 where it can, and what is
# kept of one is not taken for the other.
. "$srcdir/tests/cli/common.sh"

cases="$work/cases.jsonl"
printf '%s\n' '{"prompt": "3+4=", "answer": "7"}' '{"prompt": "2+2=", "answer": "4"}' >"$cases"

# A file that is no library stands before oneDNN.
before=${LD_LIBRARY_PATH-}
mkdir "$work/none"
echo none >"$work/none/libdnnl.so.2"
export LD_LIBRARY_PATH="$work/none${before:+:$before}"
run range --precision bf16 "$pre" "$post"
check "range without oneDNN" complains 3 '^qkscope: --precision bf16: bfloat16 products need oneDNN: '
run eval --precision bf16 --cases "$cases" "$pre"
check "eval without oneDNN" complains 3 '^qkscope: --precision bf16: bfloat16 products need oneDNN: '
run search --precision bf16 --cases "$cases" "$pre" "$post"
check "search without oneDNN" complains 3 '^qkscope: --precision bf16: bfloat16 products need oneDNN: '
run range --length 100 --no-cache --precision f32 "$pre" "$post"
check "float32 does not need it" says 'full'
run doctor
check "doctor says who multiplies" grep -q '^  forward passes  *OpenBLAS: .' "$out"
check "  and why bfloat16 is not there" grep -q '^  bfloat16, one core  *not here: .' "$out"
export LD_LIBRARY_PATH="$before"
[ -n "$before" ] || unset LD_LIBRARY_PATH

run range --precision half "$pre" "$post"
check "another word" complains 2 '^qkscope: --precision: unknown word'

run doctor
if ! grep -q '^  bfloat16, one core  *[1-9][0-9]* Gflop/s' "$out"; then
    skip "bfloat16" "this build or processor does not multiply it"
    done_testing
    exit
fi
kept() {
    find "$HOME/.cache" -name "*$1" | wc -l
}
range() {
    run range --length 200 --json --precision "$1" "$pre" "$post"
    cp "$out" "$work/$2"
}
range f32 one
range bf16 half
range bf16 again
range f32 two
check "states of both are kept" test "$(kept .states.safetensors)" = 4
check "float32 is what it was" cmp "$work/one" "$work/two"
check "bfloat16 is what it was" cmp "$work/half" "$work/again"
check "they differ" sh -c "! cmp -s '$work/one' '$work/half'"
# Values of 8 bits put an error of 2^-9 on each activation and weight. In sums over hundreds of tokens it averages out.
check "  by less than 0.002 of the mass" python3 - "$work/one" "$work/half" <<'END'
import json, sys
one, half = (json.load(open(path))["layers"] for path in sys.argv[1:])
assert len(one) == len(half) >= 4
for a, b in zip(one, half):
    for side in ("pre", "post"):
        assert abs(a[side]["long_mass"] - b[side]["long_mass"]) < 2e-3, (a["index"], side)
END
run eval --cases "$cases" "$post"
cp "$out" "$work/answers"
run eval --precision bf16 --cases "$cases" "$post"
check "eval answers in bfloat16" says 'cases'
check "  and keeps the answers apart" test "$(kept .answers)" = 2
done_testing
