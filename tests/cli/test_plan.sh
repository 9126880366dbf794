#!/bin/sh
# test_plan.sh - recipes: written, replayed, refused for other checkpoints, kept out of the inputs.
. "$srcdir/tests/cli/common.sh"

before=$(sums "$QK_DEMO_DATA")
recipe=$work/r.json

run plan "$pre" "$post" --set full=restore --set 10:q=keep --set 4=qk-pro:0.3 --comment "a remark" -o "$recipe"
check "plan shows the choices" says '^full    restore           restore           1,7$'
check "  role by role" grep -q '^full    keep              restore           10$' "$out"
check "  qk-pro for both roles" grep -q '^full    qk-pro 0.3        qk-pro 0.3        4$' "$out"
check "  and what is kept" grep -q "^8 of 12 layers keep post's q and k$" "$out"
check "the recipe says it, too" python3 -c "
import json
r = json.load(open('$recipe'))
assert r['format'] == 'qkscope-recipe' and r['version'] == 1 and r['comment'] == 'a remark', r
assert r['options'] == {'norms': False} and 'outputs' not in r, r
assert r['pre']['path'].endswith('/pre') and r['pre']['model_type'] == 'hypenet', r
choices = {(l, role): (c['mode'], c.get('param')) for c in r['choices'] for l in c['layers'] for role in c['roles']}
expected = {(l, role): ('restore', None) for l in (1, 7) for role in 'qk'} | {(10, 'k'): ('restore', None)}
expected |= {(4, role): ('qk-pro', 0.3) for role in 'qk'}
assert choices == expected, choices"

run plan "$pre" "$post" --recipe "$recipe" -o -
check "replaying and writing again gives the same recipe" cmp "$recipe" "$out"
run plan "$pre" "$post" --recipe "$recipe" --set 7=keep
check "--set changes what --recipe began" says '^full    restore           restore           1$'
run plan "$pre" "$post" --set 'routing>0.15=lerp:0.5' --threads 2
check "a test of the drift" says '^linear  lerp 0.5          lerp 0.5          6,11$'
run plan "$pre" "$post" --set 'k.cosine<0.9947=restore'
check "a test of one role" says '^linear  restore           restore           11$'
run plan "$pre" "$post" --set 'routing>5=restore'
check "a test that no layer meets gets a note" sh -c "grep -q -e '^qkscope: --set routing>5=restore: no layer matches' '$err'"
check "  and is no failure" ended 0
run plan "$pre" "$post" --set full=restore --norms -o -
check "--norms is kept" grep -q '"norms":[[:space:]]*true' "$out"
cp "$out" "$work/norms.json"
run plan "$pre" "$post" --recipe "$work/norms.json"
check "  and replayed" says 'q/k norm gains follow their role'

# --- heads ---
run plan "$pre" "$post" --set 7/q1-2,k0=restore --set 7/q3=lerp:0.5 --set 10/g1=qk-pro:0.3 -o "$work/heads.json"
check "plan tells which heads" says '^full    q1-2 restore, q3 lerp 0.5 k0 restore        7$'
check "  of a group, too" grep -q '^full    q2-3 qk-pro 0.3   k1 qk-pro 0.3     10$' "$out"
check "  in a recipe of version 2" grep -q '"version":[[:space:]]*2,' "$work/heads.json"
run plan "$pre" "$post" --recipe "$work/heads.json" -o -
check "  which is replayed and written again as it was" cmp "$work/heads.json" "$out"
run plan "$pre" "$post" --recipe "$work/heads.json" --set 7=restore --set 10=keep -o -
check "heads that agree make version 1" grep -q '"version":[[:space:]]*1,' "$out"
run plan "$pre" "$post" --set 7/q4=restore
check "a head that a layer does not have" complains 2 '^qkscope: .*layer 7 has 4 query heads (found 4, expected 0 to 3)'
run plan "$pre" "$post" --set 7/q=restore
check "a head without a number" complains 2 "'7/q=restore': character 4: head number missing (found '=', expected heads such as q0-1,k0 or g1)"
run plan "$fixtures/llama/pre" "$fixtures/llama/post" --recipe "$work/heads.json" --force
check "heads for another model" complains 3 'the recipe'
run plan "$pre" "$post" --set 'drop>0.05=restore'
check "a test of heads" says '^full    q1-2 restore      keep              7$'

# --- other checkpoints ---
python3 "$tools/spoil.py" other-header "$post" "$work/other"
run plan "$pre" "$work/other" --recipe "$recipe"
check "another post is refused" complains 3 'the recipe was made for another checkpoint'
run plan "$pre" "$work/other" --recipe "$recipe" --force
check "  unless forced" says '^full    restore '
run export "$work/other" "$post" --recipe "$recipe" -o "$work/out"
check "another pre is refused by export" complains 3 'the recipe was made for another checkpoint'
check "  which writes nothing" test ! -e "$work/out"
run export "$work/other" "$post" --recipe "$recipe" -o "$work/out" --force
check "  unless forced" ended 0
run plan "$fixtures/llama/pre" "$fixtures/llama/post" --recipe "$recipe" --force
check "layers that do not exist are refused always" complains 3 '^qkscope: .*\.json: the recipe chooses layer'

# --- bad recipes ---
# bad WHAT SED PATTERN - a recipe with that change is refused with a message that has the pattern.
bad() {
    sed "$2" "$recipe" >"$work/bad.json"
    run plan "$pre" "$post" --recipe "$work/bad.json"
    check "a recipe with $1" complains 3 "$work/bad.json: .*$3"
}
bad "another format" 's/qkscope-recipe/something/' 'not a qkscope recipe'
bad "another version" 's/"version":.*1/"version": 3/' version
bad "an unknown key" 's/"comment"/"coment"/' 'unknown key "coment"'
bad "an unknown mode" 's/"restore"/"mend"/' 'unknown mode (found "mend"'
bad "a parameter out of range" 's/0\.3/-0.3/' 'out of range'
bad "a cut end" '$d' .
run plan "$pre" "$post" --recipe "$work/none.json"
check "a recipe that is not there" complains 4 'none.json: cannot'

# --- inputs stay as they are ---
mkdir "$work/pair"
copy "$pre" "$post" "$work/pair"
copies=$(sums "$work/pair")
for name in x.json config.json model.safetensors ../pre/config.json; do
    run plan "$work/pair/pre" "$work/pair/post" --set full=restore -o "$work/pair/post/$name"
    check "no recipe at POST/$name" complains 2 'refused'
done
ln -s "$work/pair/post" "$work/link"
run plan "$work/pair/pre" "$work/pair/post" --set full=restore -o "$work/link/x.json"
check "  nor through a link" complains 2 'refused'
run plan "$work/pair/pre/model.safetensors" "$work/pair/post/model.safetensors" --set full=restore \
    -o "$work/pair/post/config.json"
check "  nor over a file beside a checkpoint" complains 2 'refused'
check "the copies are unchanged" test "$copies" = "$(sums "$work/pair")"
run plan "$pre" "$post" --set full=restore -o "$work/no/such/folder/r.json"
check "a folder that is not there" complains 4 'no/such/folder'
check "the inputs are unchanged" test "$before" = "$(sums "$QK_DEMO_DATA")"
done_testing
