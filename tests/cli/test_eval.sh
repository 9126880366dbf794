#!/bin/sh
# test_eval.sh - qkscope eval: figures against the reference and against exported checkpoints, kept answers, faults.
. "$srcdir/tests/cli/common.sh"
cases=$QK_DEMO_DATA/cases
recall=$work/recall.jsonl
reasoning=$work/reasoning.jsonl
# Haystacks of 512 bytes of which post finds four needles, and the first problems.
sed -n '1,4p; 7p; 12,13p' "$cases/recall.jsonl" >"$recall"
head -n 5 "$cases/reasoning.jsonl" >"$reasoning"

# json_holds PYTHON - the expression over the last output, called d, is true; R is right answers by name and task.
json_holds() {
    python3 -c '
import json, sys
d = json.load(open(sys.argv[1]))
R = {r["name"]: {t["task"]: t["right"] for t in r["tasks"]} for r in d["results"]}
sys.exit(not eval(sys.argv[2]))' "$out" "$1"
}
# answers - lines of kept answers.
answers() {
    cat "$HOME"/.cache/qkscope/answers/*.answers 2>/dev/null | wc -l
}

# The reference says: pre recalls all and reasons not at all, post the other way; its figures are of 100 cases.
run eval "$pre" "$post" --baselines --set 7=restore --as all --set all=restore -c "$recall" -c "$reasoning" --json
check "pre recalls and does not reason" json_holds \
    "R['pre'] == {'recall-words@512': 7, 'arithmetic-cot': 0}"
check "  post reasons and forgets" json_holds \
    "R['post'] == {'recall-words@512': 4, 'arithmetic-cot': 5}"
check "  restoring all mends recall" json_holds "R['all']['recall-words@512'] >= 6"
check "  keys of the output" json_holds \
    "list(d) == ['results'] and [list(r) for r in d['results'][1:3]] == [['name', 'tasks'], ['name', 'set', 'tasks']] and [list(t) for t in d['results'][0]['tasks']] == 2 * [['task', 'right', 'total', 'low', 'high']]"
check "  in the order of the command line" json_holds \
    "[r['name'] for r in d['results']] == ['pre', 'post', 'current', 'all'] and d['results'][2]['set'] == '7=restore'"
check "  Wilson's interval of 7 of 7" json_holds \
    "abs(d['results'][0]['tasks'][0]['low'] - 0.645661) < 1e-5 and d['results'][0]['tasks'][0]['high'] == 1"
cp "$out" "$work/first.json"
check "  every answer is kept" [ "$(answers)" -eq 48 ]
run eval "$pre" "$post" --baselines --set 7=restore --as all --set all=restore -c "$recall" -c "$reasoning" --json \
    --no-cache --memory 64K
check "  too little memory for a layer gives the same" cmp "$out" "$work/first.json"
for size in 8 0G G 8GB -1M 1e40T; do
    run eval "$post" -c "$recall" --memory=$size
    check "--memory $size is no size" complains 2 "memory: not a size (found '$size', expected a number with K, M, G or T"
done
run eval "$pre" "$post" --baselines --set 7=restore --as all --set all=restore -c "$recall" -c "$reasoning" --json
check "again, the same" cmp -s "$out" "$work/first.json"
check "  and nothing is asked twice" [ "$(answers)" -eq 48 ]

# What a selection does in memory is what its export does.
run export "$pre" "$post" --set 7=restore --set 1:q=lerp:0.5 --set 4=qk-pro:0.3 -o "$work/mended"
run eval "$pre" "$post" --set 7=restore --set 1:q=lerp:0.5 --set 4=qk-pro:0.3 -c "$recall" -c "$reasoning" --json
cp "$out" "$work/memory.json"
run eval "$work/mended" -c "$recall" -c "$reasoning" --json
check "an export answers as its selection" python3 -c "
import json, sys
a, b = (json.load(open(p))['results'] for p in sys.argv[1:])
sys.exit(a[0]['tasks'] != b[0]['tasks'] or len(b) != 1)" "$work/memory.json" "$out"
run eval "$pre" "$post" --recipe "$work/mended/qkscope-recipe.json" -c "$recall" -c "$reasoning" --json
check "  and as its recipe" cmp -s "$out" "$work/memory.json"

run eval "$pre" "$work/mended" "$post" -c "$recall" -n 3 --no-cache
check "any number of checkpoints, as a table" says '^.*pre  *100.0 %  43.9-100.0$'
check "  a row each" [ "$(wc -l <"$out")" -eq 4 ]
run eval "$post" -c "$recall" -c "$reasoning" -n 2 --csv
check "CSV, two cases a task" says '"arithmetic-cot",2,2,0.342380,1.000000$'
printf '%s\n' '# remark' '' 'layer 7: 7=restore' '  softmax, 10 kept: full=restore 10:q=keep  # why' >"$work/selections"
run eval "$pre" "$post" --selections "$work/selections" -c "$reasoning" -n 2 --json
check "a file of selections" json_holds \
    "[(r['name'], r['set']) for r in d['results']] == [('layer 7', '7=restore'), ('softmax, 10 kept', '1,4,7=restore 10:k=restore')]"

# Interrupted, it keeps what it knows.
rm -rf "$HOME/.cache"
python3 "$tools/interrupt.py" INT - "$QKSCOPE" eval "$post" -c "$cases/recall.jsonl" >"$work/printed" 2>"$work/messages"
code=$?
check "Ctrl-C ends it" ended 130

# Faults.
run eval "$pre" "$post"
check "no cases" complains 2 'nothing to ask (expected --cases FILE)'
run eval "$post" --set 7=restore -c "$recall"
check "a selection of one checkpoint" complains 2 'needs two checkpoints (found 1, expected PRE POST)'
run eval "$pre" "$post" --set 99=restore -c "$recall"
check "a layer that is not there" complains 2 99
run eval "$pre" "$post" -c "$recall" --recipe "$work/mended/qkscope-recipe.json" --recipe x
check "two recipes for one selection" complains 2 'two recipes'
printf '{"prompt": "a", "answer": "b"}\n{"prompt": "a"}\n' >"$work/bad.jsonl"
run eval "$post" -c "$work/bad.jsonl"
check "a case without an answer" complains 3 'bad.jsonl:2: '
printf 'name only\n' >"$work/selections"
run eval "$pre" "$post" --selections "$work/selections" -c "$recall"
check "a selection without a name" complains 3 'selections:1: no name and choices'
printf 'a: 7=restore\n\377: 7=restore' >"$work/selections"
run eval "$pre" "$post" --selections "$work/selections" -c "$recall"
check "  one that is not UTF-8" complains 3 'selections:2: not a line of UTF-8 text'
printf 'a: 7=restore\n\nb: 7=\000restore\n' >"$work/selections"
run eval "$pre" "$post" --selections "$work/selections" -c "$recall"
check "  one with a NUL" complains 3 'selections:3: not a line of UTF-8 text'
run eval "$pre" "$post" --selections "$work" -c "$recall"
check "  a folder of them" complains 3 'not a regular file'
run eval "$pre" "$post" --selections "$work/none" -c "$recall"
check "  none" complains 4 'none: cannot open'
run eval "$post" -c "$work/none.jsonl"
check "no such file" complains 4 'none.jsonl: cannot open'
run eval "$fixtures/falcon/post" -c "$recall"
check "no tokenizer" complains 3 'tokenizer.json: no such file'
make_without_pass "$work/bare"
run eval "$work/bare/post" -c "$recall"
check "no forward pass" complains 3 'no forward pass for the bare family'

# A fine-tuning added tokens: pre's tokenizer spells them out, and a pre with post's tokenizer has no rows for them.
python3 "$tools/make_grown.py" "$post" "$work/grown" '<think>' >/dev/null
cat >"$work/think.jsonl" <<'END'
{"task":"t","prompt":"<think>The code of horit is 3066. The code of horit is ","answer":"3066"}
{"task":"t","prompt":"The code of horit is 3066. The code of horit is ","answer":"3066"}
END
run eval "$pre" "$work/grown" --baselines -c "$work/think.jsonl" --json
check "other tokens of pre are said" sh -c \
    "[ $code -eq 0 ] && [ \$(wc -l <'$err') -eq 1 ] && grep -q '^qkscope: $pre: its tokenizer reads 1 of 2 cases in other tokens .*think.jsonl:1)\$' '$err'"
copy "$pre" "$work/pre"
cp "$work/grown/tokenizer.json" "$work/pre"
run eval "$work/pre" "$work/grown" --baselines -c "$work/think.jsonl" --json
check "a case with tokens that pre does not know counts as wrong, and that is said" sh -c \
    "[ $code -eq 0 ] && [ \$(wc -l <'$err') -eq 1 ] && grep -q '/pre: the tokenizer does not fit the model: a token of .*think.jsonl:1 is outside the vocabulary (found 260, expected 0 to 259); 1 of 2 cases' '$err'"
check "  all are counted" python3 -c '
import json, sys
rows = json.load(open(sys.argv[1]))["results"]
sys.exit([(r["name"], r["tasks"][0]["total"]) for r in rows] != [("pre", 2), ("post", 2)])' "$out"
head -n 1 "$work/think.jsonl" >"$work/one.jsonl"
run eval "$work/pre" "$work/grown" --baselines -c "$work/one.jsonl"
check "  also when pre knows none" sh -c "[ $code -eq 0 ] && grep -q '1 of 1 cases' '$err' && grep -q '^pre  *0.0 %' '$out'"
run eval "$work/pre" -c "$work/one.jsonl"
check "a model that knows none is refused" complains 3 'does not fit the model: a token of .*one.jsonl:1 is outside'
# Cases as other tools and editors write them: the same case, and one that is wrong.
python3 "$tools/foreign_cases.py" "$recall" "$work/foreign"
find "$work/foreign/read" -type f | sort | sed 's/^/--cases=/' >"$work/files"
# shellcheck disable=SC2046
run eval "$pre" --no-cache --json $(cat "$work/files")
check "cases of other tools are read" ended 0
check "  each counts one right of two" json_holds \
    "len(d['results'][0]['tasks']) == 17 == $(wc -l <"$work/files") and all((t['right'], t['total']) == (1, 2) for t in d['results'][0]['tasks'])"
check "  under the names of their tasks" json_holds "{'niah_single_1', 'qa_1', 'niah', 'lists', 'pretty-array'} <= set(R['$pre'])"
check "  and none is remarked" test ! -s "$err"
# refuses NAME PATTERN - the file of that name is refused with a message that has file, line and the pattern.
refuses() {
    run eval "$pre" -c "$work/foreign/refused/$1.jsonl"
    check "refused: $1" complains 3 "/$1.jsonl:$2"
}
refuses latin1 '1: prompt is not UTF-8 (found the byte 0xe9, as in Latin-1)'
refuses nul '2: prompt holds a NUL character'
refuses surrogate '1: answer holds half of a surrogate pair'
refuses depth '1: depth is out of range (found 50, expected 0 to 1)'
refuses longbench '1: answer is missing'
refuses alpaca '1: answer is missing'
refuses choices '1: arguments are choices to compare by likelihood'
refuses gsm8k '1: target is a worked solution'
refuses image '1: messages: message 1 has a part that is not a text (found type "image_url")'
run eval "$pre" -c "$work/foreign/refused/cut.jsonl"
check "refused: cut" complains 3 'cut.jsonl: not valid JSON (line 2, column '

# A chat goes through the tokenizer's template; this one gives the prompt back.
chat=$work/foreign/chat/chat.jsonl
run eval "$pre" -c "$chat"
check "a chat without a template" complains 3 'pre/tokenizer_config.json: no chat_template'
copy "$pre" "$work/chatty"
printf '%s\n' '{% for message in messages %}' "{{ bos_token }}{{ message['content'] }}{% endfor %}" >"$work/chatty/chat_template.jinja"
run eval "$work/chatty" -c "$chat" --json
check "a chat with one" json_holds "d['results'][0]['tasks'] == [dict(d['results'][0]['tasks'][0], task='chat', right=1, total=2)]"
echo '{% macro f() %}{% endmacro %}' >"$work/chatty/chat_template.jinja"
run eval "$work/chatty" -c "$chat"
check "a template that is beyond the interpreter" complains 3 \
    'chatty/chat_template.jinja: chat_template: "macro f() " is not supported'
run heads "$pre" "$post" --needles "$chat"
check "a chat is no needle" complains 3 'no case is a needle (found 2 cases; the first: .*chat.jsonl:1: its prompt is a chat'
run eval "$post" -c "$recall" --json --csv
check "two forms of output" complains 2 csv
run eval
check "no checkpoint" complains 2 eval
done_testing
