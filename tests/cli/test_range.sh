#!/bin/sh
# test_range.sh - qkscope range: numbers against the goldens, shapes of table, CSV and JSON, sources and their faults.
. "$srcdir/tests/cli/common.sh"

# json_holds PYTHON - the expression over the last output, called d, is true; r is the reference, where it is set.
json_holds() {
    python3 -c '
import json, sys
d = json.load(open(sys.argv[1]))
L = {l["index"]: l for l in d["layers"]}
def worst(model, layer, folder=sys.argv[3]):
    heads = json.load(open(f"{folder}/range-{model}.json"))[str(layer)]
    return max(abs(a - b) for x, y in zip(heads, L[layer][model]["heads"])
               for a, b in zip(x["hist"] + [x["long_mass"], x["mean"] / 203], y["hist"] + [y["long_mass"], y["mean"] / 203]))
def numbers(model):
    return {key: model[key] for key in ("mean", "long_mass", "hist", "heads")}
sys.exit(not eval(sys.argv[2]))' "$out" "$1" "$QK_DEMO_DATA"
}

golden_pre=$QK_DEMO_DATA/golden-pre.safetensors
golden_post=$QK_DEMO_DATA/golden-post.safetensors
# ids_of GOLDEN - its input_ids.
ids_of() {
    python3 - "$1" <<'END'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", data[:8])[0]
begin, end = json.loads(data[8:8 + n])["input_ids"]["data_offsets"]
print(*struct.unpack(f"<{(end - begin) // 4}i", data[8 + n + begin:8 + n + end]))
END
}
ids_of "$golden_post" >"$work/ids"

# One float32 map differs by up to 1e-6 of its largest entry; a mean over a hundred queries by less.
run range "$pre" "$post" --ids "$work/ids" --json
check "the forward pass meets the reference" json_holds \
    "all(worst(m, l) < 1e-6 for m in ('pre', 'post') for l in range(12))"
check "  in every layer, with its kind" json_holds \
    "[l['kind'] for l in d['layers']] == ['full' if i % 3 == 1 else 'linear' for i in range(12)] and list(L) == list(range(12))"
check "  linear layers have coefficients" json_holds "all(l['of'] == ('attention' if l['kind'] == 'full' else 'coefficients') for l in L.values())"
check "  and shifts that meet it, too" json_holds \
    "all(abs(L[int(i)]['shift'] / s - 1) < 1e-4 for i, s in json.load(open('$QK_DEMO_DATA/range-shift.json')).items())"
check "  edges of the bins, once" json_holds "d['bin_edges'] == [0] + [2 ** i for i in range(9)]"
check "  every histogram has a number a bin, and sums to 1" json_holds \
    "all(len(h['hist']) == 9 and abs(sum(h['hist']) - 1) < 1e-6 for l in L.values() for m in ('pre', 'post') for h in l[m]['heads'] + [l[m]])"
check "  the keys of a layer" json_holds \
    "all(list(l) == ['index', 'kind', 'of', 'shift', 'pre', 'post', 'restored'] and list(l['pre']) == ['mean', 'long_mass', 'hist', 'heads'] and list(l['restored']) == ['shift'] + list(l['pre']) for l in L.values())"
check "  a layer is the mean of its heads" json_holds \
    "all(abs(l['pre']['mean'] - sum(h['mean'] for h in l['pre']['heads']) / 4) < 1e-9 for l in L.values())"
check "  names its inputs and its source" json_holds \
    "d['pre'] == {'path': '$pre', 'model_type': 'hypenet'} and d['source'] == 'forward pass' and d['tokens'] == 203 and d['first_query'] == 101 and d['long'] == 128"
cp "$out" "$work/pass.json"
run range "$pre" "$post" --states "$golden_post" --states-pre "$golden_pre" --json
check "states from files meet it, too" json_holds \
    "d['source'] == 'states' and all(worst(m, l) < 1e-6 for m in ('pre', 'post') for l in range(12))"
run range "$pre" "$post" --states "$golden_post" --json
check "  one file serves both models" json_holds "worst('post', 7) < 1e-6 and worst('pre', 7) > 1e-4"

