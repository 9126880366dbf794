#!/bin/sh
# test_names.sh - names with control characters, or that would break a layout: shown without effect.
. "$srcdir/tests/screen/lib.sh"

evil=$(printf 'p\033[31mre\033]0;title\007\302\233H')
wide='模型-チェックポイント-é'
ln -s "$pre" "$work/$evil"
ln -s "$post" "$work/$wide"
screen_start 100 30 "'$QKSCOPE' '$evil' '$wide'"
check "control characters of a name are written out" wait_for 'p\\x1b\[31mre'
check "C1 controls too" wait_for '\\x9bH'
check "wide names are shown" wait_for "$wide"
check "the right end of the title stays in its place" wait_for 'no choices$'
check "the pane's title was not set" sh -c "[ \"$($tmux display-message -p '#{pane_title}')\" != title ]"
keys e
check "the export goes beside, under post's own name" wait_for 'target *post-qkscope'
keys t C-u
text "$wide"
check "wide text can be typed" wait_for "export to $wide"
keys BSpace BSpace
check "and deleted by characters" wait_for 'export to 模型-チェックポイント$'
keys Escape
wait_gone 'export to'
keys q q
check "it ends well" wait_end 0
check "the terminal is as before" restored

# A file of weights gives its name without the ending.
screen_start 100 30 "'$QKSCOPE' '$QK_TEST_DATA/written_by_torch/pre' '$QK_TEST_DATA/written_by_torch/post/pytorch_model.bin'"
keys e
check "the export of a .bin goes to a folder that is not called so" wait_for 'target *pytorch_model-qkscope'
keys q q
check "  and it ends well" wait_end 0

# POST as an adapter.
"${PYTHON:-/usr/bin/python3}" "$srcdir/tests/cli/make_adapter.py" plain "$QK_TEST_DATA/fixtures/llama/pre" "$work/lora"
screen_start 100 30 "'$QKSCOPE' '$QK_TEST_DATA/fixtures/llama/pre' lora"
check "an adapter's pair opens" wait_for 'layer 0'
keys Space e w
check "  and is exported, merged" wait_for 'written to lora-qkscope'
keys q q
check "  and left" wait_end 0
check "  as the command line says" "$QKSCOPE" verify "$work/lora-qkscope"

# A tensor name with an escape in it, in a family that is guessed from names.
mkdir "$work/odd"
python3 - "$work/odd" <<'EOF'
import json, struct, sys, os
def write(side, shift):
    folder = os.path.join(sys.argv[1], side)
    os.mkdir(folder)
    json.dump({"model_type": "odd\x1b[2Jtype", "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 4,
               "hidden_size": 8, "num_hidden_layers": 1}, open(os.path.join(folder, "config.json"), "w"))
    header, data = {"__metadata__": {"a": "\x1b[2J"}}, b""
    for name in ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight",
                 "model.layers.0.\x1b[2J\x9bodd\u202e.weight"]:
        values = struct.pack("<64f", *[((i * 7 + shift) % 11) - 5.0 for i in range(64)])
        header[name] = {"dtype": "F32", "shape": [8, 8], "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    open(os.path.join(folder, "model.safetensors"), "wb").write(struct.pack("<Q", len(text)) + text + data)
write("pre", 0)
write("post", 3)
EOF
screen_start 80 24 "'$QKSCOPE' odd/pre odd/post"
check "a guessed family with hostile names opens" wait_for 'layer 0'
keys Space e w
check "and is exported" wait_for 'written to post-qkscope'
keys q q
check "and left" wait_end 0

done_testing
