#!/bin/sh
# test_side_files.sh - what lies beside the weights: states of training, hidden files, links, and folders that are made
# to harm.
. "$srcdir/tests/cli/common.sh"

# lists NAME SIZE - the last output has the file with that size.
lists() {
    grep -q "^ *$2  $1" "$out"
}
# under HEADING NAME - the last output has the name below that heading, before the next blank line.
under() {
    sed -n "/^$1/,/^\$/p" "$out" | grep -q -F "  $2"
}
# lacks FOLDER NAME... - none of the names is in the folder.
lacks() {
    folder=$1
    shift
    for name in "$@"; do
        [ ! -e "$folder/$name" ] || return 1
    done
}
# refused PATTERN TARGET - the last run was refused with one line, and nothing of the target is there.
refused() {
    complains 3 "$1" && [ ! -e "$2" ] && [ -z "$(ls -A "$(dirname "$2")" | grep qkscope-)" ]
}

# --- a folder as trainers leave it ---
copy "$post" "$work/trainer"
states='optimizer.pt optimizer.bin scheduler.pt scaler.pt rng_state.pth rng_state_0.pth training_args.bin trainer_state.json
    zero_to_fp32.py latest random_states_0.pkl __0_0.distcp adapter_config.json'
folders='global_step100 pytorch_model_fsdp_0 checkpoint-500 optimizer_0 runs'
for name in $states; do
    printf '0123456789' >"$work/trainer/$name"
done
for name in $folders; do
    mkdir "$work/trainer/$name"
    printf '0123456789' >"$work/trainer/$name/a.bin"
    printf '0123456789' >"$work/trainer/$name/.b"
done
ln -s checkpoint-500 "$work/trainer/checkpoint-last"
echo secret >"$work/trainer/.env"
mkdir -p "$work/trainer/.git/objects"
echo 1 >"$work/trainer/.git/objects/1"
echo 2 >"$work/trainer/.git/config"
echo text >"$work/trainer/.gitattributes"
echo picture >"$work/trainer/curve.png"

left='left out, for they are of the training (--everything copies them)'
run plan "$pre" "$work/trainer" --set full=restore
check "plan lists what an export leaves out" under "$left" optimizer.pt
for name in $states; do
    check "  $name, with its size" lists "$name" '10 B'
done
for name in $folders; do
    check "  $name/, with the size of all of it" lists "$name/ (2 files)" '20 B'
done
check "  and a link to one" under "$left" checkpoint-last/
check "plan lists hidden files" under 'copied, though hidden' .env
check "  and hidden folders, once" under 'copied, though hidden' '.git/ (2 files)'
check "  but not what every model has" sh -c "! grep -q gitattributes '$out'"
check "plan lists other files" under 'copied, though not of a model' curve.png
sed -n '/^left out/,$p' "$out" >"$work/planned"
run export "$pre" "$work/trainer" --set full=restore -o "$work/out" --dry-run
check "so does export --dry-run" sh -c "sed -n '/^left out/,/^would change/p' '$out' | sed '\$d' | sed '\$d' | cmp - '$work/planned'"
run export "$pre" "$work/trainer" --set full=restore -o "$work/out"
check "export leaves them out" lacks "$work/out" $states $folders checkpoint-last
check "  says so" under "$left" optimizer.pt
check "  and copies the rest" cmp "$work/trainer/.git/objects/1" "$work/out/.git/objects/1"
check "  which is a model" sh -c "'$QKSCOPE' diff '$pre' '$work/out' >/dev/null"
run verify "$work/out"
check "  verified" ended 0
rm "$work/trainer/checkpoint-last"
cp "$work/trainer/scaler.pt" "$work/out"
run verify "$work/out"
check "an export with some of it is not what its recipe says" ended 1

run export "$pre" "$post" --set full=restore -o "$work/plain"
check "a folder of a model alone says nothing of it" sh -c "! grep -q 'left out\|copied, though' '$out'"

run export "$pre" "$work/trainer" --set full=restore --everything -o "$work/whole"
check "export --everything" sh -c "[ $code -eq 0 ] && ! grep -q 'left out' '$out'"
check "  copies all of it" diff -r --exclude=model.safetensors --exclude=qkscope-recipe.json "$work/trainer" "$work/whole"
run verify "$work/whole"
check "  verified" ended 0
rm "$work/whole/scaler.pt"
run verify "$work/whole"
check "  a file of it that is gone is missed" sh -c "[ $code -eq 1 ] && grep -q 'scaler.pt: is missing' '$out' '$err'"
run export "$pre" "$work/trainer" --set full=restore --force -o "$work/whole"
check "an export replaces one with more files of post" ended 0
check "  which are gone then" lacks "$work/whole" optimizer.pt global_step100 adapter_config.json
echo mine >"$work/whole/latest.txt"
run export "$pre" "$work/trainer" --set full=restore --force -o "$work/whole"
check "  but not one with a file of the user's" sh -c "[ $code -eq 2 ] && grep -q 'holds latest.txt, which this export would not write' '$err'"