ids_of "$jet/golden-post.safetensors" >"$work/jet_ids"
run range "$jet/pre" "$jet/post" --ids "$work/jet_ids" --no-cache --json
check "the forward pass of the second pair meets its reference" json_holds \
    "d['source'] == 'forward pass' and all(worst(m, l, '$jet') < 1e-6 for m in ('pre', 'post') for l in range(12))"
check "  softmax layers with and without a window, and delta rules" json_holds "list(L) == list(range(12))"
cp "$out" "$work/jet.json"
for threads in 1 3; do
    run range "$jet/pre" "$jet/post" --ids "$work/jet_ids" --no-cache --json --threads $threads
    check "  $threads threads print the same" cmp "$out" "$work/jet.json"
done
run range "$jet/pre" "$jet/post" --states "$jet/golden-post.safetensors" --states-pre "$jet/golden-pre.safetensors" --json
check "  and so do the states of the softmax layers alone" json_holds \
    "d['source'] == 'states' and list(L) == [1, 3, 6, 8, 10] and all(worst(m, l, '$jet') < 1e-6 for m in ('pre', 'post') for l in (1, 3, 6, 8, 10))"

run range "$pre" "$post" --json
check "the built-in text: layer 7 shifted most" json_holds \
    "max(L, key=lambda l: L[l]['shift']) == 7 and 480 <= d['tokens'] <= 512"
check "  without a choice there is no current" json_holds "'current' not in d and all('current' not in l for l in L.values())"
cp "$out" "$work/plain.json"
run range "$pre" "$post" --set 7=restore --json
check "--set adds current, on post's states" json_holds \
    "d['current'] == 'same states' and list(L[7]) == ['index', 'kind', 'of', 'shift', 'pre', 'post', 'restored', 'current'] and L[7]['current'] != L[7]['post']"
check "  a kept layer's is post's" json_holds "L[10]['current'] == L[10]['post']"
check "  and pre and post are what they were" json_holds \
    "all(l[m] == k[m] for k in json.load(open('$work/plain.json'))['layers'] for l in [L[k['index']]] for m in ('pre', 'post', 'restored', 'shift'))"
check "  the restored numbers predicted it, in every number" json_holds \
    "numbers(L[7]['current']) == numbers(L[7]['restored']) != numbers(L[7]['post']) and 0 < L[7]['restored']['shift'] < L[7]['shift']"
cp "$out" "$work/same.json"
run range "$pre" "$post" --set 7=restore --exact --json
check "--exact: the chosen layer looks at the same states" json_holds \
    "d['current'] == 'exact' and abs(L[7]['current']['mean'] - json.load(open('$work/same.json'))['layers'][7]['current']['mean']) < 1e-6"
check "  the one behind it at others" json_holds "L[10]['current']['mean'] != L[10]['post']['mean']"
run range "$pre" "$post" --set 7=restore --norms --json -l 7
check "--norms takes pre's gains along" json_holds "L[7]['current']['mean'] != json.load(open('$work/same.json'))['layers'][7]['current']['mean']"
for family in llama qwen3 jamba; do
    run range "$fixtures/$family/pre" "$fixtures/$family/post" --set all=restore --json \
        --states "$fixtures/$family/post/golden.safetensors"
    check "$family, where norms do not differ: all restored is pre" json_holds "d['layers'] and all(l['current'] == l['pre'] != l['post'] for l in d['layers'])"
    check "  as predicted, with all of the shift" json_holds "all(numbers(l['restored']) == l['pre'] and l['restored']['shift'] == l['shift'] for l in d['layers'])"
done
"$QKSCOPE" plan "$pre" "$post" --set 7=restore -o "$work/recipe.json" >/dev/null
# Another way to the restored layer: as in an export, which is then the examined model.
"$QKSCOPE" export "$pre" "$post" --set 7=restore -o "$work/restored" >/dev/null 2>&1
run range "$pre" "$post" --states "$golden_post" --json
cp "$out" "$work/predicted.json"
run range "$pre" "$work/restored" --states "$golden_post" --json
check "an export's restored layer is as predicted" json_holds \
    "[L[7]['post']] == [numbers(l['restored']) for l in json.load(open('$work/predicted.json'))['layers'] if l['index'] == 7]"
