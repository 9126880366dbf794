#!/bin/sh
# test_real_config.sh - config.json and weights as people's tools leave them: what Python writes, and what a broken
# download leaves. Expected values are what transformers reads.
. "$srcdir/tests/cli/common.sh"

llama=$fixtures/llama

# config NAME PYTHON - a copy of post whose config c, a dict, Python has changed; `text` is what is written.
config() {
    rm -rf "$work/$1"
    copy "$llama/post" "$work/$1"
    python3 - "$work/$1/config.json" "$2" <<'P'
import json, sys
path, change = sys.argv[1:]
c = json.load(open(path))
names = {"c": c, "text": None, "json": json}
exec(change, names)
open(path, "w").write(names["text"] or json.dumps(c, indent=2))
P
}

# opens NAME WHAT - the checkpoint has the drift and the layers of the plain one.
run diff "$llama/pre" "$llama/post" --csv
cp "$out" "$work/expected.csv"
opens() {
    run diff "$llama/pre" "$work/$1" --csv
    check "$2: opens" cmp "$work/expected.csv" "$out"
}
# theta NAME VALUE WHAT - the rotary base of all layers.
theta() {
    run info "$work/$1"
    check "$3: theta $2" says "theta $2)"
}
# refused NAME PATTERN WHAT
refused() {
    run info "$work/$1"
    check "$3" complains 3 "$2"
}

# --- the JSON of Python ---
config floats "c.update(time_step_limit=[0.0, float('inf')], a=float('nan'), b={'c': -float('inf')})"
opens floats "NaN, Infinity and -Infinity"
config spelled "c.update(time_step_limit=[0.0, {'__float__': 'Infinity'}])"
opens spelled "Infinity as transformers 5 spells it"
config big "c.update(model_max_length=1000000000000000019884624838656); text = json.dumps(c)[:-1] + ', \"x\": 1e999}'"
opens big "numbers beyond 2^64 and beyond float64"
config crlf "text = '\ufeff' + json.dumps(c, indent=2).replace('\n', '\r\n')"
opens crlf "a byte order mark and CRLF"
config last "text = '{\"model_type\": \"gpt2\", \"num_attention_heads\": 3, ' + json.dumps(c)[1:]"
opens last "of equal keys the last counts"
config comment "text = '// by hand\n' + json.dumps(c)"
refused comment '/comment/config.json: not valid JSON (line 1, column 1)' "a comment"
config comma "text = json.dumps(c, indent=2)[:-2] + ',\n}'"
refused comma 'config.json: not valid JSON (line [0-9]*, column 1)' "a comma too many"

# --- rotary positions, as transformers 5 reads them ---
config v4 "c.pop('rope_parameters'); c.update(rope_theta=10000.0, rope_scaling=None, torch_dtype=c.pop('dtype'))"
opens v4 "the keys of transformers 4"
theta v4 10000 "  transformers 4"
config stale "c.update(rope_theta=7.0, rope_parameters={'rope_type': 'default', 'rope_theta': 500000.0})"
theta stale 500000 "a stale rope_theta beside rope_parameters"
llama3="'rope_type': 'llama3', 'factor': 8.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0,
    'original_max_position_embeddings': 64"
config llama3-v4 "c.pop('rope_parameters'); c.update(rope_theta=500000.0, rope_scaling={$llama3})"
config llama3-v5 "c.update(rope_parameters={'rope_theta': 500000.0, $llama3})"
config llama3-both "c.update(rope_theta=500000.0, rope_scaling={$llama3}, rope_parameters={})"
echo '1 2 3 4 5 6 7 8 9' >"$work/ids"
run range "$llama/pre" "$work/llama3-v5" --ids "$work/ids" --csv
cp "$out" "$work/llama3.csv"
for name in llama3-v4 llama3-both; do
    theta $name 500000 $name
    run range "$llama/pre" "$work/$name" --ids "$work/ids" --csv
    check "  and has the range of llama3-v5" cmp "$work/llama3.csv" "$out"
