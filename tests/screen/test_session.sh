#!/bin/sh
# test_session.sh - a whole session by keys alone at 80x24: look, choose, export, verify, export again, leave.
. "$srcdir/tests/screen/lib.sh"

start
# What a user does often takes few keystrokes.
# strokes MOST KEY... - presses them, and checks that they are no more.
strokes() {
    most=$1
    shift
    check "  with $# keystrokes, of $most at most" test $# -le "$most"
    keys "$@"
}
keys e w
check "an export without choices asks" wait_for 'nothing is chosen: write post as it is to post-qkscope? y/n'
keys n
wait_gone 'y/n'
keys q
wait_for 'Space restore'
strokes 4 b f Space
check "all full layers are restored" wait_for '4 choices, not exported'
check "  as marked" wait_row 7 'restore$'
keys Escape
wait_gone 'marked'
keys '&' # see below: 2 with =
wait_for 'choices kept as A'
strokes 4 '#' 7 m q
check "layer 7 becomes qk-pro 0.3" wait_row 7 'qk-pro λ 0.3$'
check "  at a number that ends where a key acts" wait_selected 7
strokes 1 =
check "two selections are compared" wait_for '^ *7 full *restore *qk-pro λ 0.3 .* 0 *2.27 '
check "  what they come to" wait_for '^ routing from pre .* 9.24 *9.43 *+0.19'
check "  what they change" wait_for '^ A  *8 tensors, 197 kB'
check "  and what is not known says what gives it" wait_for 't runs the cases'
keys Enter
check "Enter turns them around" wait_for '^ *7 full *qk-pro λ 0.3 *restore '
keys u
check "which u takes back" wait_for '^ *7 full *qk-pro λ 0.3 *qk-pro λ 0.3 '
keys =
check "= goes back" wait_row 7 'qk-pro λ 0.3$'
keys u
wait_row 7 'restore$'
strokes 8 '#' 7 m q - -
check "layer 7 becomes qk-pro 0.2" wait_row 7 'qk-pro λ 0.2$'
keys g
strokes 2 s r
check "the worst layer by routing has the pointer" wait_selected 11
text ':sort index'
keys Enter
text ':set all=keep'
keys Enter
wait_for 'no choices'
keys g

keys j
wait_selected 1
keys Space j j
check "restore layer 1, go on to 4" wait_selected 4
keys m l +
check "blend layer 4" wait_row 4 'lerp α 0.55'
keys G k 1
check "restore q of layer 10" wait_row 10 'Q restore K keep\|Q restore  K keep'
mkdir "$work/.gone.qkscope-1-0" # as a killed export leaves it
keys e
check "what a killed export left is offered for removal" wait_for '1 left-over of killed exports beside it, .*: remove? y/n'
keys n
wait_gone 'y/n'
keys q
check "n leaves it" test -e "$work/.gone.qkscope-1-0"
keys e
wait_for 'w writes it'
check "and it is not asked twice" shows_not 'y/n'
keys q
keys e
check "the export names its target" wait_for 'target *post-qkscope'
check "what it changes" wait_for '5 tensors in 1 file'
check "and each tensor" wait_for 'layers.10.self_attn.q_proj.weight *10 q'
keys e e
check "the key that opened it does not start it" test ! -e "$work/post-qkscope"
keys w
check "w writes it" wait_for 'written to post-qkscope'
check "the choices count as saved" wait_for '3 choices, saved'
keys v
check "v verifies it" wait_for 'post-qkscope is what its recipe says'
check "  and compares it with the screen" wait_for 'those on the screen'
check "the command line agrees" "$QKSCOPE" verify "$work/post-qkscope"
check "q of layer 10 alone changed there" sh -c \
    "'$QKSCOPE' diff '$work/post' '$work/post-qkscope' --layers 10 --json | tr -d ' \n\t' | grep -q '\"k\":{\"rel_fro\":0,'"
check "layer 0 did not change" sh -c \
    "'$QKSCOPE' diff '$work/post' '$work/post-qkscope' --layers 0 --json | tr -d ' \n\t' | grep -q '\"routing\":{\"rel_fro\":0,'"