check "  and has nothing left to restore" json_holds "L[7]['restored']['shift'] == 0 and numbers(L[7]['restored']) == L[7]['post'] and L[4]['restored']['shift'] > 0"
check "  its shift is what norms and gains leave" json_holds \
    "0 < L[7]['shift'] < [l['shift'] for l in json.load(open('$work/predicted.json'))['layers'] if l['index'] == 7][0]"
run range "$pre" "$post" --recipe "$work/recipe.json" --json
check "--recipe is the same as its choices" cmp "$out" "$work/same.json"

cache=$HOME/.cache/qkscope
check "states are kept under HOME/.cache, one file a checkpoint and probe" test "$(find "$cache" -name '*.states.safetensors' | wc -l)" -eq 4
run range "$pre" "$post" --json
check "  and give the same numbers, bit by bit" cmp "$out" "$work/plain.json"
for file in "$cache"/*; do
    head -c 5000 "$file" >"$work/cut" && cat "$work/cut" >"$file"
done
run range "$pre" "$post" --json
check "  a file cut short is as good as none" sh -c "cmp '$out' '$work/plain.json' && [ ! -s '$err' ]"
rm -r "$cache"
run range "$pre" "$post" --json --no-cache
check "  --no-cache keeps nothing" sh -c "cmp '$out' '$work/plain.json' && [ ! -e '$cache' ]"
: >"$work/file"
XDG_CACHE_HOME=$work/file "$QKSCOPE" range "$pre" "$post" --json >"$out" 2>"$err"
check "  where nothing can be kept, that is said, and no failure" sh -c "cmp '$out' '$work/plain.json' && grep -q 'not kept for the next time' '$err'"
copy "$post" "$work/touched"
run range "$pre" "$work/touched" --json
mv "$work/touched" "$work/moved"
count_before=$(find "$cache" -type f | wc -l)
run range "$pre" "$work/moved" --json
check "  a moved checkpoint is the same one" test "$(find "$cache" -type f | wc -l)" -eq "$count_before"
touch "$work/moved/model.safetensors"
run range "$pre" "$work/moved" --json
check "  a touched one is another" test "$(find "$cache" -type f | wc -l)" -eq $((count_before + 1))

copy "$pre" "$post" "$work"
touch -d 2026-01-01 "$work/pre/model.safetensors" "$work/post/model.safetensors"
count_before=$(find "$cache" -type f | wc -l)
run range "$work/pre" "$work/post" --json
check "  files of one header, size and modification time are two" test "$(find "$cache" -type f | wc -l)" -eq $((count_before + 2))

run range "$pre" "$post" --length 64 --queries last:1 --long 8 --layers 7 --json
check "--length, --queries, --long, --layers" json_holds \
    "d['tokens'] <= 64 and d['first_query'] == d['tokens'] - 1 and d['long'] == 8 and list(L) == [7] and abs(L[7]['pre']['long_mass'] - sum(L[7]['pre']['hist'][4:])) < 1e-12"
run range "$pre" "$post" --length 1 --queries all --json
check "one token looks at itself" json_holds "d['bin_edges'] == [0, 1] and all(abs(l['pre']['hist'][0] - 1) < 1e-6 and abs(l['shift']) < 1e-6 for l in L.values())"
printf 'The code of abcde is 1234. What is the code of abcde? It is 1234.' >"$work/text"
run range "$pre" "$post" --probe "$work/text" --json
check "--probe FILE, with the template's tokens" json_holds "d['tokens'] == 66"
run range "$pre" "$post" --layers 'routing>0.15' --json
check "--layers TEST" json_holds "list(L) == [6, 7, 11]"

run range "$pre" "$post"
check "the table has three heading lines, a line a layer, and one on linear layers" test "$(wc -l <"$out")" -eq 16
check "  layer 7, with both shifts" says '^   7 full  *1[0-9.]*  *1[0-9.]* [0-9.]*% [0-9.]*% 0.01[0-9]* 0.01[0-9]* '
check "  under their headings" sh -c "sed -n 2p '$out' | grep -q '  mean distance   mass >= 128      shift of ' && sed -n 3p '$out' | grep -q ' post    all    q,k  pre '"
check "  fits into 100 columns, with bars" python3 -c "
import sys; t = open('$out', encoding='utf-8').read(); sys.exit(max(map(len, t.split('\n'))) > 100 or 'distance 0, 1, 2, 4 ... 256' not in t)"
LC_ALL=C "$QKSCOPE" range "$pre" "$post" --set full=restore >"$work/c.txt"
LC_ALL=C.UTF-8 "$QKSCOPE" range "$pre" "$post" --set full=restore >"$work/utf8.txt"
LC_ALL=C.UTF-8 "$QKSCOPE" range "$pre" "$post" --set full=restore --ascii >"$work/ascii.txt"
check "  eighths in UTF-8" grep -q '█' "$work/utf8.txt"
check "  ASCII alone in the C locale, and with --ascii" sh -c "cmp '$work/c.txt' '$work/ascii.txt' && ! LC_ALL=C grep -q '[^ -~]' '$work/c.txt'"
check "  100 columns hold current, too" sh -c "grep -q '@' '$work/c.txt' && ! LC_ALL=C grep -q '.\{101\}' '$work/c.txt'"
COLUMNS=60 "$QKSCOPE" range "$pre" "$post" >"$work/narrow.txt"
check "  no bars where there is no room" sh -c "! LC_ALL=C grep -q '.\{61\}' '$work/narrow.txt'"
run range "$pre" "$post" --heads --layers 7
check "--heads has a line a head" test "$(wc -l <"$out")" -eq 8
# sorted NUMBER COLUMN - the layers of the CSV stand by post's column, the largest first, and are not in order of index.
sorted() {
    run range "$pre" "$post" --csv --sort "$1"
    grep ',post,' "$out" | cut -d, -f"$2" >"$work/column"
    [ "$(wc -l <"$work/column")" -eq 12 ] && LC_ALL=C sort -grc "$work/column" &&
        ! grep ',post,' "$out" | LC_ALL=C sort -nc 2>/dev/null
}
check "--sort shift" sorted shift 4
check "--sort mean" sorted mean 5
check "--sort long" sorted long 6
run range "$pre" "$post" --csv --sort drop
check "--sort drop" test "$(sed -n 2p "$out" | cut -d, -f1)" = 7
run range "$pre" "$post" --sort size
check "an unknown number is refused" complains 2 'expected index, shift, mean, long, needle or drop'
run range "$pre" "$post" --sort index
cp "$out" "$work/by_index"
run range "$pre" "$post"
check "--sort index is the order without it" cmp "$out" "$work/by_index"
run range "$pre" "$post" --csv
check "--csv has a line a layer and model" test "$(wc -l <"$out")" -eq 37
check "  the restored one with its own shift" test "$(grep -c ',restored,' "$out")$(grep '^7,' "$out" | cut -d, -f4 | sort -u | wc -l)" = 122
check "  the heading" grep -q '^layer,kind,model,shift,mean,long_mass,from_0,from_1,from_2,from_4,.*,from_256$' "$out"
check "  as many columns everywhere" test "$(awk -F, '{ print NF }' "$out" | sort -u)" = 16
run range "$pre" "$post" --csv --heads --set 4=restore
check "  and with --heads a line a head" test "$(wc -l <"$out")" -eq $((1 + 12 * 4 * 4))

llama_pre=$fixtures/llama/pre
llama_post=$fixtures/llama/post
run range "$llama_pre" "$llama_post" --estimate --json
check "--estimate: logits by distance, from weights" json_holds \
    "d['source'] == 'estimate' and d['distances'][:4] == [0, 1, 2, 4] and len(L) == 4 and all(len(h['logit']) == len(d['distances']) for l in L.values() for h in l['post']['heads'])"
run range "$llama_pre" "$llama_post" --estimate
check "  is called one" says '^estimate from weights'
run range "$pre" "$post" --estimate
check "  there is none without rotary positions" complains 3 'no layer has rotary positions'

make_both_ways "$work/both_ways"
run range "$work/both_ways/pre" "$work/both_ways/post"
check "  it is shown, and said, where there is neither a forward pass nor states" sh -c \
    "grep -q '^estimate from weights' '$out' && [ \$(wc -l <'$err') -eq 1 ] && grep -q 'no forward pass for this family: its attention goes both ways; this is an estimate' '$err'"
make_without_pass "$work/bare"
run range "$work/bare/pre" "$work/bare/post"
check "a family without a forward pass says so and names --states" complains 3 'no forward pass for this family: .*--states FILE'
run range "$llama_pre" "$llama_post"
check "a missing tokenizer names --ids" complains 3 'tokenizer.json.*--ids FILE'
echo '1 2 three' >"$work/bad"
run range "$pre" "$post" --ids "$work/bad"
check "ids that are none" complains 3 'byte 4: not a token id'
echo '1 2 300' >"$work/bad"
run range "$pre" "$post" --ids "$work/bad"
check "ids outside the vocabulary" complains 3 'outside the vocabulary (found 300'
printf 'a\377b' >"$work/bad"
run range "$pre" "$post" --probe "$work/bad"
check "text that is not UTF-8" complains 3 'not UTF-8'
run range "$pre" "$post" --probe "$work/none"
check "a file that is not there" complains 4 'none: cannot open'
run range "$pre" "$post" --states "$post/model.safetensors"
check "states without ids" complains 3 'there is no tensor input_ids'
run range "$pre" "$post" --states "$llama_post/golden.safetensors"
check "states of another width" complains 3 'hidden_states.0: other shape (found (48, 64), expected (48, 128))'
run range "$llama_pre" "$llama_post" --states "$llama_post/golden.safetensors" --states-pre "$golden_pre"
check "pre's states of other tokens" complains 3 'golden-pre.safetensors: '
# Blocks, tiles and states of two pairs, by one processor and by all.
one=$(taskset -cp $$ | sed 's/.*: //; s/[,-].*//')
for folder in "$QK_DEMO_DATA" "$jet"; do
    run range "$folder/pre" "$folder/post" --no-cache --length 1300 --queries last:700 --set full=lerp:0.5 --json
    cp "$out" "$work/all.json"
    taskset -c "$one" "$QKSCOPE" range "$folder/pre" "$folder/post" --no-cache --length 1300 --queries last:700 \
        --set full=lerp:0.5 --timing --json >"$work/one.json" 2>"$err"
    check "one processor gives the same bits as all: ${folder##*/}" python3 -c '
