#!/bin/sh
# test_range.sh - attention ranges: they come by themselves, order the list, follow choices, and are shown on the text.
. "$srcdir/tests/screen/lib.sh"
needles=

# go_to LAYER
go_to() {
    text ":layer $1"
    keys Enter
    wait_selected "$1"
}

# first_are NUMBERS - the layers at the top.
first_are() {
    case "$(order) " in
    "$1 "*) ;;
    *) return 1 ;;
    esac
}

start --no-needles # their curves would take room from the axis; r begins them
kept() {
    [ "$(find "$XDG_CACHE_HOME/qkscope" -name '*.states.safetensors' | wc -l)" = "$1" ]
}

check "the pass runs by itself, and rows get its numbers" wait_row 7 ' 6[0-9]\.[0-9] −0\.[0-9] '
check "what it came to is kept for the next time" until_true kept 2
check "of linear layers, too" wait_row 6 ' 1[0-9]\.[0-9] −0\.[0-9] '
wait_gone 'ranges '
text ':sort shift'
keys Enter
check "by shift layer 7 is the first" until_true first_are 7
check "a narrow list shows the number it is sorted by" wait_row 7 '0\.0[0-9][0-9] '
check "linear layers are between the full ones" until_true first_are '7 0 5 8 6'
text ':sort index'
keys Enter
go_to 8
check "a linear layer has coefficients" wait_for 'coefficient range *shift 0\.0'
go_to 7
check "the detail has histograms" wait_for 'attention range *shift 0\.0'
check "and of the shift what q and k alone make" wait_for 'shift 0\.01[0-9]* nats, q,k alone 0\.01'
check "over a logarithmic axis" wait_for 'layer *0 *1 *2 *4 *8 *16 *32 *64 *128 *256 *mean *≥128'
check "where nothing is chosen current is post" wait_for 'now−pre *as post'
keys Space Up
check "restoring changes current at once" wait_row 7 ' 6[0-9]\.[0-9]▸−0\.[0-9] *restore'
check "  with what is left of the shift" wait_for 'shift 0\.01[0-9]* nats, now [0-9]'
check "  and the differences from pre, with their signs" wait_for '^ now−pre .* −[0-9.]* *−0\.[0-9]*'
check "then exactly" wait_for 'attention range.* exact$'
keys u
check "undo takes it back" wait_for 'now−pre *as post'
rm -r "$XDG_CACHE_HOME/qkscope"
keys r
check "r runs the text again" until_true kept 2
wait_for 'now−pre *as post'
keys R
check "R shows the heads' other numbers" wait_gone 'attention range'
check "all of them" wait_for 'cosine'
keys R
check "and ranges again" wait_for 'attention range'
keys Tab
check "with the keys on the heads these are a head's" wait_for '^ q0 *0 *1 *2'
keys Right
check "that of the selected one" wait_for '^ q1 *0 *1 *2'
keys Escape
check "or the layer's again" wait_for '^ layer *0 *1 *2'
keys Enter
check "the whole screen has both" wait_for '^ q1 *0 *1 *2'
wait_for '^ layer *0 *1 *2'

wait_for 'needle ≥'
keys f
wait_for 'on a needle'
keys T
check "f shows attention on the text" wait_for 'attention of layer 7, q1, from token 509 of 510'
check "with the strongest tokens" wait_for '[0-9] *[0-9.]* *[0-9.]* *[0-9.]* .*[a-z]'
keys Left Left Left
check "Left looks from an earlier token" wait_for 'from token 506'
keys Right
check "Right from a later one" wait_for 'from token 507'
keys g
check "g from the first" wait_for 'from token 0 of'
check "which can only see itself" wait_for ' 0 *0 *1\.000 *1\.000 *1\.000'
keys G
check "G from the last" wait_for 'from token 509'
text ':query 100'
keys Enter
check ":query names one" wait_for 'from token 100'
text ':query 510'
keys Enter
check "that must be there" wait_for "'510' is no token of the probe (0 to 509)"
keys Escape
wait_gone 'no token'
keys /
text 'What is the code'
keys Enter
check "/ finds text in it" wait_for 'from token 3[0-9][0-9]'
keys Down
check "Down is the next head" wait_for 'layer 7, q2'
keys Tab
check "Tab shades by another side" wait_for 'shaded by post'
keys Tab Space
check "choices can be made here" wait_for '1 choice, not exported'
check "and stay with the layer" wait_for 'layer 7, q2'
keys u Enter
check "Enter goes back" wait_for 'choice *keep'
keys Escape
wait_row 7 keep
leave

