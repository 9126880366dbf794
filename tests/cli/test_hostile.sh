#!/bin/sh
# test_hostile.sh - wrong and hostile inputs: one clear line, the right code, nothing changed.
. "$srcdir/tests/cli/common.sh"

before=$(sums "$QK_DEMO_DATA")

# spoiled FAULT CODE PATTERN - the demo's post with that fault, in front of info and diff.
spoiled() {
    python3 "$tools/spoil.py" "$1" "$post" "$work/$1"
    run info "$work/$1"
    check "$1: info" complains "$2" "$3"
    run diff "$pre" "$work/$1"
    check "$1: diff" complains "$2" "$3"
    run export "$pre" "$work/$1" --set full=restore -o "$work/x"
    check "$1: export" complains "$2" "$3"
    check "$1: nothing is written" test ! -e "$work/x"
}
weights='model\.safetensors: '
spoiled truncated 3 "${weights}the data is cut short (found "
spoiled bad-json 3 "${weights}not valid JSON (line 1, column 2)"
spoiled huge-header 3 "${weights}header too large (found "
spoiled empty-file 3 "${weights}header too small (found a file of 0 bytes"
spoiled tiny-file 3 "${weights}header too small (found a file of 7 bytes"
spoiled short-header 3 "${weights}not valid JSON (line 1, column 33)"
spoiled no-object 3 "${weights}header does not start with '{'"
spoiled not-utf8 3 "${weights}not UTF-8"
spoiled twice 3 "${weights}.*q_proj.weight: tensor appears twice"
spoiled bad-shape 3 "${weights}.*layers.1.self_attn.q_proj.weight"
spoiled overflowing 3 "${weights}zero: the product of its shape overflows"
spoiled wrong-length 3 "${weights}.*q_proj.weight: data_offsets do not fit its shape (found "
spoiled backwards 3 "${weights}.*q_proj.weight: data_offsets run backwards"
spoiled hole 3 "${weights}.*q_proj.weight: a hole of 2 bytes"
spoiled overlap 3 "${weights}.*k_proj.weight: data_offsets overlap the tensor before it by 2 bytes"
spoiled extra-bytes 3 "${weights}4 bytes after the last tensor"
spoiled wrong-rows 3 'layers.1.self_attn.q_proj.weight.*(found .*, expected '
spoiled bad-config 3 'config.json: '
spoiled escaping-shard 3 'index.json: .*"../outside.safetensors" is not a .safetensors file'
spoiled missing-shard 4 'model-00002-of-00002.safetensors: cannot open: No such file'

mkdir "$work/empty"
run info "$work/empty"
check "an empty folder" complains 3 "empty: no .safetensors file and no pytorch_model.bin here"
mkdir "$work/torch"
touch "$work/torch/pytorch_model.bin"
run info "$work/torch"
check "an empty PyTorch file" complains 3 "pytorch_model.bin: not a PyTorch file"
run info "$work/nothing"
check "a path that is not there" complains 4 "nothing: cannot open: No such file or directory"
run info "$post/config.json"
check "a file that is no checkpoint" complains 3 "config.json: "
run info "$post/tokenizer.json/x"
check "a path through a file" complains 4 "Not a directory"
mkfifo "$work/pipe.safetensors"
timeout 600 "$QKSCOPE" info "$work/pipe.safetensors" >"$out" 2>"$err"
code=$?
check "a FIFO does not hang" complains 3 "neither a folder nor a regular file"
mkdir "$work/fifo"
cp "$post/config.json" "$work/fifo"
mkfifo "$work/fifo/model.safetensors"
timeout 600 "$QKSCOPE" info "$work/fifo" >"$out" 2>"$err"
code=$?
check "  nor does one in a folder" complains 3 "not a regular file"
ln -s loop.safetensors "$work/loop.safetensors"
run info "$work/loop.safetensors"
check "a link to itself" complains 4 "symbolic links"
run info /dev/zero
check "a device" complains 3 "neither a folder nor a regular file"
if [ "$(id -u)" -ne 0 ]; then
    copy "$post" "$work/locked"
    chmod 0 "$work/locked/model.safetensors"
    run info "$work/locked"
    check "a file that may not be read" complains 4 "cannot open: Permission denied"
else
    skip "a file that may not be read" "root may read everything"
fi

# --- names that would steer a terminal ---
spoiled control-shape 3 '\\x1b\[2J\\x1b\]0;owned\\x07\\x9b31m'
python3 "$tools/spoil.py" control-name "$post" "$work/control"
for command in "info" "info --json" "diff $pre" "diff --json $pre" "plan --set all=restore $pre"; do
    # shellcheck disable=SC2086
    run $command "$work/control"
    check "$command: control characters are made visible" sh -c "! LC_ALL=C grep -q '[^[:print:][:space:]]' '$err' && python3 -c \"
import re; assert not re.search('[\\\\x00-\\\\x08\\\\x0b-\\\\x1f\\\\x7f-\\\\x9f]', open('$out', encoding='utf-8').read())\""
done
esc=$(printf '\033')
run diff "$pre" "$work/${esc}[2Jname"
check "and so are those of operands" complains 4 '\\x1b\[2Jname'
run diff "$pre" "$post" --set "${esc}[2J"
check "  and of options" complains 2 "unknown option"
run plan "$pre" "$post" --set "${esc}[2J"
check "  and of their arguments" complains 2 '\\x1b\[2J'

# Every command that --help lists, over names that hold every such character.
mkdir "$work/hostile"
python3 "$tools/hostile_names.py" make "$QK_DEMO_DATA" "$work/hostile"
python3 "$tools/hostile_names.py" run "$QKSCOPE" "$work/hostile" >"$work/commands"
check "all commands were run" test "$(wc -l <"$work/commands")" -ge 15
while read -r verdict command; do
    check "hostile names: $command" test "$verdict" = ok
done <"$work/commands"
check "the inputs are unchanged" test "$before" = "$(sums "$QK_DEMO_DATA")"
done_testing
