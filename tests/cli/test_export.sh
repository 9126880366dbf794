#!/bin/sh
# test_export.sh - exports are compared byte by byte; targets, options, verify.
. "$srcdir/tests/cli/common.sh"

before=$(sums "$QK_DEMO_DATA")
dir=$work/out

# --- what would be done ---
run export "$pre" "$post" --set full=restore -o "$dir" --dry-run
check "--dry-run lists the tensors" says '^    7  q        32.8 kB  model.layers.7.self_attn.q_proj.weight$'
check "  how much changes" grep -q '^would change 197 kB in 8 tensors$' "$out"
check "  and how much is free" grep -q "^$dir: 5 files, 5.47 MB; .* free$" "$out"
check "  and writes nothing" test -z "$(find "$work" -name '*out*')"

# --- exports ---
run export "$pre" "$post" --set full=restore -o "$dir"
check "export" says '^changed 197 kB in 8 tensors$'
check "every byte is as it must be" python3 "$tools/check_export.py" "$pre" "$post" "$dir" 1,4,7,10 qk
check "nothing is left beside it" test -z "$(find "$work" -maxdepth 1 -name '.out*')"
run verify "$dir"
check "verify" says "^$dir: every byte is what its recipe says$"
run info "$dir"
check "the export opens" says '^  family hypenet'
run diff "$pre" "$dir" --layers full --csv
check "its softmax layers have no drift left" test "$(tail -n +2 "$out" | cut -d, -f3,8,13 | sort -u)" = 0,0,0

run export "$pre" "$post" --set 7:q=restore -o "$work/one"
check "one role of one layer" python3 "$tools/check_export.py" "$pre" "$post" "$work/one" 7 q

# --- faults that verify finds ---
chmod -R u+w "$dir" # files keep the modes of the sources'
# flip FILE BYTE
flip() {
    python3 -c "
with open('$1', 'r+b') as f:
    f.seek($2); b = f.read(1)[0]; f.seek($2); f.write(bytes([b ^ 1]))"
}
# offset TENSOR - where its data begins in the export
offset() {
    python3 -c "
import json, struct
with open('$dir/model.safetensors', 'rb') as f:
    n, = struct.unpack('<Q', f.read(8)); print(8 + n + json.loads(f.read(n))['$1']['data_offsets'][0])"
}
for tensor in model.layers.7.self_attn.k_proj.weight model.layers.3.self_attn.q_proj.weight model.embed_tokens.weight; do
    at=$(offset $tensor)
    flip "$dir/model.safetensors" "$at"
    run verify "$dir"
    check "a flipped bit in $tensor" ended 1
    check "  is reported by its name" sh -c "grep -q 'qkscope: .*$tensor' '$err' && grep -q '$tensor' '$out'"
    flip "$dir/model.safetensors" "$at"
done
flip "$dir/config.json" 10
run verify "$dir"
check "a flipped bit in config.json" sh -c "[ $code -eq 1 ] && grep -q 'config.json' '$err'"
flip "$dir/config.json" 10
rm "$dir/tokenizer.json"
run verify "$dir"
check "a missing file" sh -c "[ $code -eq 1 ] && grep -q 'tokenizer.json' '$err'"
cp "$post/tokenizer.json" "$dir"
run verify "$dir"
check "all is well again" ended 0

copy "$pre" "$work/moved-pre"
copy "$post" "$work/moved-post"
run export "$work/moved-pre" "$work/moved-post" --set 4=lerp:0.5 -o "$work/moves"
mv "$work/moved-pre" "$work/here"
mv "$work/moved-post" "$work/there"
run verify "$work/moves"
check "verify reports missing inputs" complains 4 'moved-p'
run verify "$work/moves" --pre "$work/here" --post "$work/there"
check "--pre and --post say where they are now" ended 0
run verify "$post"
check "a folder without recipe" complains 3 'post: is not an export of qkscope: it has no qkscope-recipe.json$'

