#!/bin/sh
# test_engine.sh - cases and tasks answered by a command: results equal to the built-in ones, in every format; what is
# written and removed; time limits, failures, interruptions and kills.
. "$srcdir/tests/cli/common.sh"
export QKSCOPE RUNS="$work/runs" CASES="$work/cases" KNOWN="$work/known"
place="$work/it's a \$place \"here\""
mkdir "$CASES" "$KNOWN" "$place"
copy "$pre" "$post" "$place"
cd "$place" || exit 1
sed -n '1,4p; 7p; 12,13p' "$QK_DEMO_DATA/cases/recall.jsonl" >"$CASES/recall.jsonl"
head -n 5 "$QK_DEMO_DATA/cases/reasoning.jsonl" >"$CASES/reasoning.jsonl"
before=$(sums .)
# stand KIND - the command of a stand-in.
stand() {
    echo "python3 '$tools/stand_in.py' $1 {model} {out} {tasks}"
}
runs() {
    [ ! -e "$RUNS" ] || wc -l <"$RUNS"
}
left() {
    find "$place" "$work/scratch" -name '.*.qkscope-*' 2>/dev/null
}
# gone - nothing that a stand-in started still runs, and nothing is left. A zombie does not run.
gone() {
    [ -z "$(left)" ] && python3 -c '
import glob, sys
groups = {line.split()[0] for line in open(sys.argv[1])}
for path in glob.glob("/proc/[0-9]*/stat"):
    try:
        with open(path) as file:
            state, _, group = file.read().rpartition(")")[2].split()[:3]
    except OSError:
        continue
    if group in groups and state != "Z":
        sys.exit(path)' "$RUNS"
}
json_holds() {
    python3 -c '
import json, sys
d = json.load(open(sys.argv[1]))
R = {r["name"]: {t["task"]: (t["right"], t["total"]) for t in r["tasks"]} for r in d["results"]}
sys.exit(not eval(sys.argv[2]))' "$out" "$1"
}
set -- pre post --baselines --set 7=restore --as all --set all=restore --json

# --- results ---
run eval "$@" -c "$CASES/recall.jsonl" -c "$CASES/reasoning.jsonl"
check "the built-in engine" ended 0
cp "$out" "$work/built-in.json"
run eval "$@" -c "$CASES/recall.jsonl" -c "$CASES/reasoning.jsonl" --engine "$(stand own)"
check "a command that answers cases gives the same" cmp "$out" "$work/built-in.json"
check "  it runs once for each model" test "$(runs)" -eq 4
check "  what is written is said, and only of selections" sh -c "[ \$(grep -c 'MB written for the engine (1 of 1 shards changed)' '$err') -eq 2 ] && [ \$(wc -l <'$err') -eq 2 ]"
check "  and removed" test -z "$(left)"
run eval "$@" -c "$CASES/recall.jsonl" -c "$CASES/reasoning.jsonl" --engine "$(stand own)"
check "again, from kept answers" cmp "$out" "$work/built-in.json"
check "  nothing runs" test "$(runs)" -eq 4
sed -n '1,9p' "$QK_DEMO_DATA/cases/recall.jsonl" >"$work/more.jsonl"
run eval pre post --set 7=restore -c "$work/more.jsonl" --engine "$(stand own)" --json
check "more cases: only the new ones are asked" json_holds "R['current']['recall-words@512'][1] == 9"
check "  in one run" test "$(runs)" -eq 5
run eval pre post --set 7=restore --json -c "$CASES/recall.jsonl" -c "$CASES/reasoning.jsonl" --engine "$(stand texts)"
check "a command that gives the texts that a model wrote" json_holds \
    "R == {r['name']: {t['task']: (t['right'], t['total']) for t in r['tasks']} for r in json.load(open('$work/built-in.json'))['results'][2:3]}"
for kind in own harness ruler; do
    : >"$RUNS"
    run eval pre post --set 7=restore --json --tasks recall,reasoning --engine "$(stand $kind) >&2"
    lengths="([''] if '$kind' != 'ruler' else ['@512', '@1024'])"
    check "tasks of the command's own, results of $kind" json_holds \
        "R == {'current': {t['task'] + l: (t['right'], t['total']) for t in json.load(open('$work/built-in.json'))['results'][2]['tasks'] for l in $lengths}}"
    cp "$out" "$work/tasks.json"
    run eval pre post --set 7=restore --json --tasks recall,reasoning --engine "$(stand $kind) >&2"
    check "  kept" sh -c "cmp '$out' '$work/tasks.json' && [ \$(wc -l <'$RUNS') -eq 1 ]"
