#!/bin/sh
# test_twins.sh - pre and post stored in different ways: the drift equals the reference, and an export of pre's rows into
# post equals the export between twins.
. "$srcdir/tests/cli/common.sh"

family=$fixtures/llama
for kind in prefix shards order f32 extra mtp tied untied; do
    for side in pre post; do
        python3 "$tools/twins.py" "$kind" "$family/$side" "$work/$side.$kind" || exit 1
    done
done
# drift PRE POST - of the two agrees with the reference.
drift() {
    run diff "$1" "$2" --json
    sh -c "python3 '$tools/check_drift.py' '$family/drift.json' <'$out' && [ ! -s '$err' ]"
}
for kind in prefix shards order f32 extra mtp tied untied; do
    check "$kind: another pre" drift "$work/pre.$kind" "$family/post"
    check "  another post" drift "$family/pre" "$work/post.$kind"
    check "  both" drift "$work/pre.$kind" "$work/post.$kind"
    run export "$work/pre.$kind" "$family/post" --set all=restore -o "$work/out"
    check "  export" ended 0
    check "  with pre's rows and no other byte changed" \
        python3 "$tools/check_export.py" "$family/pre" "$family/post" "$work/out" 0,1,2,3 qk
    rm -rf "$work/out"
    run export "$family/pre" "$work/post.$kind" --set all=restore -o "$work/out"
    check "  into another post" ended 0
    run verify "$work/out"
    check "  verifies" ended 0
    run diff "$family/pre" "$work/out" --json
    check "  and has pre's q and k" python3 -c "
import json; d = json.load(open('$out'))
assert all(l[r]['rel_fro'] == 0 for l in d['layers'] for r in 'qk')"
    rm -rf "$work/out"
done
check "one file against shards" drift "$family/pre/model.safetensors" "$work/post.shards"
check "an index against one file" drift "$work/pre.shards/model.safetensors.index.json" "$family/post/model.safetensors"

copy "$family/post" "$work/other"
sed -i 's/"llama"/"qwen2"/' "$work/other/config.json"
check "another model type that stores the same" drift "$family/pre" "$work/other"
run diff "$fixtures/qwen2/pre" "$family/post"
check "a mismatch is reported by its first instance" complains 3 'no layer has q and k that fit .*: only pre has a bias (.*q_proj.bias)'
done_testing
