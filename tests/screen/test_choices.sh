#!/bin/sh
# test_choices.sh - choosing: toggles, modes, parameters, roles, ranges, --set texts, undo and redo, recipes.
. "$srcdir/tests/screen/lib.sh"

export HOME="$work"
start
keys Space
check "Space restores q and k" wait_row 0 '→0 .*restore'
check "and goes down" wait_selected 1
check "the title counts unsaved choices" wait_for '● 1 choice, not exported'
keys Up Space
check "Space on a restored layer keeps it again" wait_row 0 'keep'
check "that is unsaved no longer" wait_for 'no choices'
keys Up 1
check "1 restores q alone" wait_row 0 'Q restore  K keep'
check "and stays" wait_selected 0
keys 2
check "2 restores k as well" wait_row 0 '  restore'
keys 1
check "1 again keeps q" wait_row 0 'Q keep  K restore'
keys 0
check "0 keeps both" wait_row 0 ' keep$'

keys g m
check "m asks for a choice, and tells what each would leave" wait_for '^ r restore  *0 % '
check "  from pre" wait_for '^ 0 keep  *10\.4 % '
keys r
check "r: restore" wait_row 0 ' restore$'
keys m l
check "l: lerp" wait_row 0 'lerp α 0.5$'
keys +
check "+ adds 0.05" wait_row 0 'lerp α 0.55$'
keys - -
check "- takes it away" wait_row 0 'lerp α 0.45$'
keys m
check "the menu has the parameter as it is" wait_for '^ l lerp α 0.45 '
keys - -
check "  and changes it" wait_for '^ l lerp α 0.35 '
keys Escape
wait_gone '^ l lerp'
check "Esc leaves the choice" wait_row 0 'lerp α 0.45$'
keys m q
check "q: qk-pro" wait_row 0 'qk-pro λ 0.3$'
keys +
check "lambda goes over nice numbers" wait_row 0 'qk-pro λ 0.4$'
keys 1
check "q alone leaves a mode of both roles, which the message says" wait_for 'layer 0: q restore, k keep'
keys u
wait_row 0 'qk-pro λ 0.4$'
keys m p
check "p: procrustes" wait_row 0 'procrustes α 0.5$'
keys Enter
check "the layer's screen says what turns" wait_for 'turns nothing and equals lerp'
keys q
wait_row 0 'procrustes α 0.5$'
keys m 0
check "0: keep" wait_row 0 ' keep$'
keys +
check "+ shows why it cannot" wait_for 'no parameter'
keys m Down Down Enter
check "Enter takes the selected one" wait_row 0 'lerp α 0.45$'
keys m q
check "the parameter of a mode is remembered" wait_row 0 'qk-pro λ 0.4$'
keys p
check "p asks for the value" wait_for 'λ of qk-pro: 0.4'
text -1
check "  which typing replaces" wait_for 'λ of qk-pro: -1$'
keys Enter
check "a value out of range is refused where it was typed" wait_for 'out of range'
keys C-u
text 0.125
keys Enter
check "an exact value is taken" wait_row 0 'qk-pro λ 0.125$'
keys x m p
check "x: the mode key acts on q alone" wait_row 0 'Q procrustes 0.5'
keys x m r
check "x: on k alone" wait_row 0 'K rest'
keys Space
check "  and so does Space" wait_row 0 'Q procrustes 0.5'
keys Up 0
check "  and 0" wait_row 0 'Q procrustes 0.5'
keys x
check "x: on both again" wait_gone '(on k)'

keys u
wait_for 'undone: keep k of layer 0'
keys u
check "u undoes and says what" wait_for 'undone: restore k of layer 0'
keys j j C-r
check "  and the pointer goes to the layer that it changes" wait_selected 0
check "Ctrl-R does it again and says what" wait_for 'done again: restore k of layer 0'
keys C-r C-r
check "nothing more to redo is reported" wait_for 'nothing to redo'
i=0
while [ "$i" -lt 40 ]; do
    keys u
    i=$((i + 1))
done
check "undo goes back to the start" wait_for 'nothing to undo'
check "where nothing was chosen" wait_for 'no choices'

