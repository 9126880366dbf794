#!/bin/sh
# test_disk.sh - full disks, files that change during a read, targets in forbidden places.
. "$srcdir/tests/cli/common.sh"
faulty=$QKSCOPE_FAULTY
mkdir "$work/pair" "$work/to"
for side in pre post; do
    mkdir "$work/pair/$side"
    cp "$fixtures/qwen2/$side/config.json" "$fixtures/qwen2/$side/model.safetensors" "$work/pair/$side"
done
chmod -R u+w "$work/pair"
pre=$work/pair/pre post=$work/pair/post
weights=$post/model.safetensors
before=$(sums "$work/pair")
set -- "$pre" "$post" --set 1=lerp:0.5

# --- full disks ---
# on_small OPTIONS ARGUMENT... - runs the program in an empty memory file system of that size or number of files at
# $work/to; what it left there is in $work/left.
on_small() {
    small=$1
    shift
    out=$work/printed
    err=$work/messages
    unshare -rm sh -c 'mount -t tmpfs -o "$1" none "$2/to" || exit 98
        cd "$2/to" && shift 2 && "$@"; code=$?
        find "$PWD" -mindepth 1 >"$PWD/../left"; exit $code' sh "$small" "$work" "$QKSCOPE" "$@" >"$out" 2>"$err" </dev/null
    code=$?
}
on_small size=1m --version
if [ "$code" -eq 0 ]; then
    size=$(($(stat -c %s "$weights") / 4096 + 1 + 1)) # pages of the weights and of config.json: none for the recipe
    on_small "size=$(((size - 8) * 4))k" export "$@" -o "$work/to/new"
    check "a disk too small for an export" complains 4 'not enough space (found .*, expected .*)'
    check "  nothing is written" test ! -s "$work/left"
    on_small "size=$((size * 4))k" export "$@" -o "$work/to/new"
    check "a disk that is full when the recipe's turn comes" complains 4 'recipe.json: cannot write: No space left on device'
    check "  nothing is left" test ! -s "$work/left"
    on_small "size=4m,nr_inodes=3" export "$@" -o "$work/to/new"
    check "a disk that has no room for another file" complains 4 'cannot create: No space left on device'
    check "  nothing is left" test ! -s "$work/left"
    on_small "size=4m,nr_inodes=1" plan "$@" -o "$work/to/new.json"
    check "nor for a recipe" complains 4 'No space left on device'
    on_small "size=4k" cases needle --length 9000 --count 2 -o "$work/to/new.jsonl"
    check "nor for cases" complains 4 'cannot write: No space left on device'
    check "  nothing is left" test ! -s "$work/left"
else
    skip "a full disk" "no memory file system may be mounted here: $(head -n 1 "$err")"
fi

# limited ARGUMENT... - runs the program where no file may be longer than 4 kB (8 blocks of 512 bytes in sh).
limited() {
    out=$work/printed
    err=$work/messages
    (ulimit -f 8 && exec "$QKSCOPE" "$@") >"$out" 2>"$err" </dev/null
    code=$?
}
limited export "$@" -o "$work/to/new"
check "an export longer than the limit of the shell" complains 4 'model.safetensors: cannot write: File too large'
check "  leaves nothing" test -z "$(ls -A "$work/to")"
limited cases needle --length 9000 --count 2 -o "$work/to/new.jsonl"
check "cases longer than it" complains 4 'cannot write: File too large'
check "  leave nothing" test -z "$(ls -A "$work/to")"

