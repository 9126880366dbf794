# common.sh - the shared part of the tests of the command line: running the program, TAP, a temporary folder. Sourced.
#
# $QKSCOPE is the program, $QK_DATA/tiny-* the trained pairs, $QK_DEMO_DATA the first of them, $QK_TEST_DATA/fixtures
# the families, $srcdir the sources.

work=$(mktemp -d) || exit 1
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
pre=$QK_DEMO_DATA/pre
post=$QK_DEMO_DATA/post
jet=$QK_DATA/tiny-jet-nemotron
fixtures=$QK_TEST_DATA/fixtures
tools=$srcdir/tests/cli
count=0
# No test may depend on the user's own settings or hub cache.
unset HF_HUB_CACHE HF_HOME XDG_CACHE_HOME XDG_CONFIG_HOME XDG_STATE_HOME COLUMNS NO_COLOR
export HOME="$work/home"
mkdir "$HOME"
# A search for leaks at every end of the program takes half of a test's time. Unit tests and tests/fault do it.
export ASAN_OPTIONS="${ASAN_OPTIONS-detect_leaks=0}"

# run ARGUMENT... - runs the program; its output, messages and code are in $out, $err and $code.
run() {
    out=$work/printed
    err=$work/messages
    "$QKSCOPE" "$@" >"$out" 2>"$err" </dev/null
    code=$?
}

# check WHAT COMMAND... - one test: passes when the command succeeds.
check() {
    what=$1
    shift
    count=$((count + 1))
    if "$@" >"$work/.check" 2>&1; then
        echo "ok $count - $what"
    else
        echo "not ok $count - $what"
        echo "# failed: $*; the program's code was ${code:-?}"
        for log in "$work/.check" "${out:-/dev/null}" "${err:-/dev/null}"; do
            head -n 12 "$log" | sed 's/^/# /'
        done
    fi
}

# skip WHAT WHY
skip() {
    count=$((count + 1))
    echo "ok $count - $1 # SKIP $2"
}

# done_testing - prints the plan; the last line of every test.
done_testing() {
    echo "1..$count"
}

# ended CODE - the last run ended with it.
ended() {
    [ "$code" -eq "$1" ]
}

# complains CODE PATTERN - the last run ended with the code, printed nothing, and said one line that has the pattern.
complains() {
    [ "$code" -eq "$1" ] && [ ! -s "$out" ] && single_message && grep -q -e "$2" "$err"
}
single_message() {
    { IFS= read -r message && ! IFS= read -r second && [ -z "$second" ]; } <"$err" &&
        case $message in "qkscope: "*) ;; *) false ;; esac
}

# says PATTERN - the last run ended well and printed a line that has the pattern, and no message.
says() {
    [ "$code" -eq 0 ] && [ ! -s "$err" ] && grep -q -e "$1" "$out"
}

# copy SOURCE... TARGET - recursively, and writable: the sources may not be.
copy() {
    for target in "$@"; do :; done
    cp -r "$@" && chmod -R u+w "$target"
}

# make_without_pass FOLDER - a pair of a family of the user's, whose row describes the attention alone.
make_without_pass() {
    mkdir -p "$1" "$HOME/.config/qkscope/layouts"
    cat >"$HOME/.config/qkscope/layouts/bare.json" <<'END'
{
    "family": "bare", "model_types": ["bare"], "kinds": [{"rule": "all", "mixer": "attention"}],
    "mixers": {"attention": {"kind": "full", "q": "self_attn.q_proj", "k": "self_attn.k_proj", "rows": "separate",
        "heads": "num_attention_heads", "key_heads": "num_key_value_heads", "head_dim": "head_dim",
        "positions": "none"}},
    "forward": {"norm": "rms", "eps": "rms_norm_eps", "mixer_norm": "input_layernorm"}
}
END
    for side in pre post; do
        copy "$fixtures/llama/$side" "$1/$side"
        sed -i 's/"model_type": "llama"/"model_type": "bare"/' "$1/$side/config.json"
    done
}

# make_both_ways FOLDER - a pair of a family with rotary positions, whose attention goes both ways: it has no pass.
make_both_ways() {
    for side in pre post; do
        mkdir -p "$1/$side"
        cp "$fixtures/gemma3_text/$side/model.safetensors" "$1/$side"
        sed 's/\("use_bidirectional_attention"\): false/\1: true/' "$fixtures/gemma3_text/$side/config.json" \
            >"$1/$side/config.json"
    done
}

# make_tokenizer SIZE FILE - a tokenizer of the fixtures, which have few tokens: the first bytes, and one for the begin.
make_tokenizer() {
    python3 -c '
import json, sys
t, last = json.load(open(sys.argv[1])), int(sys.argv[2]) - 1
t["model"]["vocab"] = {k: v for k, v in t["model"]["vocab"].items() if v < last}
t["added_tokens"] = [dict(t["added_tokens"][0], id=last)]
t["post_processor"]["special_tokens"]["<bos>"]["ids"] = [last]
json.dump(t, open(sys.argv[3], "w"))' "$post/tokenizer.json" "$1" "$2"
}

# sums FOLDER... - digests of every file.
sums() {
    find "$@" -type f -exec sha256sum {} + | sort
}

# bounded - true where address space can be limited: sanitizers take terabytes of it.
bounded() {
    (ulimit -v 400000 && exec "$QKSCOPE" --version) >/dev/null 2>&1
}
