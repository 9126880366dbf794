#!/bin/sh
# test_needles.sh - needle masses: they come by themselves and order the list, heads are restored one by one, and the
# text shows the needle.
. "$srcdir/tests/screen/lib.sh"
needles=
short=$srcdir/tests/data/needle/short.jsonl # the same prompts, fewer and shorter

# begin COLUMNS ROWS [OPTION...] - the demo pair as a user starts it, until the masses are known.
begin() {
    size="$1 $2"
    shift 2
    # shellcheck disable=SC2086
    screen_start $size "'$QKSCOPE' pre post $*"
    wait_for 'help' && wait_row 7 '\.[0-9][0-9]-*[→>]\.[0-9][0-9]\|6[0-9]\.[0-9] [−-]0\.[0-9]'
}
first_is() {
    case "$(order) " in
    "$1 "*) ;;
    *) return 1 ;;
    esac
}
ascii_alone() {
    ! screen | LC_ALL=C grep -q '[^ -~]'
}

begin 80 24
check "the layer that lost most is the first" until_true first_is 7
check "  and selected while no key has been pressed" wait_selected 7
check "  which a message says" wait_for 'sorted by drop'
check "its row has the head with the drop" wait_row 7 ' q2 \.83→\.70 '
check "the map has masses" wait_for '^ mass post .*0\.844 .*0\.701 '
check "  and drops" wait_for '^ mass drop .*0\.080 .*0\.126 '
check "the curve is beside the histograms" wait_for 'mean  ≥128% *q2 needle ≥32$'
check "  with the mass of that head" wait_for '^ pre .* 0\.827$'
keys Enter
check "the whole screen has them, too" wait_for '^ *q2 .* 0\.827 *0\.701 *0\.126 '
keys Space
check "Space restores the head" wait_for '^ choice *q2 restore'
check "  which the map marks" wait_for '^ ●q2 '
check "  and gives its mass at once" wait_for '^ ●q2 .* 0\.827 *0\.701 *0\.730 '
check "  as does the curve" wait_for '^ now−pre .* −0\.097$'
keys Left Space
check "another head joins it" wait_for '^ choice *q1-2 restore'
keys q
check "the list counts heads" wait_row 7 'q 2/4$'
check "  and shows the new mass" wait_row 7 '\.83→\.70→\.73 '
keys u u
wait_row 7 ' keep$'
keys Enter 3
check "3 restores the group of the head" wait_for '^ choice *q0-1 restore  k0 restore'
keys q
check "  which the list counts" wait_row 7 'q 2/4 k 1/2$'
keys Enter 3
check "3 again keeps it" wait_for '^ choice *keep'
keys Right Right Right Right Space
check "Space on a key head restores that" wait_for '^ choice *k1 restore'
keys u
wait_for '^ choice *keep'

keys Left Left Left Left f
check "f opens on a needle, where the answer begins" wait_for 'layer 7, q1, on a needle, from token 470 of 474'
check "  which is in brackets" wait_for 'is \[[0-9]*\]\. '
check "  and so is the answer" wait_for 'It is \[[0-9]'
check "its token has the attention" wait_for '^ *[0-9]* *249 *0\.7[0-9]* '
keys Space
check "Space restores the head there" wait_for '1 choice, not exported'
keys u T
check "T goes to the probe text" wait_for 'q1, from token 509 of 510'
keys T
check "  and back" wait_for 'on a needle, from token 470'
keys f
check "f closes it" wait_for '^ choice *keep'
keys q
wait_row 7 ' keep$'

keys 3
check "in the list 3 says who has the keys" wait_for 'restore-group: the list has the keys'
keys Space
check "  and Space restores the layer" wait_row 7 ' restore$'
keys u
wait_row 7 ' keep$'
keys Tab Space
check "with the keys on the heads Space is for them" wait_for 'layer 7: q[0-9] restore'
keys u Escape
wait_row 7 ' keep$'
text ':set drop>0.05=restore'
keys Enter
check ":set takes tests of drop" wait_row 7 'q 2/4$'
keys u b /
text 'needle>0.5'
keys Enter
check "b takes tests of mass" wait_for '1 layer marked'
keys Escape
wait_gone 'marked'
text ':sort needle'
keys Enter
check "the list can be sorted by mass" wait_row 7 ' q1 \.92→\.84 '
leave