# the folder of an adapter, as Trainer leaves it
mkdir "$work/checkpoint-10"
python3 - "$tools" "$work/checkpoint-10" <<'PYTHON'
import json, struct, sys
sys.path.insert(0, sys.argv[1])
from stored_file import write_file
def factor(*shape):
    n = shape[0] * shape[1]
    return "F32", shape, struct.pack(f"<{n}f", *(0.01 * (i % 7) for i in range(n)))
at = "base_model.model.model.layers.1.self_attn.q_proj.lora_"
write_file(f"{sys.argv[2]}/adapter_model.safetensors", {at + "A.weight": factor(2, 128), at + "B.weight": factor(128, 2)})
json.dump({"peft_type": "LORA", "r": 2, "lora_alpha": 4}, open(f"{sys.argv[2]}/adapter_config.json", "w"))
open(f"{sys.argv[2]}/optimizer.pt", "w").write("0123456789")
PYTHON
run export "$pre" "$work/checkpoint-10" --set 1=restore --adapter -o "$work/adapter"
check "an adapter without its optimizer" under "$left" optimizer.pt
check "  but with its config" cmp "$work/checkpoint-10/adapter_config.json" "$work/adapter/adapter_config.json"
run verify "$work/adapter"
check "  verified" ended 0
run export "$pre" "$work/checkpoint-10" --set 1=restore --adapter --everything -o "$work/adapter-all"
check "  with everything" cmp "$work/checkpoint-10/optimizer.pt" "$work/adapter-all/optimizer.pt"
run verify "$work/adapter-all"
check "  verified" ended 0
run export "$pre" "$work/checkpoint-10" --set 1=restore -o "$work/merged"
check "a merged adapter has neither" lacks "$work/merged" adapter_config.json optimizer.pt
run verify "$work/merged"
check "  verified" ended 0

# --- links ---
mkdir -p "$work/home" "$work/linked"
echo hf_secret >"$work/home/token"
copy "$post/." "$work/linked"
ln -s tokenizer.json "$work/linked/same.json"
run export "$pre" "$work/linked" --set full=restore -o "$work/inside"
check "a link within the folder is copied as what it leads to" cmp "$post/tokenizer.json" "$work/inside/same.json"
ln -s ../home/token "$work/linked/merges.txt"
run export "$pre" "$work/linked" --set full=restore -o "$work/none"
check "a link out of the folder is refused" refused 'merges.txt: a link out of the folder, to .*/home/token' "$work/none"
run plan "$pre" "$work/linked" --set full=restore
check "  a plan goes on, and says so" sh -c "[ $code -eq 0 ] && grep -q 'an export would be refused: .*merges.txt: a link out' '$err'"
run export "$pre" "$work/linked" --set full=restore --follow-links -o "$work/followed"
check "  and copied when links are followed" cmp "$work/home/token" "$work/followed/merges.txt"
run verify "$work/followed"
check "  verified" ended 0
rm "$work/linked/merges.txt"
ln -s ../home "$work/linked/assets"
run export "$pre" "$work/linked" --set full=restore -o "$work/none"
check "a link to a folder outside is refused" refused 'assets: a link out of the folder, to .*/home' "$work/none"
rm "$work/linked/assets"
ln -s ../home/token "$work/linked/optimizer.pt"
run export "$pre" "$work/linked" --set full=restore -o "$work/left"
check "a link that is left out refuses nothing" lacks "$work/left" optimizer.pt
rm "$work/linked/optimizer.pt"
mv "$work/linked/model.safetensors" "$work/home"
ln -s ../home/model.safetensors "$work/linked"
run export "$pre" "$work/linked" --set full=restore -o "$work/weights"
check "weights may be links" ended 0
check "  and become files" sh -c "[ ! -L '$work/weights/model.safetensors' ]"
cp "$post/config.json" "$work/home"
ln -s ../trainer/.env "$work/home/notes.txt"
run export "$pre" "$work/home/model.safetensors" --set full=restore -o "$work/none"
check "a link beside a single file" refused 'notes.txt: a link out of the folder' "$work/none"

