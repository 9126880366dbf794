#!/bin/sh
# test_map.sh - the map of all heads: the worst one in two keys, its numbers, choices of single heads, and any size.
. "$srcdir/tests/screen/lib.sh"

# The head that drifted most, by the reference values of the pair: "layer 7 q0", and its rel. in per cent.
python3 - "$srcdir/data/tiny-hypenet/drift.json" >"$work/worst" <<'EOF'
import json
import sys
heads = [(head["rel_fro"], layer["index"], role, i) for layer in json.load(open(sys.argv[1]))["layers"]
         for role in "qk" for i, head in enumerate(layer.get(role, {}).get("heads", []))]
heads.sort(key=lambda head: -head[0])
for value, layer, role, i in heads[:2]:
    print(f"layer {layer} {role}{i}  {100 * value:.1f} %")
EOF
worst=$(sed -n 1p "$work/worst")
second=$(sed -n 2p "$work/worst")

start
keys M n
check "M n: the head that drifted most, in two keys" wait_for "^ $worst, number 1 of 88"
keys n
check "n: the next one" wait_for "^ $second, number 2 of 88"
keys N
check "N: back" wait_for "^ $worst, number 1 of 88"
keys N
check "there is none before the first" wait_for 'this is the hottest one'
head=$(echo "$worst" | cut -d ' ' -f 1-3)
keys Space
check "Space restores the head alone" wait_for "^ $head .*● restore"
check "  of its role and layer" wait_for "^ layer ${head#layer }\|^ layer [0-9]*: ${head##* } restore"
keys c
check "c: the current model, in which it has no drift" wait_for "^ $head  0 %, number 88 of 88"
check "  which the heading says" wait_for 'map: rel. %, current'
keys c u
wait_gone '● restore'
keys Enter
check "Enter opens the layer at that head" wait_for "^ choice *keep"
keys Space
check "  which Space restores there, too" wait_for "^ choice *${head##* } restore"
keys u M
check "M goes back to the map" wait_for 'map: rel. %, post'
keys g
check "g: the first layer" wait_for '^ layer 0 '
keys Down Right
check "arrows move" wait_for '^ layer 1 '
keys M
check "M: the next number" wait_for 'map: angle, degrees'
text ':metric mass'
keys Enter
check "a number that is not known says what it needs" wait_for 'needle masses have not been measured'
text ':metric nonsense'
keys Enter
check "an unknown one is refused" wait_for 'no number of heads (expected rel, angle'
keys Escape
wait_gone 'expected rel'
keys q
check "q goes back to the list" wait_row 1 full
check "  at the layer of the map" wait_selected 1
leave

start --ascii
keys M n
check "in ASCII the map is a ramp of digits" wait_for '^ *0 [0-9] [0-9] [0-9] [0-9]   [0-9] '
check "  and nothing else" eval "! screen | LC_ALL=C grep -q '[^ -~]'"
check "  with the same worst head" wait_for "^ $worst, number 1 of 88"
leave

# A model of 48 layers with 40 heads of q and of k.
"$QK_MAKE_PAIR" qwen3-next-80b --layers 48 --d 64 --heads 40,40 --head-dim 16 --vocab 64 --q-k-only "$work/large"
screen_start 120 40 "'$QKSCOPE' large/pre large/post --sort index --no-needles"
wait_for 'help' && wait_gone 'computing'
keys M n
check "two layers a row where they have no room of their own" wait_for '^ *46 ▀▀▀▀▀▀▀▀▀▀▀▀'
check "every head has its rank" wait_for 'number 1 of 3840$\|number 1 of 3840 '
$tmux resize-window -x 60 -y 15
check "a small screen scrolls to the pointer" until_true shows '^▶'
keys G End
check "  and to the last layer" wait_for '^▶ *46 '
for i in 1 2 3 4 5 6 7 8; do keys Right Right Right Right Right Right Right Right Right Right; done
check "  and to the last head" wait_for '^ layer 47 k39'
$tmux resize-window -x 200 -y 60
check "a large screen has a row for each layer" wait_for '^▶ *47 ▀▀▀'
leave

done_testing