# The same once more, with other choices: three keystrokes each time.
keys q
wait_for 'Space restore'
keys 2
wait_row 10 ' restore$'
strokes 2 e w
check "a free name is proposed" wait_for 'written to post-qkscope-2'
strokes 1 v
check "where the second export is verified" wait_for 'post-qkscope-2 is what its recipe says'
keys t C-u
text post-qkscope
keys Enter
check "what is wrong with the target stands at it" wait_for '^  *post-qkscope: exists'
check "and the tensors stay in sight" wait_for 'layers.10.self_attn.k_proj.weight *10 k'
keys v
check "an export with other choices than the screen's says so" wait_for 'but the screen'
keys q u e
wait_for 'target *post-qkscope-3'
keys t C-u
text post-qkscope
keys Enter
wait_for '^  *post-qkscope: exists'

before=$(sums "$work/post-qkscope")
keys w
check "an existing folder is refused" wait_for 'exists'
keys F w
check "forced, it asks before it replaces" wait_for 'replace post-qkscope? y/n'
keys Enter
check "Enter means no" wait_gone 'y/n'
check "nothing was replaced" test "$before" = "$(sums "$work/post-qkscope")"
keys w
wait_for 'y/n'
keys y
check "y replaces it" wait_for 'written to post-qkscope'
check "with the same bytes" test "$(echo "$before" | grep -v recipe)" = "$(sums "$work/post-qkscope" | grep -v recipe)"
keys F t
wait_for 'export to'
keys C-u
text post/inside
keys Enter
# The message has the whole path, and its words go to the next row where that is long.
check "a target inside an input is refused at once" wait_for 'refused:'
keys w
check "and cannot be written" wait_for 'write:'
check "nothing was made there" test ! -e "$work/post/inside"
keys t C-u
text patch
keys Enter O
check "a patch writes less" wait_for '\[x\] O patch'
keys w
check "it is written" wait_for 'written to patch'
check "as one file of weights" test -e "$work/patch/qkscope-patch.safetensors"
keys q
wait_for 'Space restore'
keys u u u u u u u u u u u u u u u u u u u
wait_for 'nothing to undo'
check "choices that were taken back are none to save" wait_for 'no choices'
keys q
check "q leaves without a question" wait_end 0
check "the terminal is as before" restored

start
keys Space
wait_row 0 restore
keys q
check "unsaved choices: q asks" wait_for '1 choice is not exported or saved: leave?'
keys q
check "the key that asked does not answer" wait_gone 'y/n'
check "and the program goes on" wait_row 0 restore
keys C-c
check "Ctrl-C asks too" wait_for 'y/n'
keys y
check "y leaves" wait_end 0

# What was not exported is offered the next time.
start
check "unsaved choices are offered" wait_for 'last time 1 choice was left unsaved: o and Enter bring it back'
keys o
wait_for 'unsaved-.*json'
keys Enter
check "and come back" wait_row 0 restore
keys w
wait_for 'save recipe'
text kept.json
keys Enter
wait_for 'choice, saved'
keys q
wait_end 0
state=$work/state/qkscope
check "once they are saved they are offered no more" test -z "$(ls "$state")"

# Each pair has choices of its own.
start
keys Space
wait_row 0 restore
leave
first=$(ls "$state")
screen_start 80 24 "'$QKSCOPE' post pre"
wait_for 'help' && wait_gone 'computing'
check "choices of one pair are not offered for another" shows_not 'left unsaved'
keys Space Space
wait_row 1 restore
leave
check "each pair has a file of its own" test "$(ls "$state" | wc -l)" = 2
start
check "those of the first are offered when it is opened again" wait_for '1 choice was left unsaved'
leave
screen_start 80 24 "'$QKSCOPE' '$QK_DEMO_DATA/post' pre/../pre"
wait_for 'help' && wait_gone 'computing'
check "  those of the second for other names of it" wait_for '2 choices were left unsaved'
leave

# One file for all pairs, as earlier versions left it; and more files than are kept.
mv "$state/$first" "$state/unsaved.json"
for i in $(seq 130); do
    head -c 8192 /dev/urandom >"$state/unsaved-$i.json"
    touch -d "$i hours ago" "$state/unsaved-$i.json"
