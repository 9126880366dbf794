#!/bin/sh
# test_torch.sh - PyTorch files: read as the same tensors of safetensors are, exported, and refused when hostile.
. "$srcdir/tests/cli/common.sh"
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE

# as_torch SOURCE TARGET [OPTION...] - a checkpoint folder as one of PyTorch files, or a folder of both sides.
as_torch() {
    from=$1 to=$2
    shift 2
    python3 "$tools/make_torch.py" "$@" "$from" "$to" && chmod -R u+w "$to"
}

# same_diff WHAT PRE POST - the drifts are byte for byte those that are in $work/expected, but for the paths.
same_diff() {
    run diff --json "$2" "$3"
    grep -v '"path":' "$out" >"$work/found"
    check "$1" cmp "$work/expected" "$work/found"
}

# --- the same numbers ---
options=
for folder in "$fixtures"/*; do
    family=${folder##*/}
    [ -d "$folder/pre" ] || continue # one side alone, for its forward pass
    [ "$family" != deepseek_v3 ] || continue
    # shellcheck disable=SC2086
    as_torch "$folder" "$work/$family" $options
    run diff --json "$folder/pre" "$folder/post"
    grep -v '"path":' "$out" >"$work/expected"
    check "$family: there is a drift" grep -q '"rel_fro":' "$work/expected"
    same_diff "  of PyTorch files the same ($options)" "$work/$family/pre" "$work/$family/post"
    case $options in # each family in another form
    '') options='--shards 3' ;;
    --shards*) options='--wrap state_dict' ;;
    --wrap*) options='--protocol4' ;;
    --protocol4) options='--one-storage' ;;
    *) options= ;;
    esac
done

as_torch "$pre" "$work/pre"
as_torch "$post" "$work/post"
as_torch "$post" "$work/sharded" --shards 3 --one-storage
run diff --json "$pre" "$post"
grep -v '"path":' "$out" >"$work/expected"
same_diff "one side of each format" "$pre" "$work/post"
same_diff "  and the other way round" "$work/pre" "$post"
as_torch "$post" "$work/deflated" --deflate
same_diff "  and of records that are compressed" "$pre" "$work/deflated"
same_diff "a file by its name" "$work/pre/pytorch_model.bin" "$work/post/pytorch_model.bin"
mv "$work/pre/pytorch_model.bin" "$work/pre/mine.pt"
same_diff "  whatever the name is" "$work/pre/mine.pt" "$work/sharded/pytorch_model.bin.index.json"
run info "$work/pre"
check "a folder of other PyTorch files" complains 3 "no pytorch_model.bin here (name the file itself if it is mine.pt)"
mv "$work/pre/mine.pt" "$work/pre/pytorch_model.bin"
run info "$work/sharded"
check "info lists the shards" says '^ .* MB  pytorch_model-00003-of-00003.bin$'
run range --json "$pre" "$post"
grep -v '"path":' "$out" >"$work/expected"
run range --json "$work/pre" "$work/post"
grep -v '"path":' "$out" >"$work/found"
check "the forward pass is the same" cmp "$work/expected" "$work/found"

run export "$pre" "$work/deflated" --set full=restore -o "$work/deflated.restored"
check "an export of compressed records" ended 0
run verify "$work/deflated.restored"
check "  is verified" ended 0
check "  and a whole zip archive" python3 -m zipfile -t "$work/deflated.restored/pytorch_model.bin"
as_torch "$post" "$work/both"
cp "$post/model.safetensors" "$work/both"
echo broken >"$work/both/pytorch_model.bin"
run info "$work/both"
check "safetensors win in a folder that has both" says '^  1 file, 5.47 MB, 154 tensors'
sed -i 's/pytorch_model-00002-of-00003.bin/..\/x.bin/' "$work/sharded/pytorch_model.bin.index.json"
run info "$work/sharded"
check "an index that leads out of its folder" complains 3 '"../x.bin" is not a .bin file in this folder'
rm -r "$work/sharded"
as_torch "$post" "$work/sharded" --shards 3 --one-storage

# --- export ---
before=$(sums "$work/pre" "$work/post" "$work/sharded")
run export "$pre" "$post" --set full=restore --set 2=lerp:0.5 -o "$work/plain"
run diff --json "$pre" "$work/plain"
grep -v '"path":' "$out" >"$work/expected"
for form in post sharded; do
    run export "$work/pre" "$work/$form" --set full=restore --set 2=lerp:0.5 -o "$work/restored"
    check "export of $form" ended 0
    same_diff "  has the tensors that the one of safetensors has" "$pre" "$work/restored"
    run verify "$work/restored"
    check "  is verified" ended 0
    for file in "$work/restored"/*.bin; do
        check "  and a whole zip archive: ${file##*/}" python3 -m zipfile -t "$file"
    done
    last=$file
    printf 'x' | dd of="$last" bs=1 seek=$(($(stat -c %s "$last") - 60)) conv=notrunc 2>/dev/null
    run verify "$work/restored"
    check "  damage behind the tensors is found" sh -c "[ $code -eq 1 ] && grep -q 'differs from post' '$err'"
    rm -r "$work/restored"