start 140 40 --ascii
wait_row 7 ' 6[0-9]\.[0-9] -0\.[0-9] '
check "beside the detail rows have bars, too" wait_row 7 ' 7 full *#####* 10\.6 ####* *9\.61 #####* 15\.7 '
go_to 7
check "ASCII has histograms" wait_for 'now-pre *as post'
wait_for 'needle mass'
keys f
wait_for 'on a needle'
keys T
check "and the text" wait_for 'times even: less  >=1'
check "nothing is beyond ASCII" sh -c "! LC_ALL=C grep -q '[^ -~]' <<END
$(screen)
END"
keys q
wait_row 7 keep
printf 'one two\tthree\nfour five six' >"$work/probe.txt"
text ':probe probe.txt'
keys Enter
check ":probe takes a text" wait_for 'attention ranges over [0-9]* tokens'
keys f T
check "whose control characters are made visible" wait_for 'two\\tthree\\n$'
keys q
wait_row 7 keep
echo '5 6 7 8 9 10 11 12' >"$work/ids.txt"
text ':ids ids.txt'
keys Enter
check ":ids takes token ids" wait_for 'attention ranges over 8 tokens'
text ':ids nowhere.txt'
keys Enter
check "a missing file is reported" wait_for 'no attention ranges: .*nowhere.txt'
check "and what can be done" wait_for 'typed here as :states FILE'
check "rows have no range then" wait_row 7 ' - *keep'
ln -s "$QK_DEMO_DATA/golden-pre.safetensors" "$work/of pre"
ln -s "$QK_DEMO_DATA/golden-post.safetensors" "$work/of post"
COLUMNS=80 "$QKSCOPE" range "$pre" "$post" --states "$work/of post" >"$work/one.txt"
COLUMNS=80 "$QKSCOPE" range "$pre" "$post" --states "$work/of post" --states-pre "$work/of pre" >"$work/two.txt"
# mean FILE MODEL - the mean distance of layer 7 in that table: pre's or post's.
mean() {
    awk -v column="$2" '$1 == 7 { print $column }' "$work/$1"
}
# change FILE - post's mean minus pre's.
change() {
    awk '$1 == 7 { print ($4 > $3 ? "+" : "-") }' "$work/$1"
}
text ':layer 7'
keys Enter
text ':states of p'
keys Tab
text 'ost'
keys Enter
check ":states takes a file" wait_for 'attention ranges over 203 tokens'
check "that serves both models" wait_for "pre .* $(mean one.txt 3) "
text ':states of post of pr'
keys Tab
check "behind its name Tab completes a second" wait_for ':states of post of pre'
keys Enter
check "with pre's own states" wait_for "pre .* $(mean two.txt 3) "
check "pre looks otherwise then" test "$(mean one.txt 3)" != "$(mean two.txt 3)"
check "post as before" wait_for "post-pre .* $(change two.txt)[0-9]"
text ':states of post nowhere'
keys Enter
check "a missing second file is reported" wait_for 'no attention ranges: nowhere: '
wait_gone 'needles '
keys X
check "X reports when there is nothing to stop" wait_for 'stop: no pass'
leave

start 60 15
check "60x15 has the reach too" wait_row 7 ' 6[0-9]\.[0-9] −0\.[0-9]  *keep'
go_to 7
keys f
check "and the text" wait_for 'attention of layer 7'
check "with a list" wait_for 'token distance *pre *post'
leave

make_without_pass "$work/bare"
screen_start 200 30 "'$QKSCOPE' '$work/bare/pre' '$work/bare/post'"
check "a family without a forward pass says so in one line" wait_for 'no attention ranges: W shows why'
keys W
check "and why among the messages" wait_for 'no attention ranges: .*no forward pass'
keys q
keys j
check "in the detail too" wait_for '^.*│ *attention range$'
check "with what can be done" wait_for 'typed here as :states FILE'
keys f
check "f shows why" wait_for 'attention: .*no forward pass'
leave

make_both_ways "$work/both_ways"
screen_start 140 40 "'$QKSCOPE' '$work/both_ways/pre' '$work/both_ways/post'"
check "an estimate from weights is shown" wait_for 'no attention ranges, but an estimate from weights'
go_to 1
check "and called an estimate" wait_for 'estimate from weights: mean logit by distance'
check "of the layer" wait_for '│ layer *0 *1 *2 .*least *most'
check "on both sides" wait_for '│ pre .* -0\.13 *-0\.07$'
check "and of a head" wait_for '│ q0 *0 *1 *2 .*least *most'
check "with what gives more" wait_for ':states FILE gives the ranges'
leave

done_testing
