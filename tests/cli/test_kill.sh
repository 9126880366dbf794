#!/bin/bash
# test_kill.sh - kill -9 at random moments of exports and of saving a recipe. The final name holds the whole old or the
# whole new output. Nothing is lost, the inputs never change, and the next run removes the left-overs.
set -u
. "$srcdir/tests/cli/common.sh"
kills=50
[ -z "${QK_TEST_BRIEF-}" ] || kills=5 # another build does the fifty
out= err=$work/log code=
pair=$work/pair single=$work/single adapter=$work/adapter
python3 "$tools/make_pair.py" "$pair" 40000000
python3 "$tools/make_pair.py" "$single" 20000000 1
"${PYTHON:-/usr/bin/python3}" "$tools/make_adapter.py" plain "$single/pre" "$adapter"
before=$(sums "$pair" "$single" "$adapter" "$pre" "$post")
# What a write would change of the inputs, without reading them again.
stamps() {
    find "$pair" "$single" "$adapter" "$pre/" "$post/" -printf '%p %i %s %T@ %C@\n'
}
stamped=$(stamps)

# make KIND RESULT - writes that output under the name. It takes the shell's place, so that its process is the
# program's: call it in a shell of its own.
make() {
    case $1 in
    new) set -- "$2" "$pair/pre" "$pair/post" --set all=qk-pro:0.3 ;;
    other) set -- "$2" "$pair/pre" "$pair/post" --set all=restore --force ;;
    over) set -- "$2" "$pair/pre" "$pair/post" --set all=qk-pro:0.3 --force ;;
    adapter) set -- "$2" "$single/pre" "$adapter" --set 0=restore ;;
    file) set -- "$2" "$single/pre/model.safetensors" "$single/post/model.safetensors" --set all=lerp:0.5 ;;
    recipe) exec "$QKSCOPE" plan "$pre" "$post" --set full=restore --comment new -o "$2" >>"$work/log" 2>&1 ;;
    esac
    exec "$QKSCOPE" export "${@:2}" -o "$1" >>"$work/log" 2>&1
}
left_overs() {
    find "$work" -maxdepth 1 -name '.target.qkscope-*' | wc -l
}

# killed KIND KILLS - so many kills; $hits is how many there were, $left after how many a left-over lay there, $ended in
# how many runs the new one had its name, $bad how often something was neither old nor new, or an input touched.
# References: $work/KIND.new, and $work/KIND.old where there is something to be replaced, which must never be missing.
killed() {
    local kind=$1 wanted=$2 target=$work/target old=$work/$1.old new=$work/$1.new start length moment child command=$1
    hits=0 left=0 ended=0 bad=0
    rm -rf "$target"
    [ ! -e "$old" ] || cp -r "$old" "$target"
    for ((i = 0; hits < wanted && i < 100 * wanted; i++)); do
        [ $((i % 20)) != 0 ] || { # now and then, how long it takes at the moment
            rm -rf "$work/measured"
            start=$(date +%s%N)
            (make "$kind" "$work/measured")
            length=$(($(date +%s%N) - start))
        }
        make "$command" "$target" &
        child=$!
        moment=$((length / 32768 * RANDOM))
        if [ "$kind" != recipe ] && [ $left = 0 ]; then # one is in the midst for certain, whatever chance does
            moment=$length
            while [ "$(left_overs)" = 0 ] && kill -0 $child 2>/dev/null; do :; done
        else
            sleep "$(printf '%d.%09d' $((moment / 1000000000)) $((moment % 1000000000)))"
        fi
        kill -9 $child 2>/dev/null
        wait $child 2>/dev/null
        if [ $? = 137 ]; then
            hits=$((hits + 1))
        else
            length=$moment # it had ended before: the machine is faster than it was
        fi
        [ "$(left_overs)" = 0 ] || left=$((left + 1))
        [ "$stamped" = "$(stamps)" ] || bad=$((bad + 1))
        if [ ! -e "$target" ] && [ ! -e "$old" ]; then
            continue
        elif diff -rq "$target" "$new" >>"$work/log" 2>&1; then
            ended=$((ended + 1))
            [ -e "$old" ] || rm -rf "$target"
        elif [ ! -e "$old" ] || ! diff -rq "$target" "$old" >>"$work/log" 2>&1; then
            bad=$((bad + 1))
        fi
        # what stands there is replaced by the other one
        [ "$kind" != over ] || command=$(diff -rq "$target" "$new" >/dev/null && echo other || echo over)
    done
}

# kinds of runs, and their shares of the kills
RANDOM=7
for kind in new:20 over:15 adapter:5 file:5 recipe:5; do
    share=$((kills * ${kind#*:} / 50)) kind=${kind%:*}
    [ $share -gt 0 ] || share=1
    (make "$kind" "$work/$kind.new")
    code=$?
    check "$kind: left alone it ends" [ $code = 0 ]
    case $kind in
    recipe) "$QKSCOPE" plan "$pre" "$post" --set all=restore --comment old -o "$work/$kind.old" >>"$work/log" 2>&1 ;;
    over) (make other "$work/$kind.old") ;&
    *) check "  whole" "$QKSCOPE" verify "$work/$kind.new" ;;
    esac
    killed "$kind" $share
    check "  $hits kills: what has the name is whole ($left times something was left, after $ended runs it was the new one)" \
        [ "$bad $hits" = "0 $share" ]
    [ "$kind" = recipe ] || check "  some were in the midst" [ $left -gt 0 ]
    (make "$kind" "$work/target")
    check "  the next one ends, and is the new one" diff -rq "$work/target" "$work/$kind.new"
    check "  and nothing is left beside it" [ "$(left_overs)" = 0 ]
done
check "the inputs are unchanged" [ "$before" = "$(sums "$pair" "$single" "$adapter" "$pre" "$post")" ]
done_testing
