#!/bin/sh
# test_cases.sh - made cases: equal for equal seeds, of the requested length and depth, with the answer only at its
# place; right problems; refusals of cases that cannot be made.
. "$srcdir/tests/cli/common.sh"
before=$(sums "$QK_DEMO_DATA")

# holds FILE ARGUMENT... - check_cases.py agrees.
holds() {
    python3 "$tools/check_cases.py" "$@"
}

# make NAME ARGUMENT... - writes $work/NAME.jsonl.
make() {
    name=$1
    shift
    run cases "$@" -o "$work/$name.jsonl"
}

# --- needles ---
make default needle
check "needles" ended 0
check "  say nothing" test ! -s "$out" -a ! -s "$err"
check "  of three lengths and five depths, 20 each, found where they should be" \
    holds needle "$work/default.jsonl" 300 "512 1024 2048" "0.1 0.3 0.5 0.7 0.9" '^[0-9]\{4\}$' 4
run cases needle --seed 1 -n 512,1024,2048 -c 20
check "the same on standard output, byte for byte" cmp "$out" "$work/default.jsonl"
run cases needle --seed 2
check "another seed, other cases" sh -c "[ -s '$out' ] && ! cmp -s '$out' '$work/default.jsonl'"
check "the digest of every machine" test \
    "$(sha256sum <"$work/default.jsonl" | cut -c1-16)" = fc3ff7d003b25e59
run cases needle -n 1024 -d 0.9,0.5 -c 3
grep '@1024","depth":0.5' "$work/default.jsonl" | head -n 3 >"$work/part"
tail -n 3 "$out" >"$work/tail"
check "a case does not depend on the others" cmp "$work/tail" "$work/part"
run cases needle -n 400 --depths 5 -c 2 --haystack noise --value hex --distractors 0
cp "$out" "$work/noise.jsonl"
check "noise and hex digits" holds needle "$work/noise.jsonl" 10 400 "0 0.25 0.5 0.75 1" '^[0-9a-f]\{8\}$' 1
run cases needle -n 600 -d 0,1 -c 5 --value words --digits 3 --distractors 6
cp "$out" "$work/words.jsonl"
check "values of words" holds needle "$work/words.jsonl" 10 600 "0 1" '^[a-z]*-[a-z]*-[a-z]*$' 7
run cases needle -n 700 -d 0.5 -c 5 -t "$pre"
cp "$out" "$work/tokens.jsonl"
check "lengths in tokens, a byte each and BOS" holds needle "$work/tokens.jsonl" 5 699 0.5 '^[0-9]\{4\}$' 4 700
python3 -c "print('Der Fluß ist 1234 m breit. Ünd? ' * 9 + 'x' * 900 + '川は広い。' * 90)" >"$work/own.txt"
run cases needle -n 2000 -d 0.3 -c 5 --haystack "$work/own.txt" --value digits
cp "$out" "$work/own.jsonl"
check "a text of one's own, which is shorter" holds needle "$work/own.jsonl" 5 2000 0.3 '^[0-9]\{4\}$' 4 2000 410