import json, sys
one, every = (json.load(open(f)) for f in sys.argv[1:])
timing = one.pop("timing")
parts = list(timing["parts"].values())
# One worker is always in some part.
sys.exit(one != every or len(one["layers"]) < 4 or timing["workers"] != 1 or min(parts) < 0 or
         abs(sum(parts) - timing["wall"]) > 0.03 * timing["wall"])' "$work/one.json" "$work/all.json"
done
run range "$jet/pre" "$jet/post" --no-cache --length 1300 --timing --json
check "--timing names every part, and has time in each" json_holds \
    "list(d['timing']['parts']) == ['read', 'convert', 'products', 'attention', 'recurrence', 'statistics', 'other'] and all(x > 0 for x in d['timing']['parts'].values())"
check "  at most the workers' time" json_holds \
    "sum(d['timing']['parts'].values()) <= 1.001 * d['timing']['workers'] * d['timing']['wall']"
# --- memory ---
run range "$pre" "$post" --length 300 --no-cache --json --threads 5
cp "$out" "$work/free.json"
run range "$pre" "$post" --length 300 --no-cache --json --memory 1M
check "a pass that needs more memory than it may take is refused" \
    complains 3 "$pre: a pass over 300 tokens needs about [0-9.]* MB of memory, and may take 1.05 MB; a shorter probe"