# --- targets ---
listing=$(find "$dir" -type f -exec ls -i {} + | sort)
run export "$pre" "$post" --set 7=restore -o "$dir"
check "an existing DIR is refused" complains 2 "$dir: exists"
check "  and left alone" test "$listing" = "$(find "$dir" -type f -exec ls -i {} + | sort)"
run export "$pre" "$post" --set 7=restore -o "$dir" --force
check "  --force replaces it" python3 "$tools/check_export.py" "$pre" "$post" "$dir" 7 qk
mkdir "$work/mine"
echo precious >"$work/mine/notes.txt"
run export "$pre" "$post" --set 7=restore -o "$work/mine" --force
check "a folder that is no export is never replaced" complains 2 'not replaced'
check "  nor anything in it" grep -q precious "$work/mine/notes.txt"
echo text >"$work/file"
run export "$pre" "$post" --set 7=restore -o "$work/file" --force
check "nor is a file" complains 2 'exists and is not a folder'

mkdir "$work/pair"
copy "$pre" "$post" "$work/pair"
copies=$(sums "$work/pair")
ln -s "$work/pair/post" "$work/link"
for target in "$work/pair/post" "$work/pair/pre" "$work/pair/post/sub" "$work/pair" "$work/link/sub" "$work/pair/pre/../post/sub"; do
    run export "$work/pair/pre" "$work/pair/post" --set 7=restore -o "$target" --force
    check "refused: ${target#"$work/"}" complains 2 'refused'
done
check "the copies are unchanged" test "$copies" = "$(sums "$work/pair")"
run export "$pre" "$post" --set 7=restore -o "$work/no/such/dir"
check "a parent that is not there" complains 4 "$work/no/such"

# --- processors ---
# alone COMMAND... - on one processor.
alone() {
    python3 -c 'import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.execv(sys.argv[1], sys.argv[1:])' "$@"
}
run export "$pre" "$post" --set all=qk-pro:0.3 --norms -o "$work/many"
check "all layers blended on all processors" ended 0
check "  and on one" alone "$QKSCOPE" export "$pre" "$post" --set all=qk-pro:0.3 --norms -o "$work/few"
check "  are the same to the byte" diff -r "$work/many" "$work/few"

# --- options ---
python3 "$tools/spoil.py" shards "$pre" "$work/pre2"
python3 "$tools/spoil.py" shards "$post" "$work/post2"
run export "$work/pre2" "$work/post2" --set 7=restore -o "$work/linked" --link
check "--link" ended 0
check "  links the shard that does not change" test 1 -eq \
    "$(find "$work/linked" "$work/post2" -name '*.safetensors' -links 2 -printf '%i\n' | sort | uniq -d | wc -l)"
run verify "$work/linked"
check "  and verifies" ended 0
run export "$pre" "$post" --set 4,7=restore -o "$work/patch" --patch-only
check "--patch-only" test "$(ls "$work/patch" | tr '\n' ' ')" = 'qkscope-patch.safetensors qkscope-recipe.json '
check "  holds the changed tensors alone" python3 -c "
import json, struct
f = open('$work/patch/qkscope-patch.safetensors', 'rb')
n, = struct.unpack('<Q', f.read(8))
names = [k for k in json.loads(f.read(n)) if k != '__metadata__']
assert sorted(names) == sorted(f'model.layers.{l}.self_attn.{r}_proj.weight' for l in (4, 7) for r in 'qk'), names"
run verify "$work/patch"
check "  and verifies" ended 0
run export "$pre" "$post" --set 7=restore --norms -o "$work/norms"
check "--norms" says 'q/k norm gains follow their role'
check "  changes the gains, too" grep -q 'model.layers.7.self_attn.q_norm.weight' "$out"
run verify "$work/norms"
check "  and verifies" ended 0
run export "$pre" "$post" --set 7=restore --comment 'tried on a Monday' -o "$work/remark"
check "--comment" grep -q 'tried on a Monday' "$work/remark/qkscope-recipe.json"
run plan "$pre" "$post" --recipe "$work/remark/qkscope-recipe.json"
check "an export's recipe replays" says '^full    restore           restore           7$'
check "the inputs are unchanged" test "$before" = "$(sums "$QK_DEMO_DATA")"
done_testing
