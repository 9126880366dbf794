#!/bin/sh
# test_start.sh - the first screen, in UTF-8 and in ASCII, for several families, and its refusals.
. "$srcdir/tests/screen/lib.sh"

start --ascii
check "the list at 80x24 in ASCII" wait_screen list-80x24.txt
check "nothing on it is beyond ASCII" sh -c "! LC_ALL=C grep -q '[^ -~]' <<EOF
$(screen)
EOF"
keys q
check "q leaves at once when nothing was chosen" wait_end 0
check "the terminal is as before" restored

# In ASCII nothing beside a number can be read as a part of it: no sign, point or digit stands for a height.
start 80 24 --ascii --color never
check "heights in ASCII are no parts of numbers" wait_for '^ rel\. % *[_~"=*&#@ ][0-9][0-9.]* *[_~"=*&#@ ][0-9][0-9.]* '
keys Space
check "  nor is what a choice removed" wait_row 0 'linear *~* *->0 ~* *->0 ~* *->0 '
leave

start 120 40
check "up to 139 columns the detail is below the list, with all heads" wait_for '^─ layer 0 · linear'
check "  with all heads" wait_for '^ head *q0 .* q3 .* k0 .* k3$'
check "line two has the model as a whole" wait_for 'mean routing 13\.7 %'
keys Enter Right Space
check "on the whole screen heads are rows with bars" wait_for '^ ●q1 *░░*  *0  *'
check "  and their angles as small pictures" wait_for '^  q0 .*[▁▂▃▄▅▆▇█]*$'
check "  and all spectra have one scale" wait_for 'principal angles  from small to large, scale 0 to 28\.4°'
check "  what a choice removed is shaded" wait_for '^ ●q1 .* ░░░░*$'
leave
start 140 40
check "detail stands beside the list from 140 columns" wait_for '│─ layer 0 · linear'
check "the title names both checkpoints" wait_for 'pre → post'
check "kinds are counted" wait_for 'hypenet · 12 layers: 4 full, 8 linear'
keys Down Down
check "the detail follows the selection" wait_for 'layer 2 · linear'
keys Right Right
check "the angles follow the head" wait_for 'angles of q2'
# at ROW COLUMN - where the terminal's cursor is.
at() {
    [ "$($tmux display-message -p '#{cursor_y} #{cursor_x}')" = "$*" ]
}
check "the cursor is left on the selected row" until_true at 5 0
keys Tab
check "or on the head, when heads have the keys" until_true at 4 95
keys g
check "g goes to the first head then" wait_for 'angles of q0'
keys Escape
check "Esc gives the keys back to the layers" until_true at 5 0
keys 1 c
check "c shows the heads of the current model" wait_for 'heads of the current model'
check "where what is restored has not moved" wait_for 'rel. %  *0 *0 *0 *0'
keys c u
wait_for 'no choices'
keys d
check "d hides the detail" wait_gone 'angles of'
keys q
wait_end 0

screen_start 100 30 "'$QKSCOPE' '$fixtures/jamba/pre' '$fixtures/jamba/post'"
check "layers without q and k say what they are" wait_for '0 none *mamba'
keys Space
check "and why they cannot be chosen" wait_for 'restore: it has no q and k'
keys q
wait_end 0

screen_start 80 24 "LC_ALL=C '$QKSCOPE' pre post"
check "another locale than UTF-8 gives ASCII" wait_for 'pre -> post'
keys q
wait_end 0

pane_term=no-such-terminal
screen_start 140 24 "'$QKSCOPE' pre post"
check "an unknown TERM is refused with advice" wait_for "TERM is 'no-such-terminal'.*TERM=xterm-256color"
check "as wrong usage" wait_end 2
pane_term=tmux-256color
screen_start 80 24 "'$QKSCOPE' pre post </dev/null"
check "standard input that is no terminal is refused" wait_end 2
check "with the way to print the table" wait_for 'qkscope diff'
screen_start 80 24 "'$QKSCOPE' pre nowhere"
check "a missing checkpoint is an error before the screen" wait_end 4
check "which names it" wait_for 'nowhere'

start --set full=restore --set "'routing>0.15=lerp:0.5'" --set 6=qk-pro:0.3
check "--set texts are there at the start" wait_row 4 'restore'
check "tests of numbers too, once these are known" wait_row 8 'keep'
check "later ones win" wait_row 7 'lerp'
check "those after a test too" wait_row 6 'qk-pro'
keys u u
check "and can be undone" wait_row 7 'restore'
keys Q
check "they count as unsaved" wait_for 'leave? y/n'
keys y
wait_end 0

screen_start 80 24 "QK_WRONG=cblas_sgemm '$QKSCOPE_WRONG' pre post"
check "a kernel that computes wrong is reported on the screen" wait_for 'no number can be trusted: sgemm'
keys q
check "  and again when it is gone" until_true printed '^qkscope: WARNING: no number can be trusted'
wait_end 0

# Notes on the checkpoints, as commands print them on standard error.
for side in pre post; do
    mkdir "$work/noted-$side"
    ln -s "$QK_DEMO_DATA/$side"/* "$work/noted-$side/"
    mv "$work/noted-$side/model.safetensors" "$work/noted-$side/model-00001-of-00001.safetensors"
    echo '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}' >"$work/noted-$side/model.safetensors.index.json"
done
(cd "$work" && "$QKSCOPE" diff pre noted-post) 2>"$work/notes" >"$work/printed"
note=$(sed -n 's/^qkscope: \(noted-post.*\)$/\1/p' "$work/notes" | cut -c 1-60)
check "a command prints a note" test -n "$note"
screen_start 200 24 "'$QKSCOPE' pre noted-post --no-needles"
check "the screen says the only note on its last line" wait_for "^ $note"
keys W
wait_for 'messages, the newest first'
check "  and lists it among the messages" wait_for "^ $note"
keys Escape q q
screen_start 200 24 "'$QKSCOPE' noted-pre noted-post --no-needles"
check "of several it says how many" wait_for '2 notes on these checkpoints: W shows them'
keys W
check "  and lists them" wait_for 'noted-pre/.*index'
check "  all of them" wait_for 'noted-post/.*index'
keys Escape q q

done_testing