run range "$pre" "$post" --length 300 --no-cache --json --threads 5 --memory 8M
check "  one side after the other has the same numbers" cmp "$out" "$work/free.json"
run range "$pre" "$post" --memory 8x
check "  the size is a number with a unit" complains 2 "memory: not a size"

run range "$pre" "$post" --ids "$work/ids" --no-cache --timing
check "  a table behind the report: two lines and one a part" sh -c \
    "[ $code -eq 0 ] && [ \"\$(sed -n '/^time of the pass: .* s of [0-9]* processors*\$/,\$p' '$out' | cut -d ' ' -f 1 | xargs)\" = 'time part read convert products attention recurrence statistics other' ]"
check "  shares of 100 %" sh -c \
    "sed '1,/^part /d' '$out' | awk '{ all += \$3 } END { exit all < 96 || all > 104 }'"

# A fine-tuning added tokens, whose rows pre does not have.
python3 "$tools/make_grown.py" "$post" "$work/grown" '<think>' '</think>' >"$work/rows"
python3 "$tools/make_grown.py" "$pre" "$work/grown_pre" '<think>' '</think>' >>"$work/rows"
check "both have as many rows" sh -c "[ \"\$(uniq -c '$work/rows' | xargs)\" = '2 260' ]"
printf '<think>The code of horit is 3066.</think> The quiet painter reached the steep doctor. %.0s' 1 2 3 4 >"$work/think"
run range "$work/grown_pre" "$work/grown" --probe "$work/think" --json
cp "$out" "$work/grown.json"
run range "$pre" "$work/grown" --probe "$work/think" --json
check "a probe with tokens that pre does not know runs on post, and says what pre cannot" sh -c \
    "[ $code -eq 0 ] && [ \$(wc -l <'$err') -eq 1 ] && grep -q \"^qkscope: $pre: token 1 of the probe is outside the vocabulary (found 260, expected 0 to 259; 8 of .*post's inputs\$\" '$err'"
