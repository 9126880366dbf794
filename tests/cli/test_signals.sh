#!/bin/sh
# test_signals.sh - signals while a command works: it ends with 130 and a message, and leaves nothing. Signals that the
# parent ignores stay ignored. A file beyond the limit of sizes is an ordinary error.
. "$srcdir/tests/cli/common.sh"

# interrupted SIGNALS TARGET ARGUMENT... - runs the program, waits until its work has begun, and sends the signals
# (interrupt.py).
interrupted() {
    signals=$1 target=$2
    shift 2
    out=$work/printed
    err=$work/messages
    python3 "$tools/interrupt.py" "$signals" "$target" "$QKSCOPE" "$@" >"$out" 2>"$err"
    code=$?
}
nothing_left() {
    [ -z "$(find "$work" -maxdepth 1 -name '*target*')" ]
}

# --- an export, while it copies and while it computes ---
python3 "$tools/make_pair.py" "$work/big" 200000000
python3 "$tools/make_holes.py" "$work/holes"
python3 "$tools/make_holes.py" "$work/endless" 512
before=$(sums "$work/big")
interrupted INT "$work/target" export "$work/big/pre" "$work/big/post" --set all=restore -o "$work/target"
if [ "$code" -eq 77 ]; then
    skip "SIGINT while an export copies" "it was over too soon"
    rm -rf "$work/target"
else
    check "SIGINT while an export copies" complains 130 'interrupted'
    check "  leaves nothing behind" nothing_left
fi
for signals in INT TERM HUP INT+INT TERM+HUP; do
    interrupted $signals "$work/target" export "$work/holes/pre" "$work/holes/post" --set all=qk-pro:0.3 -o "$work/target"
    check "SIG$signals during an export" complains 130 'interrupted'
    check "  leaves nothing behind" nothing_left
done
code=0
python3 "$tools/interrupt.py" HUP "$work/target" nohup "$QKSCOPE" export "$work/big/pre" "$work/big/post" \
    --set all=restore -o "$work/target" >"$work/printed" 2>&1 || code=$?
check "under nohup SIGHUP stops nothing" ended 0
run verify "$work/target"
check "  and the export is whole" ended 0
rm -rf "$work/target"
# Units of ulimit are the shell's: some thousand files' worth of a block at most, and the pair is larger by far.
(
    ulimit -f 1000
    run export "$work/big/pre" "$work/big/post" --set all=restore -o "$work/target"
    exit $code
)
code=$? out=$work/printed err=$work/messages
check "a file beyond the limit of sizes" complains 4 'cannot write: File too large'
check "  leaves nothing behind" nothing_left
check "the inputs are unchanged" test "$before" = "$(sums "$work/big")"

# --- what computes ---
for signals in INT TERM HUP; do
    interrupted $signals - diff "$work/endless/pre" "$work/endless/post"
    check "SIG$signals while diff compares" complains 130 'interrupted'
done
interrupted INT - plan "$work/endless/pre" "$work/endless/post" --set 'routing>0.1=restore' -o "$work/r.json"
check "SIGINT while plan compares" complains 130 'interrupted'
check "  leaves no recipe" test ! -e "$work/r.json"
for signals in INT TERM HUP+HUP; do
    interrupted $signals - eval "$pre" "$post" --set all=restore -c "$QK_DEMO_DATA/cases/recall.jsonl" --no-cache --json
    check "SIG$signals during an evaluation" complains 130 'interrupted$'
    interrupted $signals - eval "$pre" "$post" --set all=restore -c "$QK_DEMO_DATA/cases/recall.jsonl" --json
    check "  whose answers are kept" complains 130 'interrupted: the answers so far are kept for the next time'
    interrupted $signals - search "$pre" "$post" -c "$QK_DEMO_DATA/cases/recall.jsonl" \
        -c "$QK_DEMO_DATA/cases/reasoning.jsonl" --no-cache -o "$work/front"
    check "SIG$signals at the begin of a search" complains 130 'interrupted'
    check "  leaves no folder" test ! -e "$work/front"
done
done_testing