# --- files that change while they are read ---
run export "$@" -o "$work/export"
cp "$weights" "$work/kept"
# changing FILE COMMAND PATTERN ARGUMENT... - at some of its reads the shell runs the command, which changes the file. The
# program says so in one line, or had read it all: then it says what it says without.
changing() {
    file=$1 change=$2 pattern=$3
    shift 3
    rm -rf "$work/to/new"
    QK_FAULT_COUNT=$work/count "$faulty" "$@" >"$work/expected" 2>"$work/messages"
    reads=$(sed -n 's/^read //p' "$work/count") reported=0 bad=
    for part in 0 3 5 8; do
        rm -rf "$work/to/new"
        cp -p "$work/kept" "$file"
        QK_FAULT=read:$((1 + (reads - 1) * part / 8)) QK_FAULT_COMMAND=$change "$faulty" "$@" >"$work/printed" 2>"$work/messages"
        code=$?
        if [ "$code" -eq 0 ] && [ ! -s "$work/messages" ]; then
            cmp -s "$work/expected" "$work/printed" || bad="$bad $part"
        elif [ "$(wc -l <"$work/messages")" -eq 1 ] && grep -q "^qkscope: .*\($pattern\)" "$work/messages" &&
            [ "$code" -le 4 ] && [ ! -e "$work/to/new" ]; then
            [ "$code" -ne 4 ] || reported=$((reported + 1))
        else
            bad="$bad $part"
        fi
    done
    cp -p "$work/kept" "$file"
    check "$1: $(basename "$file"): $(echo "$change" | cut -c 1-12)" test -z "$bad" -a "$reported" -ge 2
}
shorter='shorter while it was read\|was changed by another program while it was read\|is cut short'
other='was changed by another program while it was read\|differs from post' # before verify opens it
flip="python3 -c \"f = open('$weights', 'r+b'); f.seek(-9, 2); f.write(b'x'); f.close()\""
cp -p "$weights" "$work/kept"
for command in "diff --csv $pre $post" "export $pre $post --set 1=lerp:0.5 -o $work/to/new" "verify $work/export"; do
    # shellcheck disable=SC2086
    changing "$weights" "truncate -s -70000 '$weights'" "$shorter" $command
    # shellcheck disable=SC2086
    changing "$weights" "$flip" "$other" $command
done
cp -p "$work/export/model.safetensors" "$work/kept"
changing "$work/export/model.safetensors" "truncate -s -70000 '$work/export/model.safetensors'" \
    "$shorter\|has another size than post's" verify "$work/export"
check "the inputs are as they were" test "$before" = "$(sums "$work/pair")"

# --- places ---
rm -rf "$work/to/new"
touch "$work/file"
run export "$@" -o "$work/file/new"
check "a target in what is a file" complains 4 'Not a directory'
run plan "$@" -o "$work/file/new.json"
check "  a recipe, too" complains 4 'Not a directory'
run plan "$@" -o "$work/none/new.json"
check "a recipe in a folder that is not there" complains 4 'No such file or directory'
run plan "$@" -o "$post/new.json"
check "  in an input" complains 2 "new.json: refused: it is in post's folder"
run plan "$@" -o "$weights"
check "  over an input" complains 2 "refused: it is in post's folder"
run cases needle --length 160 --count 1 -o "$work/none/new.jsonl"
check "cases in a folder that is not there" complains 4 'No such file or directory'
if [ -w /dev/shm ] && [ "$(stat -c %d /dev/shm)" -ne "$(stat -c %d "$work")" ]; then
    shared=$(mktemp -d /dev/shm/qkscope-test.XXXXXX)
    run export "$@" --link -o "$shared/new"
    check "a target on another file system" ended 0
    run verify "$shared/new"
    check "  holds what it must" ended 0
    rm -rf "$shared"
else
    skip "a target on another file system" "there is no /dev/shm apart from the temporary folder"
fi
chmod a-w "$work/to"
if touch "$work/to/probe" 2>/dev/null; then
    skip "a folder that may not be written in" "this user may write everywhere"
else
    run export "$@" -o "$work/to/new"
    check "a folder that may not be written in" complains 4 'to: cannot create a temporary name in: Permission denied'
fi
chmod u+w "$work/to"
check "the inputs are still as they were" test "$before" = "$(sums "$work/pair")"
done_testing
