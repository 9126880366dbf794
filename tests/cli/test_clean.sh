#!/bin/sh
# test_clean.sh - the left-overs of killed exports: found, listed and removed, except those in use or of other users.
. "$srcdir/tests/cli/common.sh"

python3 "$tools/make_holes.py" "$work/holes"
dir=$work/dir
mkdir "$dir"
# left - the names in the folder, also hidden ones.
left() {
    ls -A "$dir" | tr '\n' ' '
}
# export_to NAME - of a pair that takes seconds.
export_to() {
    exec "$QKSCOPE" export "$work/holes/pre" "$work/holes/post" --set all=qk-pro:0.3 -o "$dir/$1" >/dev/null 2>&1
}
# killed NAME - one that is killed as soon as it has begun.
killed() {
    python3 "$tools/interrupt.py" KILL "$dir/$1" "$QKSCOPE" export "$work/holes/pre" "$work/holes/post" \
        --set all=qk-pro:0.3 -o "$dir/$1" >/dev/null 2>&1
    [ $? -eq 137 ]
}

run clean "$dir"
check "an empty folder" says "^$dir: no left-overs of killed exports or writes$"
check "a killed export" killed one
check "  and another" killed two
check "  leave two folders" test "$(left | wc -w)" -eq 2
find "$dir" -path '*/.two.*' -exec touch -d '3 hours ago' {} +
touch "$dir/.mine" "$dir/.two.qkscope-1" "$dir/.two.qkscope-1-x" "$dir/two"
before=$(left)
run clean "$dir"
check "clean lists the folders" says '^ *[0-9.]* k*B  *[0-9]* \(s\|minutes\)  folder  \.one\.qkscope-[0-9]*-0$'
check "  and their age" grep -q '  3 hours  folder  \.two\.qkscope-' "$out"
check "  and how many" grep -q "^$dir: 2 left-overs, .*; --remove removes them$" "$out"
check "  and removes nothing" test "$before" = "$(left)"

run export "$pre" "$post" --set 7=restore -o "$dir/one"
check "an export says that another name's are there" sh -c "[ $code -eq 0 ] && [ \$(wc -l <'$err') -eq 1 ] && grep -q \
    \"^qkscope: $dir: 1 left-over of killed exports or writes, .*: see 'qkscope clean $dir'\$\" '$err'"
check "  and removes its own name's alone" test "$(left)" = "$(echo "$before" | sed 's/\.one[^ ]* //; s/two $/one two /')"

in_midst() {
    [ -n "$(find "$dir" -name '.three*')" ]
}
until in_midst; do # that of one that ended before it could be stopped is another's turn
    export_to three &
    child=$!
    until in_midst || ! kill -0 $child 2>/dev/null; do sleep 0.01; done
    kill -STOP $child 2>/dev/null
    in_midst || { kill -CONT $child; wait $child; rm -rf "$dir/three"; } 2>/dev/null
done
run clean --remove "$dir"
check "--remove removes" says "^$dir: 1 left-over, .*, removed$"
check "  but nothing that is in use" grep -q '^1 more stays: in use' "$out"
check "  and nothing of other names" test "$(left | sed 's/\.three\.qkscope-[0-9]*-0/THREE/')" = \
    '.mine THREE .two.qkscope-1 .two.qkscope-1-x one two '
kill -TERM $child
kill -CONT $child
wait $child
check "  which goes on, and cleans up itself" sh -c "[ $? -eq 130 ] && [ -z \"\$(find '$dir' -name '.three*')\" ]"
run verify "$dir/one"
check "the export beside is whole" ended 0

# Who clears all the time takes nothing from those who write: not what they have made and not locked yet, either.
while [ ! -e "$work/enough" ]; do "$QKSCOPE" clean --remove "$dir" >>"$work/cleared" 2>&1; done &
cleaner=$!
failures=0
for i in 1 2 3 4 5 6; do
    "$QKSCOPE" export "$pre" "$post" --set 7=restore -o "$dir/one" --force >>"$work/written" 2>&1 || failures=$((failures + 1))
    "$QKSCOPE" plan "$pre" "$post" --set 7=restore -o "$dir/r.json" >>"$work/written" 2>&1 || failures=$((failures + 1))
done
touch "$work/enough"
wait $cleaner
check "exports and writes beside one that clears all the time" test $failures -eq 0
run verify "$dir/one"
check "  are whole" ended 0

# Where names cannot be exchanged the old folder stands aside for a moment; a kill just then must not cost it.
before=$(sums "$dir/one" | sed 's/ .*//')
mv "$dir/one" "$dir/.one.qkscope-replaced"
run clean --remove "$dir"
check "a folder that stood aside is no left-over" test -d "$dir/.one.qkscope-replaced"
run export "$pre" "$post" --set full=restore -o "$dir/one"
check "  a refused export names it" \
    complains 2 'one: exists as .*\.one\.qkscope-replaced, where an interrupted export left it'
check "  and leaves it there, as it was" \
    sh -c "[ ! -e '$dir/one' ] && [ '$before' = \"\$1\" ]" - "$(sums "$dir/.one.qkscope-replaced" | sed 's/ .*//')"
run export "$pre" "$post" --set full=restore -o "$dir/one" --force
check "  a forced export replaces it" sh -c "[ $code -eq 0 ] && [ ! -e '$dir/.one.qkscope-replaced' ]"
run verify "$dir/one"
check "  and is whole" ended 0
cp -r "$dir/one" "$dir/.one.qkscope-replaced"
run export "$pre" "$post" --set full=restore -o "$dir/one" --force
check "  or takes it away where the new one had the name" sh -c "[ $code -eq 0 ] && [ ! -e '$dir/.one.qkscope-replaced' ]"

export XDG_CACHE_HOME="$work/cache"
mkdir -p "$work/cache/qkscope"
echo half >"$work/cache/qkscope/.0.states.safetensors.qkscope-1-0"
run doctor
check "doctor reports left-overs in the cache" grep -q "1 left-over of killed writes, .*: qkscope clean $work/cache/qkscope$" "$out"
run clean --remove "$work/cache/qkscope"
check "  which clean removes" test -z "$(ls -A "$work/cache/qkscope")"

run clean "$work/none"
check "no such folder" complains 4 'none: cannot open'
done_testing
