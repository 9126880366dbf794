#!/bin/sh
# test_hub.sh - names of the Hugging Face hub, in a cache made here: snapshots of links into blobs.
. "$srcdir/tests/cli/common.sh"

one=1111111111111111111111111111111111111111
two=1111222222222222222222222222222222222222

# snapshot CACHE ORG/NAME HASH SOURCE - files as the hub's client stores them.
snapshot() {
    model=$1/models--$(echo "$2" | sed 's|/|--|')
    mkdir -p "$model/blobs" "$model/refs" "$model/snapshots/$3"
    for file in "$4"/*; do
        blob=$(sha256sum "$file" | cut -c 1-64)
        [ -e "$model/blobs/$blob" ] || cp "$file" "$model/blobs/$blob"
        ln -s "../../blobs/$blob" "$model/snapshots/$3/${file##*/}"
    done
}
cache=$work/cache
snapshot "$cache" org/base $one "$pre"
printf %s $one >"$cache/models--org--base/refs/main"
snapshot "$cache" org/tuned $one "$pre"
snapshot "$cache" org/tuned $two "$post"
printf '%s\n' $two >"$cache/models--org--tuned/refs/main"
mkdir -p "$cache/models--org--tuned/refs/refs/pr"
printf %s $one >"$cache/models--org--tuned/refs/v1"
printf %s $one >"$cache/models--org--tuned/refs/refs/pr/1"
before=$(sums "$cache")
run diff "$pre" "$post" --csv
cp "$out" "$work/expected.csv"

# finds VARIABLE VALUE - the cache is found there.
finds() {
    env "$1=$2" "$QKSCOPE" diff org/base org/tuned --csv >"$work/found.csv" 2>"$err"
    code=$?
    check "the cache at \$$1" cmp "$work/expected.csv" "$work/found.csv"
}
mkdir -p "$work/home1" "$work/xdg/huggingface" "$work/home2/.cache/huggingface"
ln -s "$cache" "$work/home1/hub"
ln -s "$cache" "$work/xdg/huggingface/hub"
ln -s "$cache" "$work/home2/.cache/huggingface/hub"
finds HF_HUB_CACHE "$cache"
finds HF_HOME "$work/home1"
finds XDG_CACHE_HOME "$work/xdg"
finds HOME "$work/home2"
HF_HUB_CACHE=$cache HF_HOME=/nowhere XDG_CACHE_HOME=/nowhere "$QKSCOPE" diff org/base org/tuned --csv >"$work/found.csv"
check "HF_HUB_CACHE wins" cmp "$work/expected.csv" "$work/found.csv"
finds HUGGINGFACE_HUB_CACHE "$cache"
# Files that set variables for services leave these to the program; the hub's own client replaces them.
ln -s "$cache" "$HOME/hub"
finds HF_HOME '~'
finds HF_HOME '~/../home1'
# shellcheck disable=SC2016
for text in '$HOME' '${HOME}/.' '${HOME}/../home1'; do
    finds HF_HOME "$text"
    finds HF_HUB_CACHE "$text/hub"
done
# shellcheck disable=SC2016
finds XDG_CACHE_HOME '$HOME/../xdg'
mkdir -p "$work/"'$UNSET_${x_~/'
ln -s "$cache" "$work/"'$UNSET_${x_~/hub'
# shellcheck disable=SC2016
finds HF_HOME "$work/"'$UNSET_${x_~'
rm "$HOME/hub"
HF_HUB_CACHE='' HF_HOME=$work/home1 "$QKSCOPE" diff org/base org/tuned --csv >"$work/found.csv"
check "an empty variable counts as unset" cmp "$work/expected.csv" "$work/found.csv"