# a snapshot of the hub's cache: links into "blobs"
hub=$work/hub/models--o--n
mkdir -p "$hub/snapshots/abc/sub" "$hub/blobs"
for file in "$post"/*; do
    name=$(basename "$file")
    cp "$file" "$hub/blobs/$name"
    ln -s "../../blobs/$name" "$hub/snapshots/abc/$name"
done
ln -s ../../../blobs/config.json "$hub/snapshots/abc/sub/deep.json"
run export "$pre" "$hub/snapshots/abc" --set full=restore -o "$work/from-hub"
check "links into the hub's blobs are copied" cmp "$post/config.json" "$work/from-hub/sub/deep.json"
run verify "$work/from-hub"
check "  verified" ended 0
ln -s ../../refs "$hub/snapshots/abc/other.txt"
echo abc >"$hub/refs"
run export "$pre" "$hub/snapshots/abc" --set full=restore -o "$work/none"
check "  not those to anything else of the cache" refused 'other.txt: a link out of the folder' "$work/none"

# --- folders that are made to harm ---
copy "$post" "$work/bomb"
python3 - "$work/bomb/x" <<'PYTHON'
import os, sys
for i in range(31):
    os.makedirs(f"{sys.argv[1]}/d{i:02}")
for i in range(30):
    for name in "ab":
        os.symlink(f"../d{i + 1:02}", f"{sys.argv[1]}/d{i:02}/{name}")
PYTHON
run export "$pre" "$work/bomb" --set full=restore -o "$work/none"
check "2^30 entries by 30 folders of links" refused 'leads to a folder that was listed under another name' "$work/none"
run export "$pre" "$work/bomb" --set full=restore --follow-links -o "$work/none"
check "  also when links are followed" refused 'leads to a folder that was listed under another name' "$work/none"
cp -r "$work/plain" "$work/bombed"
cp -r "$work/bomb/x" "$work/bombed"
run verify "$work/bombed"
check "  and in an export that is verified" complains 3 'leads to a folder that was listed under another name'
copy "$post" "$work/loop"
ln -s . "$work/loop/self"
run export "$pre" "$work/loop" --set full=restore -o "$work/none"
check "a link to its own folder" refused 'self: leads to a folder that was listed' "$work/none"

copy "$post" "$work/many"
python3 - "$work/many/objects" <<'PYTHON'
import os, sys
for name in range(20):
    os.makedirs(f"{sys.argv[1]}/{name}")
    for i in range(20):
        open(f"{sys.argv[1]}/{name}/{i}", "w").write(f"{name} {i}")
PYTHON
# limited SOFT HARD ARGUMENT... - run with these limits of open files; a shell itself needs more than some of them.
limited() {
    out=$work/printed
    err=$work/messages
    python3 -c 'import os, resource, sys
os.closerange(3, 256) # those of who started the test would count
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
os.execv(os.environ["QKSCOPE"], ["qkscope"] + sys.argv[3:])' "$@" >"$out" 2>"$err" </dev/null
    code=$?
}
limited 32 32 export "$pre" "$work/many" --set full=restore -o "$work/few"
check "400 side files with 32 open ones" ended 0
check "  all are there" diff -r "$work/many/objects" "$work/few/objects"
limited 32 32 verify "$work/few"
check "  verified" ended 0
# Each limit stops the export at another file: in the inputs, in the listing, in the copies.
clean_at_any_limit() {
    stopped=0
    for n in 5 6 7 8 9 10; do
        limited "$n" "$n" export "$pre" "$work/many" --set full=restore -o "$work/at/out$n"
        [ "$code" -eq 0 ] || stopped=$((stopped + 1))
        [ "$code" -eq 0 ] || grep -q 'Too many open files' "$err" || return 1
        [ "$code" -eq 0 ] || [ ! -e "$work/at/out$n" ] || return 1
        [ -z "$(ls -A "$work/at" | grep qkscope-)" ] || return 1
    done
    [ "$stopped" -ge 3 ]
}
mkdir "$work/at"
check "where no file can be opened any more, nothing is left" clean_at_any_limit
limited 5 64 export "$pre" "$post" --set full=restore -o "$work/soft"
check "the soft limit of open files is raised" ended 0

# --- a target that is a link ---
mkdir "$work/real"
echo mine >"$work/real/file"
ln -s real "$work/link"
for target in link link/ link//; do
    run export "$pre" "$post" --set full=restore --force -o "$work/$target"
    check "-o $target: a link is refused" complains 2 'link: is a link: name the folder itself'
done
ln -s nowhere "$work/dangling"
run export "$pre" "$post" --set full=restore -o "$work/dangling/"
check "  also one that leads nowhere" complains 2 'dangling: is a link'
check "  nothing was touched" sh -c "[ -L '$work/link' ] && [ -L '$work/dangling' ] && [ \"\$(ls '$work/real')\" = file ] && [ ! -e '$work/nowhere' ]"
run export "$pre" "$post" --set full=restore -o "$work/slashes//"
check "slashes at the end of a new name" sh -c "[ $code -eq 0 ] && [ -f '$work/slashes/config.json' ]"
run export "$pre" "$post" --set full=restore -o "$work/link/below"
check "a new folder below a link" sh -c "[ $code -eq 0 ] && [ -f '$work/real/below/config.json' ]"
done_testing
