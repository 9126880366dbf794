#!/bin/sh
# test_pairs.sh - the scripts that show and measure the trained pairs: which pair they open, what they pass on, and what
# they compare.
. "$srcdir/tests/cli/common.sh"

# The scripts see a tree of links that is configured and built, and a system that has every package.
top=$work/top
mkdir "$top" "$top/build" "$work/stubs"
ln -s "$srcdir/scripts" "$srcdir/data" "$srcdir/tests" "$top"
ln -s "$QKSCOPE" "$top/build/qkscope"
: >"$top/configure"
: >"$top/build/Makefile"
printf '#!/bin/sh\necho install ok installed\n' >"$work/stubs/dpkg-query"
printf '#!/bin/sh\nexit 0\n' >"$work/stubs/make"
chmod +x "$top/configure" "$work/stubs"/*

# script NAME ARGUMENT... - runs one of the scripts; its output, messages and code are in $out, $err and $code.
script() {
    out=$work/printed
    err=$work/messages
    name=$1
    shift
    env -u QKSCOPE_BUILD PATH="$work/stubs:$PATH" sh "$top/scripts/$name" "$@" >"$out" 2>"$err" </dev/null
    code=$?
}

# as_diff PAIR [ARGUMENT...] - the last output is that of qkscope diff.
as_diff() {
    pair=$1
    shift
    (cd "$top" && "$QKSCOPE" diff "data/$pair/pre" "data/$pair/post" "$@") >"$work/expected" && cmp "$work/expected" "$out"
}

script demo
check "demo opens the first pair" as_diff tiny-hypenet
check "  quietly" ended 0
script demo --jet
check "demo --jet opens the second pair" as_diff tiny-jet-nemotron
script demo --set 7=restore
check "other arguments go to qkscope" says '^    7 full .*  restore$'
script demo --jet --set 10=restore
check "  behind --jet, too" says '^   10 full .*  restore$'
script demo --set 10=restore --jet
check "  where there is no --jet" complains 2 jet

# The stub of eval answers as the reference of its pair. Of the selections it knows the names in the file alone; the
# control is v of the full layers of pre and nothing else. One figure is $off lower.
cat >"$work/eval" <<'STUB'
#!/usr/bin/env python3
import json, os, sys
sys.path.insert(0, os.environ["srcdir"] + "/tests/cli")
from stored_file import read_file
arguments = sys.argv[1:]
assert arguments.pop(0) == "eval" and "--json" in arguments and arguments.count("--cases") == 2
value = lambda option: arguments[arguments.index(option) + 1]
data = os.path.dirname(os.path.dirname(value("--cases")))
models = [word for word in arguments if os.path.isdir(word)]
weights = lambda folder: read_file(folder + "/model.safetensors")
names = [models[-1]]
if len(models) == 2:
    assert "--baselines" in arguments
    lines = [line.split(": ") for line in open(value("--selections")) if line[0] != "#"]
    names = ["pre", "post"] + [name for name, choices in lines]
else:
    a, b, c = (weights(folder) for folder in (data + "/pre", data + "/post", models[0]))
    assert list(b) == list(c)
    assert {name for name in b if b[name] != c[name]} == {
        f"model.layers.{i}.self_attn.v_proj.{part}" for i in (1, 6, 10) for part in ("weight", "bias")}
    assert all(c[name] in (a[name], b[name]) for name in c)
rows = {row["name"]: row for row in json.load(open(data + "/reference.json"))["rows"]}
off = float(os.environ["off"])
print(json.dumps({"results": [
    {"name": name, **({"set": ""} if len(models) == 2 and name not in ("pre", "post") else {}),
     "tasks": [{"task": task, "right": figure - off * (rows[os.path.basename(name)] is rows["post"]), "total": 100}
               for task, figure in rows[os.path.basename(name)].items() if isinstance(figure, float)]}
    for name in names]}))
STUB
chmod +x "$work/eval"
off=0
export off
script reference "$work/eval"
check "reference compares both pairs" [ "$code $(grep -c '^tiny-' "$out")" = '0 2' ]
check "  thirteen rows of the first" says '^65 figures, .* 0 more'
check "  fourteen of the second" says '^70 figures, .* 0 more'
check "  with the control" says '^v full (control)  *73 of 73 '
script reference --jet "$work/eval" --limit 3
check "reference --jet compares the second alone" sh -c "grep -q '^70 ' '$out' && ! grep -q '^65 ' '$out'"
script reference --hypenet "$work/eval"
check "reference --hypenet compares the first alone" sh -c "grep -q '^65 ' '$out' && ! grep -q '^70 ' '$out'"
off=2
script reference "$work/eval"
check "two points apart are as good" ended 0
off=3
script reference "$work/eval"
check "three points apart fail" ended 1
check "  named in both pairs" [ "$(grep -c '^[67][05] figures, .* 5 more' "$out")" -eq 2 ]
script reference --jet false
check "a failure of eval is one of the comparison" ended 1

# The file of selections has the rows of the reference, as the program understands them.
head -n 1 "$jet/cases/recall.jsonl" >"$work/case.jsonl"
run eval "$jet/pre" "$jet/post" --selections "$jet/selections.txt" --cases "$work/case.jsonl" --json
check "the selections of the second pair are those of its reference" python3 -c "
import json, sys
rows, results = (json.load(open(path))[key] for path, key in zip(sys.argv[1:], ('rows', 'results')))
expected = [(row['name'], row['set'].replace('full,window', '1,3,6,8,10')) for row in rows if row['set'] is not None]
sys.exit(expected != [(row['name'], row['set']) for row in results])" "$jet/reference.json" "$out"
done_testing