export HF_HUB_CACHE="$cache"
# revision NAME - org/tuned at that revision is the first snapshot, which is pre.
revision() {
    run diff "$pre" "org/tuned@$1" --csv
    check "revision $1" sh -c "[ $code -eq 0 ] && [ \$(tail -n +2 '$out' | cut -d, -f13 | sort -u) = 0 ]"
}
revision v1
revision refs/pr/1
revision $one
revision 11111
run info org/tuned@1111
check "a short hash of two snapshots" complains 3 'more than one snapshot begins with 1111'
run info org/tuned@111
check "a hash too short to be one" complains 4 'no revision 111 of it'
run info org/tuned@v9
check "a revision that is not there" complains 4 "org/tuned@v9: the Hugging Face cache has no revision v9 of it (looked in $cache/models--org--tuned; there is @111111111111)"
run info org/other
check "a model that is not there" complains 4 "looked for $cache/models--org--other"
printf %s 3333333 >"$cache/models--org--tuned/refs/gone"
run info org/tuned@gone
check "a revision without its snapshot" complains 4 'snapshots/3333333'
printf '../../../x' >"$cache/models--org--tuned/refs/evil"
run info org/tuned@evil
check "a ref that leaves its folder" complains 3 'refs/evil: not the hash of a commit'
rm "$cache/models--org--tuned/refs/gone" "$cache/models--org--tuned/refs/evil"
for name in org/../base org/base/more org/base@../main org/..; do
    run info "$name"
    check "$name" complains 4 'no such file or folder'
done

mkdir -p "$work/here/org"
copy "$post" "$work/here/org/base"
(cd "$work/here" && "$QKSCOPE" diff "$pre" org/base --csv) >"$work/found.csv" 2>"$err"
check "an existing path wins" cmp "$work/expected.csv" "$work/found.csv"

# Names without an organisation; downloads that are not whole.
snapshot "$work/more" short $one "$post"
printf %s $one >"$work/more/models--short/refs/main"
snapshot "$work/more" org/a--b $one "$post"
printf %s $one >"$work/more/models--org--a--b/refs/main"
for name in short short@main short@1111 org/a--b; do
    HF_HUB_CACHE=$work/more "$QKSCOPE" diff "$pre" "$name" --csv >"$work/found.csv" 2>"$err"
    check "the name $name" cmp "$work/expected.csv" "$work/found.csv"
done
export HF_HUB_CACHE="$work/more"
run info nothing
check "a name that is not there" complains 4 "^qkscope: nothing: no such file .*looked for $work/more/models--nothing)"
run info nothing.safetensors
check "  the name of a file" complains 4 'nothing.safetensors: cannot open: No such file'
rm "$work/more/models--short/refs/main"
run info short
check "a download by hash alone" complains 4 'short: .* has no revision main .*models--short; there is @111111111111)'
blob=$(basename "$(readlink "$work/more/models--short/snapshots/$one/model.safetensors")")
mv "$work/more/models--short/blobs/$blob" "$work/more/models--short/blobs/$blob.incomplete"
run info short@1111
check "a blob that is not there" complains 4 "model.safetensors: cannot open: it is a link to .*blobs/$blob, which is not"
rm "$work/more/models--short/snapshots/$one/model.safetensors"
run info short@1111
check "a download that is not finished" complains 4 'short@1111: its download is not finished: .*, 1 unfinished in '
export HF_HUB_CACHE="$cache"

run export org/base org/tuned --set full=restore -o "$work/mended"
check "export from snapshots" ended 0
check "  writes files, not links" test -z "$(find "$work/mended" -type l)"
check "  with every byte as it must be" python3 "$tools/check_export.py" "$pre" "$post" "$work/mended" 1,4,7,10 qk
run verify "$work/mended"
check "  and verifies" ended 0
run verify "$work/mended" --pre org/base --post org/tuned
check "  by their names, too" ended 0
run export org/base org/tuned --set full=restore -o "$cache/models--org--tuned/snapshots/$two/x"
check "no export into a snapshot" complains 2 refused
run doctor
check "doctor shows the cache" grep -q "Hugging Face cache  $cache$" "$out"
check "the cache is unchanged" test "$before" = "$(sums "$cache")"
done_testing