done
run export "$work/pre" "$post" --set full=restore -o "$work/restored"
check "export of safetensors with a PyTorch pre" ended 0
run export "$pre" "$work/post" --set full=restore --patch-only -o "$work/patch"
check "a patch" ended 0
run verify "$work/patch"
check "  is verified" ended 0
run plan "$work/pre" "$work/post" --set full=restore -o "$work/recipe.json"
check "a recipe" ended 0
run export "$work/pre" "$work/post" --recipe "$work/recipe.json" -o "$work/replayed"
check "  is replayed" ended 0
check "  and the sums of what it changed are mended" python3 -m zipfile -t "$work/replayed/pytorch_model.bin"
run export "$work/pre" "$work/replayed" --recipe "$work/recipe.json" -o "$work/again"
check "  but not on other files" complains 3 "pytorch_model.bin"
check "the inputs are unchanged" test "$before" = "$(sums "$work/pre" "$work/post" "$work/sharded")"
python3 - "$tools" "$post" "$work" <<'PYTHON'
import os, shutil, sys
sys.path.insert(0, sys.argv[1])
import make_torch as t
post, work = sys.argv[2:]
tensors, storages = {}, {}
for name, (dtype, shape, data) in t.read_safetensors(post + "/model.safetensors").items():
    key = name.replace("layers.4.self_attn.q_proj", "layers.7.self_attn.q_proj")  # one storage for both
    storages[key] = data
    tensors[name] = t.Tensor(dtype, shape, key, len(data))
os.mkdir(work + "/tied")
shutil.copy(post + "/config.json", work + "/tied")
t.write(work + "/tied/pytorch_model.bin", t.archive("tied", t.state_dict_pickle(tensors), storages))
PYTHON
run diff "$pre" "$work/tied"
check "tensors may share a storage" ended 0
run export "$pre" "$work/tied" --set 7=restore -o "$work/x"
check "  but are not changed alone" complains 3 "layers.7.self_attn.q_proj.weight: shares its bytes with .*layers.4.self"
run export "$pre" "$work/tied" --set 1=restore -o "$work/x"
check "  others are" ended 0

# --- files that torch itself wrote ---
real=$QK_TEST_DATA/written_by_torch
python3 - "$real" "$work/real" <<'PYTHON'
import json, os, shutil, struct, sys
real, target = sys.argv[1:]
encode = {"F32": lambda v: struct.pack("<f", v), "F16": lambda v: struct.pack("<e", v),
          "BF16": lambda v: struct.pack("<f", v)[2:], "I64": lambda v: struct.pack("<q", v)}