done
run range "$llama/pre" "$work/stale" --ids "$work/ids" --csv
check "  which plain angles have not" sh -c "[ $code -eq 0 ] && ! cmp -s '$work/llama3.csv' '$out'"
for key in rope_scaling:rope_type rope_scaling:type rope_parameters:rope_type; do
    config spiral "c.pop('rope_parameters'); c.update(rope_theta=10000.0, ${key%:*}={'${key#*:}': 'spiral', 'factor': 4.0})"
    theta spiral 10000 "an unknown scaling by $key"
    run range "$llama/pre" "$work/spiral" --ids "$work/ids"
    check "  is named" complains 3 'config.json: rope scaling "spiral" is not built in'
done

# --- nulls and nonsense ---
config nulls "c.update(head_dim=None, sliding_window=None, layer_types=None)"
opens nulls "nulls"
config no-head-dim "c.pop('head_dim')"
opens no-head-dim "no head_dim"
config kv-null "c.update(num_key_value_heads=None)"
run info "$work/kv-null"
check "a null that the tensors contradict is told" says 'layer 0: 2 key heads by its tensor, 4 by the config'
config strings "c.update(num_attention_heads='4')"
refused strings 'config.json: num_attention_heads is not a number (found "4")' "heads as text"
config nan "c.update(num_attention_heads=float('nan'))"
refused nan 'config.json: num_attention_heads is not a number (found "NaN")' "a NaN that is used"
config zero "c['rope_parameters']['rope_theta'] = 0"
refused zero 'rope_parameters.rope_theta is out of range (found 0, expected a number above 0)' "theta 0"
config upper "c.update(model_type='Llama')"
run info "$work/upper"
check "a model type in capitals is told" says 'model type "Llama" is not in the layout table'
config untyped "c.pop('model_type')"
opens untyped "no model type"

# --- what a broken download leaves ---
# leaves NAME FILE TEXT PATTERN - the text stands in place of the file.
leaves() {
    rm -rf "$work/$1"
    copy "$llama/post" "$work/$1"
    printf "$3" >"$work/$1/$2"
    refused "$1" "/$1/$2: $4" "$1 in place of $2"
}
pointer='version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 283688\n'
for file in model.safetensors config.json; do
    leaves pointer $file "$pointer" 'a Git LFS pointer, not the file itself'
    leaves page $file '\n<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n' 'a web page, not the file'
    leaves answer $file '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>' 'a web page, not the file'
done
rm -rf "$work/torch"
mkdir "$work/torch"
cp "$llama/post/config.json" "$work/torch"
printf "$pointer" >"$work/torch/pytorch_model.bin"
refused torch 'pytorch_model.bin: a Git LFS pointer' "a pointer in place of pytorch_model.bin"
printf "$pointer" >"$work/torch/model.safetensors.index.json"
refused torch 'model.safetensors.index.json: a Git LFS pointer' "a pointer in place of an index"
copy "$post" "$work/text"
printf "$pointer" >"$work/text/tokenizer.json"
run range "$pre" "$work/text"
check "a pointer in place of tokenizer.json" complains 3 '/text/tokenizer.json: a Git LFS pointer, not the file itself'
mkdir "$work/alone"
cp "$llama/post/model.safetensors" "$work/alone"
refused alone '/alone/config.json: no such file, and head_dim is not known without it' "weights without config.json"

# --- a head that is missing ---
copy "$post" "$work/headless"
python3 - "$work/headless" <<'P'
import json, struct, sys
folder = sys.argv[1]
b = open(folder + "/model.safetensors", "rb").read()
n = struct.unpack("<Q", b[:8])[0]
h, data = json.loads(b[8:8 + n]), b[8 + n:]
kept, out = {}, b""
for name, t in h.items():
    if name != "__metadata__" and "lm_head" not in name:
        begin, end = t["data_offsets"]
        kept[name] = dict(t, data_offsets=[len(out), len(out) + end - begin])
        out += data[begin:end]
j = json.dumps(kept).encode()
open(folder + "/model.safetensors", "wb").write(struct.pack("<Q", len(j)) + j + out)
c = json.load(open(folder + "/config.json"))
c["tie_word_embeddings"] = False
json.dump(c, open(folder + "/config.json", "w"))
P
run eval "$pre" "$work/headless" --cases "$QK_DEMO_DATA/cases/recall.jsonl"
check "a head that is not there" complains 3 '/headless: the output head lm_head.weight is missing, and tie_word_embeddings is false$'
done_testing
