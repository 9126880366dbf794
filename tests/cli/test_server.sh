#!/bin/sh
# test_server.sh - cases answered by a server with the OpenAI API on the loopback address, which fails in every way: results
# equal to the built-in ones, no answer lost and none asked for twice, weights given to a running server.
. "$srcdir/tests/cli/common.sh"
export QKSCOPE CASES="$work/cases" KNOWN="$work/known" no_proxy=127.0.0.1 QKSCOPE_RETRIES=8
unset OPENAI_API_KEY
place="$work/it's here"
mkdir "$CASES" "$KNOWN" "$place"
copy "$pre" "$post" "$place"
sed -n '1,4p; 7p; 12,13p' "$QK_DEMO_DATA/cases/recall.jsonl" >"$CASES/recall.jsonl"
head -n 5 "$QK_DEMO_DATA/cases/reasoning.jsonl" >"$CASES/reasoning.jsonl"
cd "$place" || exit 1
before=$(sums .)
servers=
trap 'kill $servers 2>/dev/null; wait; chmod -R u+w "$work"; rm -rf "$work"' EXIT

# serve MODEL FAULT... - starts a server; its address is $url, its log $log.
serve() {
    log=$work/log
    : >"$work/port"
    : >"$log"
    python3 "$tools/completions_server.py" "$log" "$@" >"$work/port" 2>"$work/server.err" &
    server=$!
    servers="$servers $server"
    for _ in $(seq 12000); do
        [ ! -s "$work/port" ] || break
        sleep 0.05
    done
    url=http://127.0.0.1:$(cat "$work/port")
}
# stop - ends the last one.
stop() {
    kill "$server" 2>/dev/null
    wait "$server" 2>/dev/null
}
# once - every prompt of the log has one good answer; $1 of them in all.
once() {
    [ "$(grep '^200 .*completions' "$log" | cut -d' ' -f3 | sort -u | wc -l)" -eq "$1" ] &&
        [ "$(grep -c '^200 .*completions' "$log")" -eq "$1" ]
}
answers() {
    cat "$HOME"/.cache/qkscope/answers/*.answers 2>/dev/null | wc -l
}
left() {
    find "$place" -name '.*.qkscope-*'
}
set -- -c "$CASES/recall.jsonl" -c "$CASES/reasoning.jsonl" --json

# --- the same results ---
run eval pre post --baselines --set 7=restore --as all --set all=restore "$@"
cp "$out" "$work/built-in.json"
rm -rf "$HOME/.cache"
serve "$place/post"
run eval pre post --baselines --set 7=restore --as all --set all=restore "$@" --server "$url" --reload /update_weights_from_disk
check "a server that takes other weights gives the built-in results" cmp "$out" "$work/built-in.json"
check "  it takes them four times" test "$(grep -c update_weights "$log")" -eq 4
check "  each case is asked once of each model" test "$(grep -c '^200 .*completions' "$log")" -eq 48
check "  what was written is said" test "$(grep -c 'written for the engine' "$err")" -eq 2
check "  and removed" test -z "$(left)"
run eval pre post --baselines --set 7=restore --as all --set all=restore "$@" --server "$url/v1/" --reload "$url/update_weights_from_disk"
check "again, from kept answers" cmp "$out" "$work/built-in.json"
check "  nothing is asked" test "$(grep -c completions "$log")" -eq 48
stop
serve "$place/post"
run eval "$place/post" "$@" --server "$url/v1/completions" --no-cache
check "a checkpoint that it serves, without --reload" python3 -c '
import json, sys
a, b = (json.load(open(p))["results"] for p in sys.argv[1:])
sys.exit(a[0]["tasks"] != b[1]["tasks"])' "$out" "$work/built-in.json"
run eval "$place/pre" "$@" --server "$url" --no-cache
check "another model than it serves is named" complains 3 "serves another model (found .*/post, expected .*/pre; --served"
run eval pre post --set 7=restore "$@" --server "$url" --no-cache
check "a selection needs --reload" complains 2 'serves one checkpoint, and another is to be asked (expected --reload'
cat >"$work/restart" <<'END'
#!/bin/sh
# restart MODEL SERVER - gives the server a model, as a user's script would.
printf '%s\n' "$1" >>"$0.log"
exec curl -s -f -d "{\"model_path\": \"$1\"}" -H 'Content-Type: application/json' "$2/update_weights_from_disk"
END
chmod +x "$work/restart"
if command -v curl >/dev/null; then
    run eval pre post --set 7=restore "$@" --server "$url" --no-cache --reload "'$work/restart' {model} {server}"
    check "a command that gives the server its weights" python3 -c '
import json, sys
a, b = (json.load(open(p))["results"] for p in sys.argv[1:])
sys.exit(a[0] != b[2])' "$out" "$work/built-in.json"
    check "  with a path that has blanks and quotes" grep -q "it's here/.post.qkscope-[0-9]*-0/model$" "$work/restart.log"
else
    skip "a command that gives the server its weights" "no curl"
    skip "  with a path that has blanks and quotes" "no curl"
fi
run eval pre post --set 7=restore "$@" --server "$url" --no-cache --reload "echo no such GPU; exit 3; : {model}"
check "a command that fails" sh -c "[ $code -eq 4 ] && grep -qx 'qkscope: --reload: the command ended with status 3' '$err' && grep -q '^qkscope:   no such GPU$' '$err'"
stop
port=${url##*:}
cat >"$work/start" <<END
#!/bin/sh
# start MODEL - starts the server for that checkpoint, and returns when it answers.
python3 '$tools/completions_server.py' '$log' "\$1" name=mine port=$port >'$work/port2' 2>/dev/null &
echo \$! >'$work/pid'
while [ ! -s '$work/port2' ]; do sleep 0.05; done
END
chmod +x "$work/start"
run eval pre post --set 7=restore "$@" --server "$url" --served mine --no-cache --reload "'$work/start' {model}"
servers="$servers $(cat "$work/pid")"
check "a command that starts the server" python3 -c '
import json, sys
a, b = (json.load(open(p))["results"] for p in sys.argv[1:])
sys.exit(a[0] != b[2])' "$out" "$work/built-in.json"
check "  which goes on" kill -0 "$(cat "$work/pid")"
kill "$(cat "$work/pid")"
serve "$place/post" stuck=1
run eval pre post --set 7=restore "$@" --server "$url" --no-cache --reload /update_weights_from_disk
check "a server that does not take them" sh -c "[ $code -eq 4 ] && grep -q '/update_weights_from_disk: HTTP status 400: Failed to load weights' '$err'"
check "  and nothing is left" test -z "$(left)"
stop

# --- a search ---
"$QKSCOPE" cases needle --length 160 --depths 6 --count 1 -o "$CASES/short.jsonl"
head -n 4 "$CASES/reasoning.jsonl" >"$CASES/four.jsonl"
rm "$CASES/recall.jsonl" "$CASES/reasoning.jsonl"
run search pre post --max-evals 6 --confirm 0 --json -c "$CASES/short.jsonl" -c "$CASES/four.jsonl"
cp "$out" "$work/search.json"
serve "$place/post"
run search pre post --max-evals 6 --confirm 0 --json -c "$CASES/short.jsonl" -c "$CASES/four.jsonl" --server "$url" \
    --reload /update_weights_from_disk
check "a search whose cases a server answers" python3 -c '
import json, sys
a, b = ({t["set"]: t["objectives"] for t in json.load(open(p))["trials"] if t["cases"] == 10} for p in sys.argv[1:])
both = set(a) & set(b)
sys.exit(len(both) < 3 or any(a[s] != b[s] for s in both))' "$out" "$work/search.json"
check "  leaves nothing" test -z "$(left)"
stop

# --- a thousand cases ---
rm -rf "$HOME/.cache" "$CASES/short.jsonl" "$CASES/four.jsonl"
"$QKSCOPE" cases needle --length 200 --depths 10 --count 100 -o "$CASES/many.jsonl"
set -- -c "$CASES/many.jsonl" --json
expected=$(python3 -c '
import hashlib, json, sys
print(sum(hashlib.sha256(json.loads(line)["prompt"].encode()).digest()[0] & 1 for line in open(sys.argv[1])))' "$CASES/many.jsonl")
right() {
    grep -q "\"right\":	$expected," "$out" && grep -q '"total":	1000,' "$out"
}
rm -rf "$HOME/.cache"
serve "$place/post" truth=hash 429=23 500=31 cut=37 drop=41 gather=24
run eval post "$@" --server "$url" --parallel 24
check "1,000 cases, with 429, 500, half answers and cut connections" right
check "  no answer is lost, and none is asked for twice" once 1000
check "  there were faults of each kind" sh -c "grep -q '^429 ' '$log' && grep -q '^500 ' '$log' && grep -q '^0 ' '$log'"
check "  24 at once, and no more" test "$(cut -d' ' -f2 "$log" | sort -n | tail -n 1)" -eq 24
check "  all are kept" test "$(answers)" -eq 1000
stop
rm -rf "$HOME/.cache"
serve "$place/post" truth=hash die=400
QKSCOPE_RETRIES=1
run eval post "$@" --server "$url"
check "a server that dies halfway" complains 4 "/v1/completions: .*many.jsonl:[0-9]*: .*(tried 2 times)$"
kept=$(answers)
check "  every answer that came is kept" test "$kept" -ge 380 -a "$kept" -lt 500
serve "$place/post" truth=hash
run eval post "$@" --server "$url"
check "  the next one is asked the rest" right
check "  and nothing else" test "$(($(grep -c '^200 .*completions' "$log") + kept))" -eq 1000
stop
rm -rf "$HOME/.cache"
serve "$place/post" truth=hash slow=0.2
python3 "$tools/interrupt.py" INT "=$log" "$QKSCOPE" eval post "$@" --server "$url" >"$work/printed" 2>"$work/messages"
code=$?
check "Ctrl-C ends it" ended 130
check "  and says that answers are kept" grep -q 'interrupted: the answers so far are kept' "$work/messages"
head -n 20 "$CASES/many.jsonl" >"$work/few.jsonl"
set -- -c "$work/few.jsonl" --no-cache --json
run eval post "$@" --server "$url" --timeout 600
check "a slow server" ended 0
stop
serve "$place/post" truth=hash slow=5
run eval post "$@" --server "$url" --timeout 1
check "one that is too slow" complains 4 'no answer within 1 s (--timeout)'
stop

# --- refusals ---
serve "$place/post" truth=hash model=gpt-2
run eval post "$@" --server "$url"
check "another model answers" complains 3 '/v1/completions: another model answers (found gpt-2, expected .*/post)'
stop
serve "$place/post" truth=hash name=mine
run eval post "$@" --server "$url"
check "a name that is no path" sh -c "[ $code -eq 0 ] && [ ! -s '$err' ]"
run eval post "$@" --server "$url" --served mine
check "  --served has it" ended 0
run eval post "$@" --server "$url" --served yours
check "  another one" complains 3 '/v1/models: serves another model (found mine, expected yours)'
stop
serve "$place/post" truth=hash several=1
run eval post "$@" --server "$url"
check "several models" complains 2 'serves several models, .*/post first (expected --served NAME)'
stop
serve "$place/post" truth=hash key=secret
run eval post "$@" --server "$url"
check "a key is needed" complains 4 'HTTP status 401: Unauthorized'
OPENAI_API_KEY=secret run eval post "$@" --server "$url"
check "  and sent" ended 0
stop
serve "$place/post" truth=hash "refuse=The code of"
run eval post "$@" --server "$url"
check "a prompt that is too long" complains 4 "few.jsonl:[0-9]*: HTTP status 400: This model's maximum context length"
stop
serve "$place/post" truth=hash 429=2 wait=1000
run eval post "$@" --server "$url"
check "a wait that is too long" complains 4 'HTTP status 429, and the server asks to wait more than 120 s'
stop
QKSCOPE_RETRIES=0
run eval post "$@" --server "$url"
check "no server" complains 4 '/v1/models: .*[Cc]onnect'
run eval post "$@" --server ftp://127.0.0.1
check "no address" complains 2 "not an address (found 'ftp://127.0.0.1'"
run eval post "$@" --server "$url" --engine "x {model} {out} {tasks}"
check "a command and a server" complains 2 'engine'
run eval post "$@" --server "$url" --reload restart
check "--reload that is neither" complains 2 "nor a command with {model} (found 'restart')"
run eval post "$@" --served x
check "--served without a server" complains 2 '--served: goes with --server'
check "the inputs are unchanged" test "$before" = "$(sums .)"
cd / || exit 1
done_testing
