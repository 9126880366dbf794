#!/bin/sh
# test_eval.sh - the evaluation: begun by its key, followed by choices, paused with its view, at every size; the search
# for selections, its effects and its front.
. "$srcdir/tests/screen/lib.sh"

# One that post answers as well, two that want layer 7 restored; each twice, since a search holds half of them out.
for part in 1 2; do
    sed -n '1p;7p;12p' "$QK_DEMO_DATA/cases/recall.jsonl"
done >"$work/recall.jsonl"
head -n 8 "$QK_DEMO_DATA/cases/reasoning.jsonl" >"$work/reasoning.jsonl"
cases="--cases recall.jsonl --cases reasoning.jsonl"
# Right answers as the command gives them, by task and model: "recall-words@512 pre 2 3".
"$QKSCOPE" eval "$pre" "$post" --baselines --as current --set 7=restore \
    -c "$work/recall.jsonl" -c "$work/reasoning.jsonl" --csv >"$work/figures" 2>"$work/log"

# rate TASK MODEL - the share in the panel's form.
rate() {
    awk -F, -v task="\"$1\"" -v model="\"$2\"" '$1 == model && $2 == task { printf "%.1f", 100 * $3 / $4 }' \
        "$work/figures"
}

check "the command has figures of two tasks and three models" test "$(wc -l <"$work/figures")" = 7

start "$cases"
wait_gone 'ranges '
check "nothing is asked before the view is opened" shows_not 'asking'
keys t
check "t shows it, with the names of the files" wait_for 'evaluation: recall.jsonl, reasoning.jsonl'
check "the models are put to every case" wait_for 'pre 14/14 *post 14/14 *current$'
check "until there is nothing left to ask" wait_for 'every case is answered'
check "pre and post answer as on the command line" \
    wait_for "recall-words@512 *$(rate recall-words@512 pre) .* $(rate recall-words@512 post) .*as post$"
check "with an interval" wait_for 'arithmetic-cot *[0-9.]* [0-9]*-[0-9]* '
keys t
check "t goes back" wait_row 7 keep
text ':set 7=restore'
keys Enter
wait_row 7 restore
keys t
check "the current model is asked after a choice" wait_for 'current 14/14'
check "and answers as on the command line" \
    wait_for "arithmetic-cot .* $(rate arithmetic-cot post) .* $(rate arithmetic-cot current) [0-9]*-[0-9]*"
keys u
check "undo acts here, too" wait_for 'as post$'
keys '?'
wait_for 'every action'
keys q
check "help gives way to it" wait_for 'evaluation:'
keys Escape
wait_row 7 keep
leave

start "$cases" --set full=lerp:0.31
keys t
wait_for 'every case is answered'
check "the start of a search is shown" wait_for 'search for the selections that answer most: s begins one'
keys Enter
check "there is no front yet" wait_for 'point: no search has found a front yet'
keys s
wait_for 'search for 10 minutes$'
keys C-u
text 'soon'
keys Enter
check "a search has a limit" wait_for "'soon' is no limit of a search"
keys C-u
text '1000' # longer than any machine takes
keys Enter
check "s searches in the background" wait_for 'searching: .*, [0-9]* selections, [0-9:]* of 16:40:00'
keys s
check "one at a time" wait_for 'front: a search is running'
keys q
check "the list stays usable and shows it" wait_for 'searching [0-9:]* of 16:40:00'
check "and has columns for the effects" wait_for 'layer.*recall reaso'
check "which come as they are measured" wait_row 7 ' [+][1-9][0-9.]* *+0\.0 '
keys t
check "the front is there while it grows" wait_for 'point recall *reasoning *selection'
check "and comes to what answers everything" wait_for '^ ▶  *1 .* 7=restore'
keys Q
check "leaving asks first" wait_for 'a search is running: stop it and leave? y/n'
keys n X
check "X stops it" wait_for 'the search was stopped: [0-9]* selections, [0-9]* of them on the front or near it'
check "what it found is plotted" wait_for '→ recall, upwards reasoning'
check "with pre, which is far below it" wait_for '│.* pre *▼'
check "and listed" wait_for 'point recall *reasoning *selection'
check "the first point is selected" wait_for '^ ▶  *1 '
check "no point has answered the cases held out" wait_for 'held out: not asked yet'
check "  both figures of those searched on are whole" \
    wait_for 'searched on: recall  *[0-9.]* [0-9]*-[0-9]*, reasoning  *[0-9.]* [0-9]*-[0-9]*$'
keys Enter
check "Enter takes its selection" wait_for 'point 1: .*; u takes that back'
check "which is marked" wait_for '^ ▶  *1●'
keys q
check "and is that of the list" wait_row 4 '12\.5.*  keep'
keys u
check "in one step that u undoes" wait_row 4 'lerp'
check "of every layer" wait_row 1 'lerp'
keys u
wait_for 'no choices' # or the next start would offer them
leave

# A search that knows nothing of the answers before: how many those are depends on the machine.
export XDG_CACHE_HOME="$work/empty"
start "$cases"
keys t
wait_for 'every case is answered'
keys s
wait_for 'search for 10 minutes$'
keys C-u
text '4.5 evaluations'
keys Enter
check "evaluations are whole" wait_for "'4.5 evaluations' is no limit of a search"
keys C-u
text '30 evaluations'
keys Enter
check "they limit a search, too" wait_for 'the search has used its evaluations: [0-9]* selections'
check "which its title shows" wait_for 'search: [0-9]* selections, .*, its evaluations were used up'
check "and its points have answered the cases held out" \
    wait_for 'held out: recall  *[0-9.]* [0-9]*-[0-9]*, reasoning  *[0-9.]* [0-9]*-[0-9]*$'
keys q
check "the measured effects are shown" wait_row 7 ' [+]*[0-9.]* *[+]*0\.0 '
check "what was not is left open" wait_row 0 ' - *- *keep'
leave

# The folder beside the checkpoints, more cases than are answered at once.
start 200 60
keys t
check "without names the cases beside the checkpoints are taken" \
    wait_for 'evaluation: reasoning.jsonl, recall.jsonl'
check "the present question is shown" wait_for 'asking post: [0-9]* % of'
keys q
check "q goes back while it is asked" wait_row 7 keep
keys t
check "and it goes on" wait_for 'asking post: [0-9]* % of'
leave

start 60 15 "$cases" --color never --ascii
keys t
check "60x15 has the figures" wait_for 'recall-words@512 *[0-9.]* [0-9]*-[0-9]* .*as post$'
check "nothing is beyond ASCII" sh -c "! LC_ALL=C grep -q '[^ -~]' <<END
$(screen)
END"
leave

start --cases nowhere.jsonl
keys t
check "a missing file is reported" wait_for 'nowhere.jsonl: cannot open'
leave
screen_start 80 24 "'$QKSCOPE' '$fixtures/qwen3/pre' '$fixtures/qwen3/post'"
wait_for help
keys t
check "so is how cases are named" wait_for 'Start with --cases FILE'
leave

done_testing
