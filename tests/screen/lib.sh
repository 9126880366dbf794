# lib.sh - the shared part of the screen tests: the real program in a terminal of a private tmux server. Sourced.
#
# A test presses keys and waits for the expected screen, never for a time to pass. The program runs in $work,
# with the demo pair as pre and post. screen_start writes the terminal's modes before and after to $work/modes.before and
# .after, and the exit code to $work/code.

. "$srcdir/tests/cli/common.sh"

export LC_ALL=C.UTF-8
unset COLORFGBG ESCDELAY COLORTERM TMUX TMUX_PANE
export XDG_STATE_HOME="$work/state" XDG_CACHE_HOME="$work/cache"
ln -s "$pre" "$work/pre"
ln -s "$post" "$work/post"
export TMUX_TMPDIR="$work" # its sockets vanish with it
socket=0
tmux="tmux -L $socket -f /dev/null" # a command's words, for the shell to split
pane_term=tmux-256color
wait_seconds=${QK_SCREEN_WAIT:-600} # a hang must fail, a sanitizer on a busy machine must not

screen_stop() {
    [ "$socket" -gt 0 ] || return 0
    $tmux kill-server 2>/dev/null
    # The server removes its socket last: a new one of that name would be refused until then.
    while $tmux list-sessions >/dev/null 2>&1; do sleep 0.03; done
}
trap 'screen_stop; rm -rf "$work"' EXIT

# screen_start COLUMNS ROWS WORD... - runs a command line (words are for the shell) in a new terminal of that size.
# All it writes is kept in $work/raw.
screen_start() {
    screen_stop
    socket=$((socket + 1))
    tmux="tmux -L $socket -f /dev/null"
    columns=$1
    rows=$2
    shift 2
    rm -f "$work/code" "$work/modes.before" "$work/modes.after" "$work/raw" "$work/go"
    mkfifo "$work/go"
    cat >"$work/run" <<EOF
cd '$work'
cat go >/dev/null
echo 'before the screen'
stty -g >modes.before
$*
code=\$?
stty -g >modes.after
echo "after the screen: \$code"
echo \$code >code
exec cat
EOF
    $tmux new-session -d -x "$columns" -y "$rows" "TERM=$pane_term sh '$work/run'" ';' set-option -g status off ';' \
        resize-window -x "$columns" -y "$rows" ';' pipe-pane -O "cat >'$work/raw'"
    echo >"$work/go"
}

# Most tests are not about needles, whose passes cost more than all else on the screen. Those that are empty this.
needles=--no-needles

# start [COLUMNS ROWS] [OPTION...] - the demo pair in the order of its layers, with every number of drift filled in. The
# process is in $work/pid.
start() {
    size="80 24"
    case ${1:-} in
    [0-9]*)
        size="$1 $2"
        shift 2
        ;;
    esac
    # shellcheck disable=SC2086
    screen_start $size "sh -c 'echo \$\$ >pid; exec \"\$@\"' start '$QKSCOPE' pre post --sort index $needles $*"
    wait_for 'help' && wait_gone 'computing'
}

screen() {
    $tmux capture-pane -p | sed 's/ *$//'
}

# keys KEY... - as tmux names them; after Escape wait for what it does before the next key.
keys() {
    $tmux send-keys -- "$@"
}

# text WORDS - typed as it is.
text() {
    $tmux send-keys -l -- "$1"
}

# until_true COMMAND... - repeats the command until it succeeds; false after $wait_seconds. The end of the test reports
# results that were ignored.
in_vain=
until_true() {
    end= tries=0
    while ! "$@"; do
        tries=$((tries + 1))
        [ "$tries" -ne 1 ] || end=$(($(date +%s) + wait_seconds))
        if [ $((tries % 20)) -eq 0 ] && [ "$(date +%s)" -ge "$end" ]; then
            echo "not within $wait_seconds s: $*"
            screen
            in_vain="$in_vain; $*"
            return 1
        fi
        sleep 0.03
    done
}

