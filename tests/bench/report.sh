#!/bin/sh
# report.sh - the runner of all benches, which writes their figures as a page. `make bench` calls it.
#
# report.sh BUILD PAGE: BUILD is the folder where everything was built, PAGE the Markdown file. QK_BENCH_FOLDER names
# a folder that holds the large pair (pre and post), or in which it is made and kept for the next time; without it
# the pair goes to a temporary folder of ${TMPDIR:-/var/tmp}. QK_BENCHES, a list of names, runs these alone. PYTHON
# must know numpy and scipy. Exit 1 when a limit is missed or a bench fails; the page is still written.
set -u
[ $# -eq 2 ] || { echo "usage: report.sh BUILD PAGE" >&2; exit 2; }
build=$(cd "$1" && pwd) || exit 2
page=$2
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-/usr/bin/python3} # the one that Debian's numpy belongs to
benches=${QK_BENCHES:-drift numpy growth latency range forward torch precision tokenizer export}
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

# section NAME TITLE METHOD COMMAND... - writes one part of the page: the method, and the command's table or lines.
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
| OpenBLAS | $(echo "$doctor" | sed -n 's/^ *OpenBLAS *//p'); kernels for $(echo "$doctor" | sed -n 's/^ *used *\([^ ]*\) .*/\1/p') |
| oneDNN | $(echo "$doctor" | sed -n 's/^  oneDNN  *\([0-9].*\)/\1/p'); forward passes: $(echo "$doctor" | sed -n 's/^  forward passes  *//p') |
| qkscope | $("$QKSCOPE" --version | head -n 1) |
| others' load when it began | $(cut -d ' ' -f 1 /proc/loadavg) |
EOF
}

cat >"$text" <<'EOF'
# Performance

`make bench` measures these figures and writes this page; no test depends on it. Times are of the wall clock. A limit
is a ratio to other work of the same machine on the same bytes or operations, so it means the same on another machine.
The bench measures both sides in turn, round after round. It takes a ratio within its round, and reports the median of
the rounds. Everything runs once before the first round, so files are in the page cache and kernels are chosen. No
figure includes the speed of a disk. Missed limits are marked.

The large pair has the shapes of a 9B hybrid (36 layers, 9 of them full attention, d 4096, 32 query heads and 8 key
heads of 128, where the layer is linear 32), in bfloat16. `tests/bench/make_pair hypenet-9b` writes it: q and k hold
numbers that moved by a known amount, and the tensors that the program does not read are holes.

EOF
machine >>"$text"

if wanted drift || wanted numpy || wanted latency; then
    if [ ! -e "$pair/pre/config.json" ] || [ ! -e "$pair/post/config.json" ]; then
        echo "bench: making the large pair" >&2
        "$QK_MAKE_PAIR" hypenet-9b "$pair" || exit 2
    fi
    # Names that reveal nothing of this machine, for a pair in any folder.
    ln -s "$(cd "$pair/pre" && pwd)" "$work/pre"
    ln -s "$(cd "$pair/post" && pwd)" "$work/post"
fi

section drift "Drift" \
    "Five rounds. Reading alone is a loop of pread over exactly the bytes of q and k of both sides, in pieces of 64 KiB
and of 1 MiB (the faster counts), on as many threads as there are processors. Norms come first on the screen: relative
change, cosine, ratio of norms. All numbers include angles and routing, and the reading of the files. Only the
operations that the method needs count. For two heads (m, d) these are the lower half of the Gram matrix of [A; E],
(2m)(2m + 1) d, and 7 m^3 for (m, m) blocks: two Cholesky factors, four triangular solves, one symmetric update and the
eigenvalues. Bounds of the rounding, and work repeated in float64, do not count. Memory is the largest resident set of
the whole process." \
    "$build/tests/bench/bench_drift" pre post
section numpy "Drift beside numpy" \
    "numpy and scipy compute the numbers of the full layers in float32, written as in a notebook, in one process that
keeps running. The program's time is from its start to its last line of JSON. Three rounds. Both use all processors." \
    "$python" "$here/drift_numpy.py" pre post full "$QKSCOPE"
section growth "Growth" \
    "\`qkscope diff\` as its own process on pairs in which one size grows at a time. Five rounds. The figure of the part
added since the row above contains no cost of starting." \
    "$python" "$here/growth.py" "$QKSCOPE" "$QK_MAKE_PAIR"
section latency "The screen" \
    "The program runs in a pseudo-terminal of 120 x 40. Keys do not wait for answers, and are spread over the whole
analysis, in which the workers keep all processors busy. A key's time ends once the screen shows its effect, with the
last byte before the program is quiet for 2 ms. The same keys through \`cat\`, at the same time, show the share of the
terminal and the scheduler." \
    "$python" "$here/latency.py" "$QKSCOPE" pre post
section range "Attention ranges" \
    "From a choice to its histogram, in a live session on the pair in \`data/tiny-hypenet\`." \
    "$build/tests/bench/bench_range"
section forward "A pass over text" \
    "The model in \`data/tiny-hypenet\`, beside sgemm of as many operations; then a group of prompts as in an
evaluation, and the tokens after them one by one." \
    "$build/tests/bench/bench_forward"
mkdir "$work/torch"
section torch "A pass beside PyTorch" \
    "A pair with the shapes of Qwen3 0.6B, in bfloat16. The program reads both sides and runs them with histograms and
shifts. PyTorch runs one side without maps. Then both continue prompts with the likeliest tokens. Three rounds; both
use all processors, but for the last table." \
    "$python" "$here/forward_torch.py" "$QKSCOPE" "$build/tests/bench/bench_forward" "$work/torch"
section precision "Products of bfloat16" \
    "The built-in text of 512 tokens and cases of each task on the pair in \`data/tiny-hypenet\`, with \`--precision\` f32
and bf16." \
    "$python" "$here/precision.py" "$QKSCOPE" "$here/../../data/tiny-hypenet"
section tokenizer "Tokenizers" \
    "The processor time of each tokenizer in \`tests/data/tokenizers\` for 10 MB of text, and the ratio to that for the
first half of it. The files have the parts of published tokenizers, and small vocabularies. Three rounds." \
    "$build/tests/bench/bench_tokenizer" "$here/../data/tokenizers"
if [ -x "$build/tests/bench/bench_export" ]; then
    mkdir "$work/export"
    section export "Export" \
        "Exports beside a plain copy of post (\`cp -r\`), in turn, on a pair with tensors of full size." \
        env QK_BENCH_FOLDER="$work/export" "$build/tests/bench/bench_export"
fi

cat "$text" >"$page" && echo "bench: wrote $page" >&2 || failed=1
exit "$failed"
