#!/bin/bash
# test_kill.sh - kill -9 at random moments of an export of a 1 GB pair: there is never a part of a folder under the
# final name, the inputs never change, and the next export clears what was left.
set -u
kills=${QK_TEST_KILLS:-50} bytes=1000000000
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
pair=$work/pair out=$work/out
echo 1..4

sums() {
    find "$pair" -type f -exec sha256sum {} + | sort
}
# Takes the shell's place, so that its process is the program's: call it in a shell of its own.
export_pair() {
    exec "$QKSCOPE" export "$pair/pre" "$pair/post" --set all=qk-pro:0.3 -o "$out" >"$work/log" 2>&1
}
result() {
    [ "$1" = 0 ] && echo "ok $2 - $3" || { echo "not ok $2 - $3"; sed 's/^/# /' "$work/log"; }
}

python3 "$srcdir/tests/cli/make_pair.py" "$pair" $bytes
before=$(sums)
for try in 1 2; do # the first fills the cache; the second tells how long the others take
    rm -rf "$out"
    start=$(date +%s%N)
    (export_pair)
    status=$?
    length=$(($(date +%s%N) - start))
done
result $status 1 "an export that is left alone ends"
rm -rf "$out"

RANDOM=7 bad=0 whole=0 hits=0 left=0
for ((i = 0; hits < kills && i < 5 * kills; i++)); do
    export_pair &
    child=$!
    moment=$((length / 32768 * RANDOM))
    sleep "$(printf '%d.%09d' $((moment / 1000000000)) $((moment % 1000000000)))"
    kill -9 $child 2>/dev/null
    wait $child 2>/dev/null
    [ $? = 137 ] && hits=$((hits + 1)) # else it had ended before
    [ -z "$(find "$work" -maxdepth 1 -name '.out*')" ] || left=$((left + 1))
    if [ -e "$out" ]; then
        whole=$((whole + 1))
        "$QKSCOPE" verify "$out" >>"$work/log" 2>&1 || bad=$((bad + 1))
        rm -rf "$out"
    fi
done
[ $bad = 0 ] && [ $hits = "$kills" ] && [ $left -gt 0 ]
result $? 2 "$hits kills: never a part of a folder ($left times one was left under a hidden name, $whole exports ended)"

(export_pair)
left=$(find "$work" -maxdepth 1 -name '.out*' | wc -l)
"$QKSCOPE" verify "$out" >>"$work/log" 2>&1 && [ "$left" = 0 ]
result $? 3 "the next export ends, and nothing is left beside it"
[ "$before" = "$(sums)" ]
result $? 4 "the inputs are unchanged"