# has TEXT PATTERN - a line of it has the pattern, which is one of grep. Plain words start no process: a test looks at
# the screen a thousand times.
has() {
    case $2 in
    *[][\\.*^\$]*) printf '%s\n' "$1" | sed 's/ *$//' | grep -q -e "$2" ;;
    *) case $1 in *"$2"*) true ;; *) false ;; esac ;;
    esac
}

shows() {
    has "$($tmux capture-pane -p)" "$1"
}
shows_not() {
    ! shows "$1"
}
wait_for() {
    until_true shows "$1"
}
wait_gone() {
    until_true shows_not "$1"
}

# The row of a layer in the list, without its bars.
row() {
    $tmux capture-pane -p | sed -n -E "/^.{0,2} *$1 (full|linear|window|none)/ { s/ *$//; p; q }"
}
row_shows() {
    has "$(row "$1")" "$2"
}
# wait_row LAYER PATTERN - until the layer's row has it.
wait_row() {
    until_true row_shows "$1" "$2"
}

# The layer the arrow points to.
selected() {
    $tmux capture-pane -p | sed -n '/^[>▶]. *[0-9]* / { s/^[>▶]. *\([0-9]*\) .*/\1/; p; q }'
}
is_selected() {
    [ "$(selected)" = "$1" ]
}
wait_selected() {
    until_true is_selected "$1"
}

# Layers from top to bottom, as one line.
order() {
    # shellcheck disable=SC2046
    echo $($tmux capture-pane -p | sed -n 's/^[>▶ ][*|◆│ ] *\([0-9]*\) \(full\|linear\|window\|none\).*/\1/p')
}
order_is() {
    [ "$(order)" = "$1" ]
}
wait_order() {
    until_true order_is "$1"
}

looks_like() {
    screen | diff - "$srcdir/tests/screen/expected/$1" >"$work/difference"
}
# wait_screen FILE - until the whole screen is as in expected/FILE.
wait_screen() {
    if ! until_true looks_like "$1"; then
        cat "$work/difference"
        return 1
    fi
}

has_code() {
    [ -s "$work/code" ]
}
# wait_end CODE - until the program ended, with that code.
wait_end() {
    until_true has_code && [ "$(cat "$work/code")" = "$1" ]
}

# leave - quits, and says yes when asked about choices that are not saved.
leave() {
    keys Q
    until_true shows 'after the screen\|y/n'
    if shows 'y/n'; then
        keys y
    fi
    wait_end 0
}

# printed PATTERN - a line of the main screen has it, or one that has been scrolled out of sight.
printed() {
    $tmux capture-pane -p -S - | grep -q -e "$1"
}

# restored - the terminal is as it was: its modes, the main screen, no colours left on.
restored() {
    cmp "$work/modes.before" "$work/modes.after" && until_true printed 'before the screen' &&
        until_true printed 'after the screen'
}

# wrote PATTERN - what the program wrote has a line with it, whether or not it is still to be seen.
wrote() {
    LC_ALL=C grep -a -q -e "$1" "$work/raw"
}

# hold - from now on an export of $held (a command line for screen_start, before its arguments) waits in its midst,
# until release. Who has to see an export under way need not be quicker than it. SIGINT is ignored meanwhile.
held="export QK_FAULT=copy_file_range:1+ QK_FAULT_COMMAND='. $work/hold'; "
cat >"$work/hold" <<EOF
trap '' HUP
echo >'$work/holds'
until [ -e '$work/released' ]; do sleep 0.03; done
EOF
hold() {
    rm -f "$work/released" "$work/holds"
}
# wait_held - until one does.
wait_held() {
    until_true test -s "$work/holds"
}
release() {
    touch "$work/released"
}

# done_testing - the plan, after one test more: a wait that ends without what it waited for is a mistake, also where no
# check holds it.
done_testing() {
    check "nothing was waited for in vain$in_vain" test -z "$in_vain"
    echo "1..$count"
}
