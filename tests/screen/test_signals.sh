#!/bin/sh
# test_signals.sh - many new sizes, a new size while stopped, a closed terminal, a crash in a worker, a full stack, and
# signals that the parent ignores.
. "$srcdir/tests/screen/lib.sh"

helpers=$srcdir/tests/screen
python3 "$tools/make_holes.py" "$work/holes" 512 # its analysis does not end
# begin SIZE WORD... - runs a command line in which $run stands for the program; its process is in $work/pid.
as_process="sh -c 'echo \$\$ >pid; exec \"\$@\"' start"
run="$as_process '$QKSCOPE'"
pid() {
    cat "$work/pid"
}
alive() { # a zombie counts as dead
    grep -q '^State:.[^Z]' "/proc/$(pid)/status" 2>/dev/null
}
dead() {
    ! alive
}
resize() {
    $tmux resize-window -x "$1" -y "$2"
}
# gone PATTERN - no name of a target or beside it matches.
gone() {
    [ -z "$(find "$work" -maxdepth 1 -name "*$1*")" ]
}

# --- sizes ---
screen_start 80 24 "$run holes/pre holes/post"
wait_for 'computing'
for i in $(seq 25); do
    resize 20 5
    resize 200 60
    resize $((60 + i)) $((14 + i))
    resize 61 15
done
python3 "$helpers/storm.py" "$(pid)" 20000 WINCH
check "a storm of sizes while it computes does no harm" alive
resize 80 24
keys Space
check "  and keys are answered" wait_row 0 'restore'
keys Q
wait_for 'y/n'
keys y
wait_end 0

screen_start 200 60 "$run pre post --sort index --no-needles --ascii"
for i in $(seq 10); do
    resize 20 5
    resize $((200 - i)) 60
done
resize 80 24
check "the last size of a storm counts" wait_screen list-80x24.txt
python3 "$helpers/storm.py" "$(pid)" 1000 INT
check "the last of a thousand signals ends it as the first" wait_end 130
check "  and the terminal is as before" restored

screen_start 100 30 "set -m; '$QKSCOPE' pre post --sort index --no-needles --ascii; echo stopped; read line; fg"
wait_for 'help' && wait_gone 'computing'
keys C-z
wait_for '^stopped'
resize 80 24
keys Enter
check "a size that changed while it was stopped" wait_screen list-80x24.txt
leave

# --- a terminal that is closed ---
for ignored in '' "trap '' HUP; "; do
    start_line="$ignored$run holes/pre holes/post"
    screen_start 80 24 "$start_line"
    wait_for 'computing'
    keys Space
    wait_row 0 restore
    rm -rf "$work/state"
    $tmux kill-server
    check "${ignored:+SIGHUP ignored, }a closed terminal ends it" until_true dead
    check "  the choices are kept" grep -q '"restore"' "$work"/state/qkscope/unsaved-*.json
done
screen_start 80 24 "set -m; $run pre post --sort index --no-needles; echo stopped; read line"
wait_for 'help' && wait_gone 'computing'
keys Space
wait_row 0 restore
rm -rf "$work/state"
keys C-z
wait_for '^stopped'
$tmux kill-server
check "a terminal that is closed while it is stopped ends it, too" until_true dead
check "  the choices are kept" grep -q '"restore"' "$work"/state/qkscope/unsaved-*.json
# exporting - a screen with an export under way, which is held.
exporting() {
    hold
    rm -rf "$work/state"
    screen_start 80 24 "$held $as_process '$QKSCOPE_FAULTY' pre post --sort index --no-needles"
    wait_for 'help'
    keys Space e
    wait_for 'w writes it'
    keys w
    wait_for 'Esc cancel'
    wait_held
}
kept() {
    grep -q restore "$work"/state/qkscope/unsaved-*.json 2>/dev/null
}
exporting
$tmux kill-server
until_true kept # the program has taken the signal: it cancels before it keeps the choices
release
check "a closed terminal ends an export, too" until_true dead
check "  and nothing is left of it" gone qkscope
exporting
kill -HUP "$(pid)"
check "a second signal" kill -TERM "$(pid)"
until_true kept # the program has taken the signal: it cancels before it keeps the choices
release
check "  cuts nothing off" wait_end 130
check "  and nothing is left of the export" gone qkscope

# --- a crash in a worker ---
screen_start 80 24 "$run holes/pre holes/post"
wait_for 'computing'
check "SIGSEGV in a worker" python3 "$helpers/crash_worker.py" "$(pid)"
# crashed - three checks: that a fault ended it, and how.
crashed() {
    check "  kills it" until_true has_code
    check "  by that signal, but for a sanitizer's report" sh -c "grep -qx 139 '$work/code' || grep -q Sanitizer '$work/raw'"
    check "  and the terminal is as before" restored
}
crashed

# --- a stack that is full ---
# overflowing CALL - a screen; from when $work/now is there the first such call overflows the stack of its thread.
overflowing() {
    rm -f "$work/now"
    screen_start 80 24 "QK_FAULT=$1:1 QK_FAULT_OVERFLOW=1 QK_FAULT_FROM=now '$QKSCOPE_FAULTY' pre post --sort index --no-needles"
    wait_for 'help' && wait_gone 'computing'
    touch "$work/now"
}
overflowing read
check "a worker's stack overflows" keys r
crashed
overflowing statvfs
check "the first thread's stack overflows" keys Space e
crashed

# --- what the parent ignores ---
screen_start 80 24 "trap '' HUP TSTP INT; $run pre post --sort index --no-needles"
wait_for 'help' && wait_gone 'computing'
kill -HUP "$(pid)" && kill -INT "$(pid)" && kill -TSTP "$(pid)"
keys Space
check "signals that the parent ignores do nothing" wait_row 0 restore
keys C-z
check "  and Ctrl-Z says why it does not stop" wait_for 'ignores stopping'
kill -TERM "$(pid)"
check "  others end it" wait_end 130

done_testing