for side, add in ("pre", 0), ("post", 1):
    header, data = {}, b""
    def put(name, shape, first=0, n=None, dtype="BF16", add=0):
        global data
        n = n or shape[0] * shape[-1] if len(shape) > 1 else shape[0]
        raw = b"".join(encode[dtype](i % 31 - 15 + add) for i in range(first, first + n))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    layer = "model.layers.0."
    put("model.embed_tokens.weight", [4, 8])
    put("lm_head.weight", [4, 8])
    put(layer + "self_attn.q_proj.weight", [8, 8], add=add)
    put(layer + "self_attn.k_proj.weight", [4, 8], first=64, add=add)
    put(layer + "self_attn.v_proj.weight", [4, 8], first=96, add=add)
    put(layer + "self_attn.o_proj.weight", [8, 8], dtype="F16")
    for name in "gate", "up":
        put(layer + "mlp.%s_proj.weight" % name, [4, 8])
    put(layer + "mlp.down_proj.weight", [8, 4])
    for name in layer + "input_layernorm", layer + "post_attention_layernorm", "model.norm":
        put(name + ".weight", [8], dtype="F32")
    header["position_ids"] = {"dtype": "I64", "shape": [4], "data_offsets": [len(data), len(data) + 32]}
    data += struct.pack("<4q", 0, 1, 2, 3)
    os.makedirs(target + "/" + side)
    shutil.copy(real + "/" + side + "/config.json", target + "/" + side)
    text = json.dumps(header).encode()
    with open(target + "/" + side + "/model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
PYTHON
run diff --json "$work/real/pre" "$work/real/post"
grep -v '"path":' "$out" >"$work/expected"
check "there is a drift of counted numbers" grep -q '"rel_fro":[[:space:]]*0\.[0-9]*[1-9]' "$work/expected"
same_diff "  and torch's own files have the same, in protocols 2 and 5" "$real/pre" "$real/post"
run export "$real/pre" "$real/post" --set full=restore -o "$work/real/restored"
check "  are exported" ended 0
check "  into a whole zip archive" python3 -m zipfile -t "$work/real/restored/pytorch_model.bin"
python3 - "$real/pre" "$real/post" "$work/real/restored" >"$work/real/changed" <<'PYTHON'
import sys, zipfile
pre, post, out = (zipfile.ZipFile(folder + "/pytorch_model.bin") for folder in sys.argv[1:])
for name in post.namelist():
    a, b, c = pre.read(name), post.read(name), out.read(name)
    if b != c:  # q and k are the first 12 of 16 rows of 8
        print(name, c == a[:192] + b[192:])
PYTHON
check "  of which q and k alone change, v beside them in the storage does not" \
    sh -c "[ \"\$(sed 's|.*/data/||' '$work/real/changed')\" = '1 True' ]"

# --- hostile files ---
python3 "$tools/spoil_torch.py" "$work" >"$work/list"
while read -r fault pattern; do
    timeout 600 "$QKSCOPE" info "$work/$fault.bin" >"$out" 2>"$err" </dev/null
    code=$?
    check "$fault" complains 3 "$fault.bin: $pattern"
    echo "$fault" >>"$work/tried"
done <<'FAULTS'
os-system the pickle uses os.system, which a checkpoint does not need
posix-system the pickle uses posix.system, which
eval the pickle uses builtins.eval, which
stack-global the pickle uses os.system, which
beside the pickle uses os.system, which
reduce the pickle calls torch.FloatStorage, which is not a function
build the pickle is broken: found a list, expected a dict
inst the pickle uses os.system, which
obj the pickle uses the opcode 0x6f (OBJ), which
newobj the pickle uses the opcode 0x81 (NEWOBJ), which
nested holds a list, not a state dict
deep-stack the pickle has too many
memo the pickle uses memo slot 4294967295 before slot 0
memo-many the pickle has too many memo slots
long-text the pickle is broken: it is cut short
long-number the pickle has a whole number of 255 bytes
long-frame no tensors in its state dict
deeper evil: found a dict, expected a tensor
a-list holds a list, not a state dict
bomb archive/data.pkl: too large (found 33554432 bytes, at most [0-9]*, those of the archive)
large-bomb archive/data.pkl: too large
lying-bomb archive/data.pkl: longer than the directory says
overlapping archive/data/0: its header differs from its entry in the directory
overlapping-data archive/data/0: overlaps archive/data.pkl
compressed-storage layers.0.q: its storage archive/data/0 is compressed
twice archive/data/0: is twice
past-end archive/data/0: its data runs past the end
no-pickle not a PyTorch file (no data.pkl
no-storage layers.0.q: its storage archive/data/0 is missing
big-endian byteorder: found "big", expected "little"
encrypted archive/data/0: is encrypted
other-header archive/data/0: its header differs from its entry
bad-sum archive/data.pkl: CRC error (found [0-9a-f]*, expected [0-9a-f]*)
deflated-bad-sum archive/data.pkl: CRC error (found [0-9a-f]*, expected [0-9a-f]*)
deflated-shorter archive/data.pkl: shorter than the directory says (found 230 bytes, expected 231)
deflated-longer archive/data.pkl: longer than the directory says (found 230 bytes, expected 229)
deflated-cut archive/data.pkl: its compressed data is cut short
deflated-empty archive/data.pkl: its compressed data is cut short
deflated-broken archive/data.pkl: its compressed data is broken (invalid block type)
deflated-zlib archive/data.pkl: its compressed data is broken (invalid
deflated-more archive/data.pkl: its compressed data ends before its record (found
deflated-much-more archive/data.pkl: its compressed data ends before its record (found
other-method archive/data.pkl: its compression is not known (found method 12, expected 0 or 8)
other-stored-size archive/data.pkl: stored with another size
other-disk not a whole zip archive: it is one of several
many-entries its directory of .* bytes cannot hold 1152921504606846976 entries
far-directory not a whole zip archive: its directory is not where
huge-directory its directory is too large
truncated not a whole zip archive: .* cut short
half not a whole zip archive: .* cut short
empty not a PyTorch file
bare-pickle the old PyTorch format (from .*: convert it to safetensors
tar the old PyTorch format (from .*: convert it to safetensors
other-size layers.0.q: its storage archive/data/0 has another size (found 24 bytes, expected 28)
short-storage layers.0.q: runs past the end of its storage
transposed layers.0.q: is a view that is not contiguous
strided layers.0.q: is a view that is not contiguous
negative-stride layers.0.q: is a view that is not contiguous
negative-offset layers.0.q: begins outside of its storage
far-offset layers.0.q: runs past the end of its storage
overflowing-offset layers.0.q: begins outside of its storage
overflowing-shape layers.0.q: the product of its shape overflows
negative-shape layers.0.q: its shape holds a negative number
unknown-function the pickle uses torch._utils._rebuild_sparse_tensor, which
unknown-storage the pickle uses torch.QInt8Storage, which
FAULTS
check "every fault was tried" cmp "$work/list" "$work/tried"
done_testing
