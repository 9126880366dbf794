#!/bin/sh
# report.sh - runs all benches and writes what they measured as a page. `make bench` calls it.
#
# report.sh BUILD PAGE: BUILD is the folder where everything was built, PAGE the Markdown file. QK_BENCH_FOLDER names
# a folder that holds the large pair (pre and post), or in which it is made and left for the next time; without it
# the pair goes to a temporary folder of ${TMPDIR:-/var/tmp}. QK_BENCHES, a list of names, runs these alone. PYTHON
# must know numpy and scipy. Exit 1 when a limit is missed or a bench fails; the page is written all the same.
set -u
[ $# -eq 2 ] || { echo "usage: report.sh BUILD PAGE" >&2; exit 2; }
build=$(cd "$1" && pwd) || exit 2
page=$2
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-/usr/bin/python3} # the one that Debian's numpy belongs to
benches=${QK_BENCHES:-drift numpy growth latency range forward export}
export LC_ALL=C.UTF-8
export QKSCOPE="$build/qkscope" QK_MAKE_PAIR="$build/tests/bench/make_pair"
export QK_DEMO_DATA="${QK_DEMO_DATA:-$here/../../data/tiny-hypenet}"
export TMPDIR="${TMPDIR:-/var/tmp}" # /tmp is memory on many machines
work=$(mktemp -d "$TMPDIR/qkscope-report-XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
pair=${QK_BENCH_FOLDER:-$work/pair}
mkdir -p "$pair" || exit 2
text=$work/page
failed=0

wanted() {
    case " $benches " in
    *" $1 "*) return 0 ;;
    esac
    return 1
}

# section NAME TITLE METHOD COMMAND... - one part of the page: how, and what the command prints: a table, or lines.
section() {
    name=$1
    title=$2
    method=$3
    shift 3
    wanted "$name" || return 0
    echo "bench: $name" >&2
    printf '\n## %s\n\n%s\n\n' "$title" "$method" >>"$text"
    (cd "$work" && "$@") >"$work/out"
    status=$?
    if grep -q '^|' "$work/out"; then
        cat "$work/out" >>"$text"
    else
        { echo '```' && cat "$work/out" && echo '```'; } >>"$text"
    fi
    if [ "$status" -ne 0 ]; then
        failed=1
        printf '\nA limit was missed, or the bench failed (exit %s).\n' "$status" >>"$text"
    fi
}

machine() {
    doctor=$("$QKSCOPE" doctor 2>&1)
    cat <<EOF
| machine | |
|---|---|
| date | $(date -u +%Y-%m-%d) |
| processor | $(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1), $(getconf _NPROCESSORS_ONLN) processors |
| memory | $(awk '/^MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo) |
| kernel | $(uname -s) $(uname -r | cut -d - -f 1) $(uname -m) |
| compiler | $(${CC:-cc} --version | head -n 1), \`${CFLAGS:-}\` |
| OpenBLAS | $(echo "$doctor" | sed -n 's/^ *OpenBLAS *//p'); kernels for $(echo "$doctor" | sed -n 's/^ *kernels for *//p') |
| qkscope | $("$QKSCOPE" --version | head -n 1) |
| others' load when it began | $(cut -d ' ' -f 1 /proc/loadavg) |
EOF
}

cat >"$text" <<'EOF'
# What it costs

Measured by `make bench`, which writes this page; no test depends on it. Times are of the wall clock, and a limit is a
ratio to what the same machine does with the same bytes or operations, so that it means the same on another machine.
What is compared is measured in turn, round after round, and a ratio is taken within its round; of the rounds the
median counts. Everything is run once before the first round: files are in the page cache and kernels are chosen, so no
figure tells the speed of a disk. A limit that was missed is marked.

The large pair has the shapes of a 9B hybrid (36 layers, 9 of them full attention, d 4096, 32 query heads and 8 key
heads of 128, where the layer is linear 32), in bfloat16. `tests/bench/make_pair hypenet-9b` writes it: q and k hold
numbers that moved by a known amount, what is not looked at is holes.

EOF
machine >>"$text"

if wanted drift || wanted numpy || wanted latency; then
    if [ ! -e "$pair/pre/config.json" ] || [ ! -e "$pair/post/config.json" ]; then
        echo "bench: making the large pair" >&2
        "$QK_MAKE_PAIR" hypenet-9b "$pair" || exit 2
    fi
    # Names that tell nothing of this machine, wherever the pair is.
    ln -s "$(cd "$pair/pre" && pwd)" "$work/pre"
    ln -s "$(cd "$pair/post" && pwd)" "$work/post"
fi

section drift "Drift" \
    "Five rounds. Reading alone is a loop of pread over exactly the bytes of q and k of both sides, in pieces of 64 KiB
and of 1 MiB (the faster counts), on as many threads as there are processors. Norms are what is shown first: relative
change, cosine, ratio of norms. Everything is all numbers, angles and routing too, from the files on. Its operations
are those that the method needs: of two heads (m, d) the lower half of the Gram matrix of [A; E], (2m)(2m + 1) d, and
two Cholesky factors, four triangular solves, one symmetric update and the eigenvalues of (m, m) blocks, together
7 m^3. What bounds the rounding, and what is done again in float64, is not counted as work. Memory is the largest
resident set of the whole process." \
    "$build/tests/bench/bench_drift" pre post
section numpy "Drift beside numpy" \
    "The numbers of the full layers by numpy and scipy in float32, written as in a notebook, in one process that keeps
running, beside the program from its start to its last line of JSON. Three rounds. Both use all processors." \
    "$python" "$here/drift_numpy.py" pre post full "$QKSCOPE"
section growth "How it grows" \
    "\`qkscope diff\` as its own process on pairs of which one thing grows at a time. Five rounds. What was added since
the row above holds no cost of starting." \
    "$python" "$here/growth.py" "$QKSCOPE" "$QK_MAKE_PAIR"
section latency "The screen" \
    "The program in a pseudo-terminal of 120 x 40. Keys come at moments that do not wait for answers, on average
spread over the whole analysis, in which the workers keep all processors busy. A key's time ends with the last byte
before the program is quiet for 2 ms, once the screen shows what was asked for. The same keys through \`cat\`, at the
same time, tell what the terminal and the scheduler have of it." \
    "$python" "$here/latency.py" "$QKSCOPE" pre post
section range "Attention ranges" \
    "From a choice to its histogram, in a live session on the pair in \`data/tiny-hypenet\`." \
    "$build/tests/bench/bench_range"
section forward "A pass over text" \
    "The model in \`data/tiny-hypenet\`, beside sgemm of as many operations; then a group of prompts as an evaluation puts
them, and what comes behind them token by token." \
    "$build/tests/bench/bench_forward"
if [ -x "$build/tests/bench/bench_export" ]; then
    mkdir "$work/export"
    section export "Export" \
        "Exports beside a plain copy of post (\`cp -r\`), in turn, on a pair of full size tensors." \
        env QK_BENCH_FOLDER="$work/export" "$build/tests/bench/bench_export"
fi

cat "$text" >"$page" && echo "bench: wrote $page" >&2 || failed=1
exit "$failed"
