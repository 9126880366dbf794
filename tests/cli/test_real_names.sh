#!/bin/sh
# test_real_names.sh - checkpoints under the names of trainers and multimodal classes, whose drift is the reference's;
# and which output head answers.
. "$srcdir/tests/cli/common.sh"
made=$work/made
mkdir "$made"
python3 "$tools/real_names.py" "$fixtures" "$QK_DEMO_DATA" "$made" || exit 1

# a path of a pair: a fixture, or one of those made
place() {
    case $1 in
    */*) echo "$fixtures/$1" ;;
    *) echo "$made/$1" ;;
    esac
}
# agrees FAMILY - the last run said nothing and printed the drift of the family's fixture.
agrees() {
    [ ! -s "$err" ] && python3 "$tools/check_drift.py" "$fixtures/$1/drift.json" <"$out"
}
while read -r family a b; do
    run diff "$(place "$a")" "$(place "$b")" --json
    check "$a against $b" agrees "$family"
done <"$made/pairs"
run export "$fixtures/qwen3/pre" "$made/post.talker" --set all=restore -o "$work/out"
check "a restore into the thinker" ended 0
run verify "$work/out"
check "  verified" ended 0
run diff "$fixtures/qwen3/pre" "$work/out" --json
check "  which has pre's q and k then" python3 -c "
import json
layers = json.load(open('$out'))['layers']
assert len(layers) == 4 and all(layer[role]['rel_fro'] == 0 for layer in layers for role in 'qk')"
run info "$made/post.mtp"
check "info names tensors beside the layers" says 'look like q or k but belong to no layer: mtp.layers.0'
run info "$made/post.mtp-behind"
check "  and layers behind the last" says 'layers 4 to 4 lie beyond the config.s layer count'

# --- heads: the shifted head answers the next digit ---
run cases needle --length 300 --count 2 -o "$work/needles"
python3 - "$work" <<'PYTHON'
import json, sys
cases = [json.loads(line) for line in open(f"{sys.argv[1]}/needles")]
for name, step in (("same", 0), ("next", 1)):
    with open(f"{sys.argv[1]}/{name}.jsonl", "w") as file:
        for case in cases:
            digit = str((int(case["answer"][0]) + step) % 10)
            file.write(json.dumps({"prompt": case["prompt"], "answer": digit, "task": "t"}) + "\n")
PYTHON
for name in same next; do
    run eval "$QK_DEMO_DATA/pre" "$made/head-same" "$made/head-tied" "$made/head-no-flag" "$made/head-untied" \
        "$made/head-untied-no-flag" --cases "$work/$name.jsonl" --json
    cp "$out" "$work/$name.json"
    [ "$code" -eq 0 ] || cat "$err" >&2
done
# answers NAME FILE - the model answers as many cases of the file right as the demo's pre does of its own.
answers() {
    python3 - "$work" "$1" "$2" <<'PYTHON'
import json, sys
work, name, file = sys.argv[1:]
def right(file):
    results = json.load(open(f"{work}/{file}.json"))["results"]
    return {result["name"].split("/")[-1]: result["tasks"][0]["right"] for result in results}
expected = right("same")["pre"]
assert expected >= 5 and right(file)[name] == expected, (expected, right(file))
PYTHON
}
check "a copy of the embedding as the head" answers head-same same
check "another head on a tied embedding is not read" answers head-tied same
check "no head and no flag: the embedding" answers head-no-flag same
check "a head of its own" answers head-untied next
check "  also without a flag" answers head-untied-no-flag next
run eval "$made/head-missing" --cases "$work/same.jsonl"
check "a head that is missing" complains 3 'the output head lm_head.weight is missing, and tie_word_embeddings is false'
run diff "$QK_DEMO_DATA/pre" "$made/head-untied"
check "  takes part in no drift" ended 0

# --- folders with the checkpoint below ---
mkdir -p "$work/outer/default" "$work/runs/checkpoint-5" "$work/runs/checkpoint-10" "$work/runs/logs"
echo '{"peft_type":"LORA"}' >"$work/outer/default/adapter_config.json"
cp "$post/model.safetensors" "$work/runs/checkpoint-5"
cp "$post/model.safetensors" "$work/runs/checkpoint-10"
run diff "$pre" "$work/outer"
check "an adapter in a folder below" complains 3 \
    'outer: no .safetensors file and no pytorch_model.bin here (default holds an adapter: name that folder)'
run diff "$pre" "$work/runs"
check "checkpoints in folders below" complains 3 \
    'runs: no .safetensors file .*(checkpoint-10 and 1 more hold a checkpoint: name one of them)'
done_testing
