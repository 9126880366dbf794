#!/bin/sh
# test_layouts.sh - every way of the table to store q and k, on checkpoints made by hand.
. "$srcdir/tests/cli/common.sh"

python3 "$tools/layouts_reference.py" make "$work" >"$work/names" || exit 1
mkfifo "$work/questions" "$work/answers"
python3 "$tools/layouts_reference.py" serve <"$work/questions" >"$work/answers" &
exec 3>"$work/questions" 4<"$work/answers"
# reference WORD... - the answer of layouts_reference.py.
reference() {
    echo "$*" >&3
    while read -r line <&4; do
        case $line in
        code*) return "${line#code }" ;;
        esac
        echo "$line"
    done
    return 1
}
quiet() {
    [ ! -s "$err" ]
}

while read -r name latent; do
    pair=$work/$name
    [ "$latent" != unknown ] || continue
    run info "$pair/post" --json
    check "$name: layers, heads, positions" eval 'reference info "$name" "$out" && quiet'
    run diff "$pair/pre" "$pair/post" --json
    check "  drift" reference drift "$name" "$work" "$out"
    if [ "$latent" = refused ]; then
        run export "$pair/pre" "$pair/post" --set all=restore -o "$work/out"
        check "  no choice" complains 2 'layer 0 cannot be chosen: .*hold rows of its heads and others'
        continue
    fi
    run export "$pair/pre" "$pair/post" --set all=restore -o "$work/out"
    check "  export" ended 0
    check "  restores q and k and no other byte" reference export "$name" "$work" "$work/out"
    run verify "$work/out"
    check "  and verifies" ended 0
    rm -rf "$work/out"
    heads=qk set=q0,k0
    case $name in
    fp8 | fp8_latent | mimo_v2_flash_parts) # the first query head ends in the middle of a block
        run export "$pair/pre" "$pair/post" --set all/q0=restore -o "$work/out"
        check "  a head that shares a block of scales is not restored alone" complains 3 \
            'layers.0.self_attn.q_[b_]*proj.weight: q0 cannot be chosen alone: .*found rows 0-[15], expected whole blocks of 4'
        heads=k set=k0
        ;;
    esac
    run export "$pair/pre" "$pair/post" --set "all/$set=restore" -o "$work/out"
    check "  export of the first heads" ended 0
    check "  restores their rows and no other byte" reference heads "$name" "$work" "$work/out" $heads
    run verify "$work/out"
    check "  and verifies" ended 0
    rm -rf "$work/out"
    [ -n "$latent" ] || continue
    run export "$pair/pre" "$pair/post" --set all=restore-latent -o "$work/out"
    check "  restore-latent takes what values are made of, too" \
        reference export "$name" "$work" "$work/out" with-latent
    run verify "$work/out"
    check "  and verifies" ended 0
    rm -rf "$work/out"
    run export "$pair/pre" "$pair/post" --set all:k=lerp:0.5 -o "$work/out"
    check "  blends of products are refused" complains 3 'kv_b_proj.weight: k of latent attention cannot be blended'
done <"$work/names"
run export "$work/fp8/pre" "$work/fp8/post" --set all:q=lerp:0.5 -o "$work/out"
check "8 bits with scales are not blended" complains 3 'q_proj.weight: q with scaled blocks cannot be blended'
# where no scales tell the order of fused rows, a row of the user's own does
pair=$work/mimo_v2_unscaled
run diff "$pair/pre" "$pair/post" --json
check "an order that nothing tells is refused" complains 3 'qkv_proj.weight holds \[q; k; v\] once, or in each of 2 parts, and no scales tell which: write "rows": "block" or "parts" into a layout row'
mkdir -p "$HOME/.config/qkscope/layouts"
sed 's/"by_scales"/"parts"/' "$srcdir/data/layouts/mimo_v2.json" >"$HOME/.config/qkscope/layouts/mimo_v2.json"
run diff "$pair/pre" "$pair/post" --json
check "and a row of the user's tells it" reference drift mimo_v2_unscaled "$work" "$out"
run export "$pair/pre" "$pair/post" --set all=lerp:1 -o "$work/out"
check "  whose rows are changed" reference export mimo_v2_unscaled "$work" "$work/out"
rm -rf "$work/out"
# a model that transformers wrote, with its q, k and v in two parts, and in one
model=$srcdir/tests/data/softmax/mimo_v2_flash
echo 7 3 11 2 5 9 1 4 8 6 10 12 7 3 11 2 5 9 1 4 8 6 10 12 >"$work/ids"
run range "$model" "$model" --ids "$work/ids" --json
cp "$out" "$work/apart"
for parts in 2 1; do
    reference fuse mimo_v2_parts "$model" "$work/fused-$parts" $parts
    run range "$work/fused-$parts" "$work/fused-$parts" --ids "$work/ids" --json
    check "the forward pass reads q, k and v in $parts" reference same mimo_v2_parts "$work/apart" "$out"
    sed 's/"by_scales"/"block"/' "$srcdir/data/layouts/mimo_v2.json" >"$HOME/.config/qkscope/layouts/mimo_v2.json"
done
rm -rf "$HOME/.config/qkscope/layouts"
run diff "$fixtures/deepseek_v3/pre" "$fixtures/deepseek_v3/post" --json
check "latent attention as transformers writes it" \
    reference drift deepseek_v3 "$fixtures" "$out"

# layers that use an earlier one's keys have q alone
pair=$work/gemma3n
for set in 2:k=restore 2=qk-pro:0.3 2=procrustes:0.5; do
    run export "$pair/pre" "$pair/post" --set "$set" -o "$work/out"
    check "q alone does not take $set" complains 2 'layer 2 cannot be .*keys are those of an earlier layer'
done
run export "$pair/pre" "$pair/post" --set all=qk-pro:0.3 --set 2:q=lerp:0.5 -o "$work/out"
check "a choice of all leaves out what it cannot be of" ended 0
run verify "$work/out"
check "  and q alone is blended" ended 0
run plan "$pair/pre" "$pair/post" --set all:k=restore
check "nor are keys that are not there restored" ended 0
done_testing