# --- RULER's ---
# Text that RULER would cut into words again: of several lines, with double blanks.
python3 -c "
import random
random.seed(1)
print('\n'.join('The  essay %d says: %s. It ends here!' % (i, ' '.join(random.choices('river stone cloud paper light sound'.split(), k=9))) for i in range(300)))" >"$work/essays.txt"
for task in niah_single_1 niah_single_2 niah_single_3 niah_multikey_1 niah_multikey_2 niah_multikey_3 niah_multivalue niah_multiquery vt; do
    set --
    case $task in niah_single_[23] | niah_multi*[1ey]) [ $task = niah_multikey_3 ] || set -- --haystack "$work/essays.txt" ;; esac
    make $task needle --ruler $task -n 8000 -c 12 "$@"
    [ $# -eq 0 ] || set -- "$work/essays.txt"
    check "$task is as RULER defines it" python3 "$tools/check_ruler.py" "$work/$task.jsonl" $task 12 8000 "$@"
done
run cases needle --ruler niah_single_2 -n 8000 -c 12 --haystack "$work/essays.txt"
check "the same bytes for the same seed" cmp "$out" "$work/niah_single_2.jsonl"
run cases needle --ruler vt -n 8000 -c 12 --seed 2
check "  others for another" sh -c "[ -s '$out' ] && ! cmp -s '$out' '$work/vt.jsonl'"
for task in niah_single_1 niah_multikey_3 niah_multiquery vt; do
    "$QKSCOPE" cases needle --ruler $task -n 5000,9000 -c 3
done >"$work/all.jsonl"
check "the digest of every machine" test "$(sha256sum <"$work/all.jsonl" | cut -c1-16)" = 42867f7ede9b261d
run cases needle --ruler niah_single_2 -n 4000 -d 0,1 -c 1
check "a needle at both ends" python3 -c '
import json, sys
first, last = (json.loads(line)["prompt"].split("\n") for line in open(sys.argv[1]))
sys.exit(not (first[1].startswith("One of the special") and last[1].endswith(".") and last[1][-60:].count("special magic") == 1))' "$out"
run cases needle --ruler niah_single_1 -n 600 -c 2 -t "$pre"
check "lengths in tokens, a byte each and BOS, with those that are generated" python3 -c '
import json, sys
sizes = [len(json.loads(line)["prompt"]) + 1 + 128 for line in open(sys.argv[1])]
sys.exit(not all(600 - 90 < size <= 600 for size in sizes))' "$out"
make million needle --ruler niah_multikey_3 -n 1048576 -c 1
check "a million" sh -c "[ $code -eq 0 ] && [ \$(wc -c <'$work/million.jsonl') -gt 1048200 ]"
run eval "$pre" -c "$work/vt.jsonl" -n 1 --no-cache
check "their cases can be asked" sh -c "[ $code -eq 0 ] && grep -q 'vt@8000' '$out'"

# --- arithmetic ---
make problems arithmetic -c 300
check "arithmetic is right, of 3 to 5 steps, its answer not in the prompt" \
    holds arithmetic "$work/problems.jsonl" 300 3 5
run cases arithmetic --steps 12 -c 5
cp "$out" "$work/long.jsonl"
check "12 steps" holds arithmetic "$work/long.jsonl" 5 12 12

# --- refused ---
run cases needle -c 1 -o "$work/default.jsonl"
check "an existing file" complains 2 'default.jsonl: exists: not replaced without --force'
run cases arithmetic -c 1 -o "$work/long.jsonl" --force
check "  is replaced with --force" test "$(wc -l <"$work/long.jsonl")" -eq 1
cp -r "$pre" "$work/model" && chmod u+w "$work/model"
run cases needle -t "$work/model" -c 1 -o "$work/model/cases.jsonl"
check "nothing is written into a checkpoint" complains 2 'refused: it is in'
run cases needle -o "$work/none/cases.jsonl"
check "a folder that is not there" complains 4 'none: cannot'
run cases needle -n 100
check "too short" complains 2 'length 100 is too short: needles and question alone have 141 bytes'
run cases needle --digits 1 --distractors 30
check "too few values" complains 2 'values are too short for so many needles (found 31 of 1 digits)'
seq 0 9 | tr '\n' '.' >"$work/digits.txt"
run cases needle --digits 1 -n 600 --haystack "$work/digits.txt"
check "no value that stands nowhere else" complains 2 'every value that was tried is elsewhere in the text, too'
printf '\377' >"$work/broken.txt"
run cases needle --haystack "$work/broken.txt"
check "a text that is not UTF-8" complains 3 'broken.txt: not UTF-8'
run cases needle -t "$work"
check "no tokenizer" complains 3 'tokenizer.json: no such file'
for list in '' , 5, 1,x -1 0 1,1 1e3 1048577; do
    run cases needle --length="$list"
    check "--length '$list'" complains 2 '--length: '
done
for list in x 0.1,1.1 -0.5 0.5,0.5 102 0.5, 1.2.3; do
    run cases needle --depths="$list"
    check "--depths '$list'" complains 2 '--depths: '
done
for range in 0 5-3 3- a 1-65 3-5x; do
    run cases arithmetic --steps="$range"
    check "--steps '$range'" complains 2 "--steps: not a range (found '$range'"
done
run cases arithmetic --length 5
check "--length with arithmetic" complains 2 '--length: goes with needle'
run cases needle --steps 5
check "--steps with needle" complains 2 '--steps: goes with arithmetic'
run cases needle --ruler niah_multivalue -d 0.5
check "--depths of several answers" complains 2 '--depths: this task of --ruler has several answers'
run cases needle --ruler vt --haystack "$work/own.txt"
check "--haystack of a task that has its own" complains 2 '--haystack: this task of --ruler has a haystack of its own'
run cases needle --ruler niah_single_2 --haystack noise
check "--haystack noise" complains 2 'noise is that of --ruler niah_single_1'
run cases needle --ruler vt --digits 3
check "--digits" complains 2 '--ruler and --digits cannot be given together'
run cases needle --ruler vt -n 1000
check "too short for it" complains 2 'length 1000 is too short: without a haystack vt has [0-9]* bytes'
run cases hay
check "another kind" complains 2 "unknown word (found 'hay', expected needle|arithmetic)"
run cases
check "no kind" complains 2 '(found 0, expected needle|arithmetic)'
run cases needle --value roman
check "--value roman" complains 2 "(found 'roman', expected digits|hex|words)"
check "the inputs are unchanged" test "$before" = "$(sums "$QK_DEMO_DATA")"
done_testing