keys g j v j j Space
check "a range is restored as a whole" wait_row 3 ' restore$'
check "all of it" wait_for '3 choices, not exported'
check "and only it" wait_row 4 ' keep$'
keys Escape
wait_gone '^.│'
keys u
check "as one edit" wait_for 'undone: restore q and k of 3 layers'
keys g j a
check "a marks and goes down" wait_selected 2
keys j a m l
check "marked layers change together" wait_row 3 'lerp'
check "from the first to the last" wait_row 1 'lerp'
check "and none between" wait_row 2 ' keep$'
keys Escape
check "Esc takes marks away" wait_gone 'marked'
keys b
check "b asks what to mark" wait_for '^ f full *4 layers'
keys f
check "f marks the softmax layers" wait_for '4 layers marked'
keys b /
wait_for 'mark by'
text 'routing>'
keys Enter
check "a wrong selector is explained" wait_for 'character 9'
text 0.15
keys Enter
check "b marks by number" wait_for '3 layers marked'
keys Escape
wait_gone 'marked'

text ':set full:k=lerp:0.25'
keys Enter
check ":set takes a --set text" wait_row 4 'K lerp 0.25'
text ':set 4/q0-1,k0=restore'
keys Enter
check "  and one for heads: the list counts them" wait_row 4 'q 2/4 k 2/2'
keys u
check "  u takes them back" wait_row 4 'K lerp 0.25'
text ':se'
keys Tab
check "Tab completes names" wait_for ':se'
text 't full=pro'
keys Tab
check "and modes" wait_for 'full=procrustes:'
keys Escape
wait_gone ':set full'
text ':set full=restore-'
keys Tab
check "each of them" wait_for 'full=restore-latent'
keys Escape
wait_gone ':set full'
text ':mode mend'
keys Enter
check "an unknown mode is refused" wait_for "unknown mode (found 'mend', expected keep, restore"
text ':messages'
keys Enter
check "with every mode that there is" wait_for 'restore-latent)'
keys Escape
wait_gone mend
text ':nonsense'
keys Enter
check "an unknown name is reported" wait_for "no action is called 'nonsense'"
keys C-u
text 'exprot'
keys Enter
check "  with the one that was meant" wait_for "did you mean 'export'?"
keys Escape
wait_gone "is called"

keys w
text choices.json
keys Enter
check "w saves a recipe" wait_for 'choices saved: choices.json'
check "then nothing is unsaved" wait_for 'choices, saved'
keys e N q
check "other norms than the recipe's are unsaved" wait_for 'choices, not exported'
keys e N q
check "as soon as they are the recipe's again, they are saved" wait_for 'choices, saved'
text ':set all=keep'
keys Enter
wait_for 'no\|not'
keys o
text choi
keys Tab
check "paths are completed" wait_for 'choices.json'
keys Enter
check "o loads a recipe" wait_row 4 'K lerp 0.25'

# A recipe of another pair.
sed '0,/"header_sha256":\t"...../s//"header_sha256":\t"00000/' "$work/choices.json" >"$work/other.json"
text ':set all=keep'
keys Enter
wait_row 4 ' keep$'
keys o
text other.json
keys Enter
check "a recipe of another pair says why, and asks" wait_for 'load it anyway? y/n'
check "with the reason above" wait_for 'made for another checkpoint'
keys Enter
wait_gone 'y/n'
check "Enter means no" wait_row 4 ' keep$'
keys o
text other.json
keys Enter
wait_for 'y/n'
keys y
check "y loads it" wait_row 4 'K lerp 0.25'
keys o
text pre/config.json
keys Enter
check "what is no recipe is refused without a question" wait_for 'pre/config.json: '
keys Escape
wait_gone 'load recipe'

# The home folder, and text that is pasted.
keys w
text '~/kept.json'
keys Enter
check "~ is the home folder" wait_for "choices saved: $work/kept.json"
paste() {
    $tmux set-buffer "$1"
    $tmux paste-buffer -p
}
paste 'Q 0 m w'
check "pasted text is not a command" wait_for 'pasted text is not a command'
check "and changes nothing" wait_row 4 'K lerp 0.25'
keys '\'
wait_for 'empty shows all'
paste 'full
'
check "it is taken where text is asked for" wait_for 'filter full$'
check "and its line's end does not send it" wait_for 'empty shows all'
keys Escape
wait_gone 'empty shows all'
keys W
wait_for 'the newest first'
keys W
check "W closes the messages again" wait_gone 'the newest first'
keys q
check "q leaves: nothing is unsaved" wait_end 0

done_testing