screen_start 80 24 "'$QKSCOPE' pre post --needles '$short' --set 'drop>0.065=restore'"
wait_for 'help'
# second - the key has moved on from the first row: in the order of the layers, or by drop where the masses were quicker.
second() {
    layer=$(selected)
    [ "$layer" = 1 ] || [ "$layer" = 9 ]
}
keys j
check "a key goes down a row" until_true second
check "a --set text waits for the masses" wait_row 7 'q 2/4$'
check "the layer under the hands stays" wait_selected "$layer"
check "  in the order of drop" until_true first_is 7
leave

begin 140 40 --ascii --needles "'$short'"
check "beside the detail the list has masses" wait_row 7 ' q2 \.78->\.70\| \.78->\.70'
check "  the curve has a part of its own" wait_for 'needle mass *drop 0\.081 +- 0\.036'
check "  over an axis of distance" wait_for '| q2 *32 *64 *128 *mass *+-'
check "nothing is beyond ASCII" ascii_alone
keys Enter f
wait_for 'on a needle'
check "  nor on the text" ascii_alone
check "  which marks the needle" wait_for 'is \[[0-9]*\]\. '
leave

export NO_COLOR=1
begin 80 24 --sort index --needles "'$short'"
check "--sort gives another order" until_true first_is '0 1 2 3'
text ':layer 7'
keys Enter Enter
check "without colour the masses come, too" wait_for 'q0 needle ≥32$'
keys Right Space
check "a head with a choice is marked by a sign" wait_for '^ ●q1 '
keys m l
check "m is about the head" wait_for '^ choice *q1 lerp 0\.5$'
keys +
check "  + raises its parameter" wait_for '^ choice *q1 lerp 0\.55$'
keys m q
check "  a mode of q and k acts on the group" wait_for '^ choice *q0-1 qk-pro 0\.3  k0 qk-pro 0\.3$'
keys u u u
wait_for '^ choice *q1 restore$'
leave
unset NO_COLOR

# --- every part of the panel in its place ---
begin 140 40 --sort index --needles "'$short'"
text ':layer 11'
keys Enter
check "the needle of a linear layer is in the panel" wait_for 'needle mass  drop'
check "  and the footer below it is whole" wait_for '^ *? help .*q quit'
leave

# --- prompts of a file, and proposals ---
begin 80 24 --needles "'$short'"
check "--needles takes prompts of a file" wait_for 'needle masses on 6 prompts of'
keys '!'
check "! shows proposals" wait_for 'proposals, from needle masses on 6 prompts'
check "  with the heads" wait_for '^ *7/q1 *full *0\.938 *0\.869 *0\.069 *±0\.008$'
check "  the whole reason" wait_for 'fine-tuning made it\.$'
for size in '1 1' '300 3' '60 15' '400 100' '80 24'; do
    $tmux resize-window -x "${size% *}" -y "${size#* }"
    keys Down Up PageDown Home
done
check "  at every size" wait_for '^ *7/q1 *full *0\.938'
keys Down Down
check "the last one is shown when it is selected" wait_for '^ *full=restore$'
keys Up Up Enter
check "Enter chooses the selected one" wait_row 7 'Q keep  K restore$'
check "  which the message names" wait_for '^ careful: 7:k=restore; u takes that back$'
keys u
wait_row 7 ' keep$'
text ':needles missing.jsonl'
keys Enter
check ":needles says why a file cannot be read" wait_for 'no needle masses: missing\.jsonl: cannot open'
keys '!'
check "  and so does !" wait_for 'suggest: missing\.jsonl'
text ":needles $short"
keys Enter
check ":needles measures those of another file" wait_for 'needle masses on 6 prompts of'
leave
screen_start 80 24 "'$QKSCOPE' pre post --no-needles"
wait_for 'help'
keys '!'
check "without masses ! says how to get them" wait_for 'suggest: proposals need needle masses: r measures them'
leave
screen_start 80 24 "'$QKSCOPE' pre post --no-needles --needles x"
check "one of --needles and --no-needles is enough" wait_end 2

screen_start 80 24 "'$QKSCOPE' pre post --sort size"
check "an unknown order is refused" wait_end 2
check "  with those that there are" printed 'expected index, q, k, routing'

done_testing
