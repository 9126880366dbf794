#!/bin/sh
# test_terminal.sh - the terminal is restored in every case, and gets only the requested colours.
. "$srcdir/tests/screen/lib.sh"

for signal in TERM HUP INT QUIT; do
    start
    kill -"$signal" "$(cat "$work/pid")"
    check "SIG$signal ends it" wait_end 130
    check "SIG$signal: the terminal is as before" restored
done

for signal in SEGV ABRT FPE; do
    start
    kill -"$signal" "$(cat "$work/pid")"
    check "SIG$signal kills it" until_true has_code
    check "SIG$signal: the terminal is as before" restored
done

# Ctrl-Z needs a shell that knows jobs.
screen_start 80 24 "set -m; '$QKSCOPE' pre post; echo stopped; read line; fg"
wait_for 'help'
keys Space
wait_row 0 restore
keys C-z
wait_for '^stopped'
keys Enter
check "Ctrl-Z and fg come back to the same screen" wait_row 0 restore
keys Space
check "keys act again" wait_row 1 restore
leave
check "it had been stopped" until_true printed 'stopped'

# sgr FILE - parameters of every SGR sequence in the output.
sgr() {
    esc=$(printf '\033')
    LC_ALL=C grep -a -o "$esc\[[0-9;]*m" "$work/raw" | tr -d '\033[m' | tr ';' '\n' | sort -u | tr '\n' ' '
}
colors() {
    sgr | tr ' ' '\n' | grep -E '^(3[0-9]|4[0-9]|9[0-7]|10[0-7])$'
}
colorless() {
    [ -z "$(colors)" ]
}
colored() {
    [ -n "$(colors)" ]
}

start
keys Space Enter
wait_for 'layer 1'
check "colours are used where they can be" until_true colored
leave

screen_start 80 24 "NO_COLOR=1 '$QKSCOPE' pre post"
wait_for help
keys Space Space Enter e '?'
wait_for 'every action'
check "NO_COLOR: no colour at all" colorless
keys q
wait_gone 'every action'
leave
screen_start 80 24 "NO_COLOR=1 '$QKSCOPE' pre post --color always"
wait_for help
check "--color always wins over it" until_true colored
keys q
wait_end 0
start --color never
check "--color never: none" colorless
keys q
wait_end 0
pane_term=xterm-mono
start
keys Space
wait_row 0 restore
check "a terminal without colours works" colorless
leave
pane_term=screen
start 80 24 --theme light
keys Space
wait_row 0 restore
check "eight colours do" until_true colored
leave
pane_term=tmux-256color

# Colours of 24 bits: where COLORTERM says so, and the system has a description of the terminal with them.
cat >"$work/direct" <<'EOF'
tmux-direct|tmux with colours of 24 bits,
	RGB, colors#0x1000000, pairs#0x10000,
	setaf=\E[%?%p1%{8}%<%t3%p1%d%e38\:2\:\:%p1%{65536}%/%d\:%p1%{256}%/%{255}%&%d\:%p1%{255}%&%d%;m,
	setab=\E[%?%p1%{8}%<%t4%p1%d%e48\:2\:\:%p1%{65536}%/%d\:%p1%{256}%/%{255}%&%d\:%p1%{255}%&%d%;m,
	use=tmux-256color,
EOF
tic -x -o "$work/terminfo" "$work/direct"
start_with() {
    screen_start 80 24 "env TERMINFO_DIRS='$work/terminfo:' $1 '$QKSCOPE' pre post $needles --theme dark"
    wait_for 'help' && wait_gone 'computing'
}
start_with COLORTERM=truecolor
check "24 bits: q, k and routing have hues of their own" until_true wrote '38:2::86:180:233m' &&
    check "that of k" until_true wrote '38:2::204:121:167m' &&
    check "that of routing" until_true wrote '38:2::213:94:0m'
leave
start_with COLORTERM=
check "256 colours without COLORTERM" until_true wrote '38;5;74m'
check "and none of 24 bits" eval "! wrote '38:2::'"
leave

# A library's message must not disturb the screen and must not be lost.
start
echo 'a warning of some library' >"/proc/$(cat "$work/pid")/fd/2"
keys j F5
wait_selected 1
check "what is written to standard error is not on the screen" shows_not 'a warning'
keys q
check "but printed when the screen is gone" wait_for 'a warning of some library'
wait_end 0
screen_start 80 24 "'$QKSCOPE' pre post 2>messages.txt"
wait_for 'Space restore'
keys q
check "standard error elsewhere does no harm" wait_end 0

done_testing