check "  in JSON, too" json_holds "d['pre_cannot'].startswith('$pre: token 1') and d['source'] == 'forward pass'"
check "  post and the shift are those beside a pre that knows them" json_holds \
    "[(l['post'], l['shift'], l['restored']) for l in d['layers']] == [(l['post'], l['shift'], l['restored']) for l in json.load(open('$work/grown.json'))['layers']]"
check "  which has no such remark" sh -c "! grep -q pre_cannot '$work/grown.json'"
check "  pre's layers have numbers" json_holds "all(len(l['pre']['heads']) == 4 and l['pre'] != l['post'] for l in L.values())"
run range "$pre" "$work/grown" --probe "$work/think" --json
cp "$out" "$work/again"
check "  with post's states from the cache the same" sh -c "[ $code -eq 0 ] && grep -q pre_cannot '$work/again'"
run range "$work/grown" "$post" --ids "$work/ids"
check "a pre that knows more than post is none of it" sh -c "[ $code -eq 0 ] && [ ! -s '$err' ]"
mkdir "$work/odd"
copy "$post" "$work/odd/post"
cp "$work/grown/tokenizer.json" "$work/odd/post"
run range "$pre" "$work/odd/post" --probe "$work/think"
check "post must know all of them" complains 3 "odd/post: token 1 of the probe is outside the vocabulary (found 260"

numpy=${PYTHON:-/usr/bin/python3} # the one that Debian's numpy belongs to
for name in deepseek_v2 deepseek_v3_direct deepseek_v3_yarn mistral4; do
    folder=$QK_TEST_DATA/softmax/$name
    run range "$folder" "$folder" --estimate --json
    check "the estimate of latent attention, in numpy: $name" \
        "$numpy" "$srcdir/tests/cli/latent_estimate.py" "$folder" "$out"
done

for words in '--queries some' '--queries last:0' '--long 0' '--length 0' '--json --csv' '--ids x --probe x' \
    '--states x --exact' '--states-pre x' '--states x --length 3' '--exact' '--sort size' '--timing --csv' '--timing --estimate' '--estimate --sort mean' '--estimate --ids x' '--layers 99'; do
    # shellcheck disable=SC2086 # words
    run range "$pre" "$post" $words
    check "usage: $words" complains 2 .
done
done_testing