done
run eval pre post --set 7=restore --json --tasks recall,reasoning --engine "$(stand harness)" --metric f1,none
check "another metric" json_holds "all(s == {'recall-words@512': (4, 7), 'arithmetic-cot': (3, 5)} for s in R.values())"
run eval post --tasks recall --engine "$(stand harness)"
check "one checkpoint alone, as a table" grep -q '^post *57.1 %' "$out"
# A summary that RULER itself wrote (NVIDIA/RULER, results/mistral-7b-instruct-v0.2).
cat >"$work/summary.csv" <<'END'
0,1,2,3,4,5,6,7,8,9,10,11,12,13
Tasks,niah_single_1,niah_single_2,niah_single_3,niah_multikey_1,niah_multikey_2,niah_multikey_3,niah_multivalue,niah_multiquery,vt,cwe,fwe,qa_1,qa_2
Score,100.0,99.6,96.8,97.2,99.8,95.8,98.3,99.4,99.4,99.14,85.6,84.0,58.4
Nulls,0/500,0/500,0/500,0/500,0/500,0/500,0/500,0/500,0/500,0/500,0/500,0/500,0/500
END
run eval post --tasks x --engine ": {model} {tasks}; cp '$work/summary.csv' {out}/summary.csv" --json
check "a summary of RULER's" json_holds \
    "len(R['post']) == 13 and R['post']['niah_single_2'] == (498, 500) and R['post']['qa_2'] == (292, 500)"
# RULER's tasks in lm-evaluation-harness: a metric for each length, -1 where there are no samples.
cat >"$work/lengths.json" <<'END'
{"results": {"niah_single_1": {"alias": "niah_single_1", "4096,none": 0.75, "4096_stderr,none": "N/A",
  "8192,none": 0.25, "8192_stderr,none": "N/A", "16384,none": -1, "16384_stderr,none": "N/A"}},
 "n-samples": {"niah_single_1": {"original": 8, "effective": 8}}}
END
run eval post --tasks x --engine ": {model} {tasks}; cp '$work/lengths.json' {out}" --json
check "lengths of the harness" json_holds "R['post'] == {'niah_single_1@4096': (3, 4), 'niah_single_1@8192': (1, 4)}"