done
start
check "the file of an earlier version is offered" wait_for '1 choice was left unsaved'
keys o
wait_for 'unsaved.json'
keys Enter j Space
wait_row 1 restore
leave
check "  and becomes the file of its pair" test -e "$state/$first" -a ! -e "$state/unsaved.json"
check "the oldest files go" test ! -e "$state/unsaved-130.json" -a -e "$state/unsaved-1.json"
rm "$state"/*.json

# A damaged export: the view lists what differs.
start
keys Space e
wait_for 'remove? y/n'
keys y
wait_for 'removed: '
check "y removes what a killed export left" test ! -e "$work/.gone.qkscope-1-0"
keys t C-u
text damaged
keys Enter w
wait_for 'written to damaged'
printf 'x' | dd of="$work/damaged/model.safetensors" bs=1 seek=400000 conv=notrunc 2>/dev/null
keys v
check "verification finds one changed byte" wait_for 'what differs'
check "and names the file" wait_for 'model.safetensors'
check "and counts" wait_for 'verify *1 difference'
keys t C-u
text "$work/a folder whose name leaves no room for what became of it in one line"
keys Enter w
check "the whole result is shown" wait_for 'again and compares'
keys t C-u
text elsewhere
keys Enter
check "another target shows what would be written there" wait_for 'tensors that change'
check "no longer what became of the last one" wait_for 'ready *w writes it'
keys v
check "there is nothing to verify there" wait_for 'verify: there is no export'
keys q
wait_for 'Space restore'
keys q
wait_end 0
start
text ':export damaged'
keys Enter
check "an export of an earlier session" wait_for 'v verifies it'
keys v
check "can be verified" wait_for 'verify *1 difference'
leave

# What does not start leaves nothing of the last one on the screen.
screen_start 80 24 "QK_FAULT=thread:1+ QK_FAULT_FROM=now '$QKSCOPE_FAULTY' pre post"
wait_for 'help' && wait_gone 'computing'
wait_row 1 ' 65\.[0-9] '
keys Space e
wait_for 'target *post-qkscope'
keys t C-u
text started
keys Enter w
wait_for 'written to started'
touch "$work/now"
keys v
check "a verification that cannot start says so" wait_for 'cannot start a thread'
check "  and the last export is not taken for it" wait_for 'ready *w writes it, q goes back'
rm "$work/now"
keys v
check "  once it can start it ends as always" wait_for 'started is what its recipe says'
keys q
wait_gone 'options'
touch "$work/now"
keys T
wait_for 'probe text'
keys Enter
check "a probe that cannot start says so" wait_for 'cannot start a thread'
keys Escape
wait_gone 'cannot start'
keys Space
wait_row 1 '→0'
keys W
wait_for 'newest first'
check "  and the last one is not reported again" shows_not 'attention ranges over'
keys q
wait_gone 'newest first'
rm "$work/now"
leave

# The folder of a trainer: the view lists what is left out, and A takes it along. S allows a link out of the folder.
copy "$post" "$work/trainer"
printf '0123456789' >"$work/trainer/optimizer.pt"
mkdir "$work/trainer/global_step7"
printf '0123456789' >"$work/trainer/global_step7/a"
printf 'secret' >"$work/trainer/.env"
screen_start 80 24 "$QKSCOPE pre trainer --sort index --no-needles"
wait_for 'help' && wait_gone 'computing'
keys Space e
check "the view lists what is left out" wait_for 'left out: global_step7/ *10 B'
check "  each with its size" shows 'left out: optimizer.pt *10 B'
check "  and hidden files" shows 'hidden: .env *6 B'
check "all options are seen" shows 'A all \[ \] S links'
keys w
wait_for 'written to trainer-qkscope'
check "the export has none of it" test ! -e "$work/trainer-qkscope/optimizer.pt"
keys v
check "  and verifies" wait_for 'is what its recipe says'
keys A F
check "A takes it along" wait_gone 'left out'
keys w
wait_for 'replace trainer-qkscope'
keys y
wait_for 'written to trainer-qkscope'
check "  into the export" cmp "$work/trainer/global_step7/a" "$work/trainer-qkscope/global_step7/a"
ln -s "$work/modes.before" "$work/trainer/link.txt"
keys A
check "a link out of the folder is refused" wait_for 'link.txt: a link out of the folder'
keys S
check "  until S allows it" wait_gone 'a link out of the folder'
keys w
wait_for 'replace trainer-qkscope'
keys y
wait_for 'written to trainer-qkscope'
check "  and copies it" cmp "$work/modes.before" "$work/trainer-qkscope/link.txt"
leave

done_testing