run eval post --tasks "it's \$HOME \`x\`\\\"" --engine "printf '%s|' {model}a \"{model}b\" '{model}'c {tasks} \"{tasks}\" '{tasks}' \"\$HOME\" >'$work/seen'; exit 1; : {out}"
check "paths and words with quotes, in quotes of each kind" python3 -c '
import sys
place, home, tasks = sys.argv[2] + "/post", sys.argv[3], sys.argv[4]
wanted = [place + "a", place + "b", place + "c", tasks, tasks, tasks, home, ""]
sys.exit(open(sys.argv[1]).read().split("|") != wanted)' "$work/seen" "$place" "$HOME" "it's \$HOME \`x\`\\\""

# --- a search ---
"$QKSCOPE" cases needle --length 160 --depths 6 --count 1 -o "$CASES/short.jsonl"
head -n 4 "$CASES/reasoning.jsonl" >"$CASES/four.jsonl"
set -- pre post --max-evals 6 --confirm 0 --json
run search "$@" -c "$CASES/short.jsonl" -c "$CASES/four.jsonl"
cp "$out" "$work/search.json"
# as_built_in - the selections that both searches asked every case have equal figures.
as_built_in() {
    [ "$code" -eq 0 ] && python3 -c '
import json, sys
a, b = ({t["set"]: list(t["objectives"].values()) for t in json.load(open(p))["trials"] if t["cases"] == 10}
        for p in sys.argv[1:])
both = set(a) & set(b)
sys.exit(len(both) < 3 or any(a[s] != b[s] for s in both))' "$out" "$work/search.json"
}
run search "$@" -c "$CASES/short.jsonl" -c "$CASES/four.jsonl" --engine "$(stand own)"
check "a search whose cases a command answers" as_built_in
check "  says what was written in all" grep -q '^qkscope: [0-9]* checkpoints written for the engine, [0-9.]* MB in all, and removed$' "$err"
run search "$@" --tasks short,four --engine "$(stand harness)"
check "a search on tasks of the command's own" as_built_in
check "  they are its objectives, and every trial is asked all of them" python3 -c '
import json, sys
trials = json.load(open(sys.argv[1]))["trials"]
sys.exit(any(list(t["objectives"]) != ["needle-prose-digits@160", "arithmetic-cot"] or t["cases"] != 10 for t in trials))' "$out"
cp "$out" "$work/tasks.json"
: >"$RUNS"
run search "$@" --tasks short,four --engine "$(stand harness)"
check "  again, from kept results" sh -c "cmp '$out' '$work/tasks.json' && [ ! -s '$RUNS' ]"
run search pre post --tasks short --engine "$(stand own)" --confirm 20
check "  whose samples cannot be held out" complains 2 'no case can be held out (found 20, expected 0)'

# --- the checkpoint ---
python3 "$tools/make_pair.py" "$work/pair" 4000000 4
mkdir "$work/scratch"
see="ls -i {model} >'$work/seen'; find {model} -type l >>'$work/seen'; cp '$work/summary.csv' {out}; : {tasks}"
run eval "$work/pair/pre" "$work/pair/post" --set 0=restore --tasks x --engine "$see"
check "shards that do not change are hard links" sh -c \
    "[ $code -eq 0 ] && ls -i '$work/pair/post' | grep -F -x -f '$work/seen' | wc -l | grep -qx '[23]'"
check "  that is said" grep -q 'written for the engine ([12] of 4 shards changed, [23] hard-linked)' "$err"
if other=$(mktemp -d /dev/shm/qkscope.XXXXXX 2>/dev/null) && ! ln "$work/pair/post/config.json" "$other/link" 2>/dev/null; then
    run eval "$work/pair/pre" "$work/pair/post" --set 1=restore --tasks x --engine "$see" --scratch "$other"
    check "in memory: symbolic links" sh -c "[ $code -eq 0 ] && grep -q '^$other/\.post\.qkscope-[0-9]*-0/model/' '$work/seen' && grep -q ' by a symbolic link)' '$err'"
    check "  and nothing is left" test -z "$(ls -A "$other")"
else
    skip "in memory: symbolic links" "no other file system to write to"
    skip "  and nothing is left" "no other file system to write to"
fi
[ -z "$other" ] || rm -rf "$other"
run eval pre post --set 7=restore -c "$CASES/recall.jsonl" --engine "$(stand own)" --scratch "$work/none" --no-cache
check "a folder that is not there" complains 4 'none: cannot open the folder to write in'

make_without_pass "$work/bare"
run eval "$work/bare/pre" "$work/bare/post" --set all=restore --tasks x --engine "$see" --csv
check "a family without a forward pass" sh -c "[ $code -eq 0 ] && grep -q '\"current\",\"qa_2\",292,500,' '$out'"
run eval "$work/bare/pre" "$work/bare/post" pre --tasks x --engine "$see" --csv
check "three checkpoints" sh -c "[ $code -eq 0 ] && [ \$(grep -c '\"qa_2\",292,500,' '$out') -eq 3 ]"

# --- failures ---
: >"$RUNS"
run eval pre post --set 7=restore --tasks recall --engine "$(stand own+fails)"
check "a command that fails" sh -c "[ $code -eq 4 ] && [ ! -s '$out' ] && tail -n 1 '$err' | grep -qx 'qkscope: --engine: the command ended with status 7'"
check "  is told with its last lines" sh -c "grep -q '^qkscope:   CUDA out of memory' '$err' && grep -q '^qkscope:   loaded 3 of 4$' '$err'"
check "  and nothing is left" gone
run eval pre post --tasks recall --engine "exit 5; : {model} {out} {tasks}"
check "one that writes nothing" complains 4 '--engine: the command ended with status 5, and it wrote nothing$'
run eval pre post --tasks recall --engine "kill -s SEGV \$\$; : {model} {out} {tasks}"
check "one that a signal ends" complains 4 'the command was ended by signal 11'
run eval pre post --set 7=restore --tasks recall --timeout 1 \
    --engine "echo \$\$ >'$RUNS'; echo waiting; sleep 600; : {model} {out} {tasks}"
check "one that hangs" sh -c "[ $code -eq 4 ] && grep -q -e '--engine: the command did not end within 1 s (--timeout)' '$err' && grep -q '^qkscope:   waiting$' '$err'"
check "  is ended" gone
run eval pre post --set 7=restore --tasks recall --timeout 1 \
    --engine "trap '' TERM; echo \$\$ >'$RUNS'; sleep 600 & sleep 600; sleep 600; : {model} {out} {tasks}"
check "one that ignores that" grep -q 'did not end within 1 s' "$err"
check "  is ended, too" gone
run eval post --tasks recall --engine "$(stand own+nothing)"
check "no results" complains 3 'no results (expected a results JSON of lm-evaluation-harness'
run eval pre post --baselines --tasks recall --engine "case {model} in */pre) $(stand own);; *) $(stand own+other);; esac"
check "other tasks than before" sh -c "[ $code -eq 3 ] && grep -q 'another number of tasks than before (found 2, expected 1)' '$err'"
run eval post --tasks recall --engine "$(stand own); cp {out}/results.json {out}/again.json"
check "a task twice" complains 3 'task recall-words@512 has other results already'
run eval post --tasks recall --engine "$(stand harness+metric)" --metric f1
check "a metric that is no share" complains 3 'f1,none is no share of right answers (found 33.3'
run eval post --tasks recall --engine "$(stand harness)" --metric bleu
check "a metric that is not there" complains 3 'task recall-words@512 has no metric bleu'
run eval post -c "$work/more.jsonl" --engine "$(stand own+few)"
check "an answer too few" complains 3 'another number of answers (found 8, expected 9)'
run eval post -c "$work/more.jsonl" --engine "$(stand own+numbers)"
check "an answer that is none" complains 3 'an answer is neither 1, 0, true, false nor a text'
run eval post -c "$work/more.jsonl" --engine "$(stand own+whole)"
check "results without answers" complains 3 'the results have no answers by case'
check "  nothing wrong was kept" sh -c "'$QKSCOPE' eval post -c '$work/more.jsonl' --engine '$(stand own | sed "s/'/'\\\\''/g")' --csv | grep -q ',9,'"

# --- progress ---
python3 "$tools/on_terminal.py" "$QKSCOPE" eval post --tasks x --no-cache \
    --engine "echo loaded 3 of 4 shards; sleep 2; cp '$work/summary.csv' {out}; : {model} {tasks}" >"$work/printed" 2>"$work/messages"
code=$?
check "a terminal shows the last line of the command" sh -c "[ $code -eq 0 ] && grep -q 'loaded 3 of 4 shards' '$work/messages' && grep -q '^post' '$work/printed'"

# --- interruptions ---
: >"$RUNS"
python3 "$tools/interrupt.py" INT "=$RUNS" "$QKSCOPE" eval pre post --set 7=restore --tasks recall \
    --engine "$(stand own+hangs)" >"$work/printed" 2>"$work/messages"
code=$?
check "Ctrl-C ends it" ended 130
check "  with the command" gone
: >"$RUNS"
python3 "$tools/interrupt.py" KILL "=$RUNS" "$QKSCOPE" eval pre post --set 7=restore --tasks recall \
    --engine "$(stand own+hangs)" >"$work/printed" 2>"$work/messages"
code=$?
check "kill -9" ended 137
for _ in $(seq 100); do
    kill -0 "$(cut -d' ' -f1 "$RUNS")" 2>/dev/null || break
    sleep 0.05
done
check "  ends the command" sh -c "! kill -0 $(cut -d' ' -f1 "$RUNS") 2>/dev/null"
run clean "$place"
check "  and what it leaves is found by clean" sh -c "[ $code -eq 0 ] && grep -q '  folder  \.post\.qkscope-' '$out' && [ \$(find \"\$1\" -name '.*.qkscope-*' -prune | wc -l) -eq 1 ]" sh "$place"
run eval pre post --set 7=restore --tasks recall --engine "$(stand own)"
check "  the next run removes it" sh -c "[ $code -eq 0 ] && [ -z '$(left)' ]"

# --- options ---
run eval post --tasks recall --engine "lm_eval --output_path {out} --tasks {tasks}"
check "a command without {model}" complains 2 '--engine: the command has no {model}'
run eval post --tasks recall --engine "run {model} {tasks}"
check "  {out}" complains 2 'the command has no {out}'
run eval post --tasks recall --engine "run {model} {out}"
check "  {tasks}" complains 2 'the command has no {tasks}'
run eval post --tasks recall
check "--tasks without a command" complains 2 '--tasks: goes with --engine'
run eval post --tasks recall -c x --engine 'x {model} {out} {tasks}'
check "--tasks with --cases" complains 2 'cases'
run eval post --tasks recall -n 3 --engine 'x {model} {out} {tasks}'
check "--tasks with --limit" complains 2 'limit'
run eval post -c "$work/more.jsonl" --answers
check "--answers without --json" complains 2 '--answers: goes with --json'
check "the inputs are unchanged" test "$before" = "$(sums .)"
cd / || exit 1
done_testing
