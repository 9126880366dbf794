#!/bin/sh
# test_remote.sh - models of the hub read over the network, from an nginx and from a server with every kind of fault, both on
# the loopback address.
. "$srcdir/tests/cli/common.sh"

PATH=$PATH:/usr/sbin:/sbin
export no_proxy=127.0.0.1
unset HF_TOKEN HF_ENDPOINT HF_HUB_OFFLINE QKSCOPE_RETRIES QKSCOPE_TIMEOUT
servers=
trap 'kill $servers 2>/dev/null; wait; chmod -R u+w "$work"; rm -rf "$work"' EXIT

# wait_for FILE - until it has a line.
wait_for() {
    for _ in $(seq 6000); do
        [ ! -s "$1" ] || return 0
        sleep 0.1
    done
    echo "# nothing in $1" >&2
    return 1
}

# serve ROOT - starts a faulty server; its address is $faulty, its log $requests.
serve() {
    requests=$work/requests
    : >"$work/port"
    python3 "$tools/faulty_server.py" "$1" "$requests" >"$work/port" 2>"$work/server.err" &
    servers="$servers $!"
    wait_for "$work/port"
    faulty=http://127.0.0.1:$(cat "$work/port")
}

# start_nginx ROOT - serves ROOT/ORG/NAME as the hub would; its address is $plain, its log $access.
start_nginx() {
    nginx=$work/nginx
    mkdir -p "$nginx"
    access=$nginx/access
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    chmod 755 "$work"
    cat >"$nginx/conf" <<END
daemon off;
pid $nginx/pid;
error_log $nginx/error;
$([ "$(id -u)" -ne 0 ] || echo "user root;")
events { worker_connections 64; }
http {
    log_format bytes '\$request_method \$status \$body_bytes_sent \$uri';
    access_log $access bytes;
    client_body_temp_path $nginx/t1; proxy_temp_path $nginx/t2; fastcgi_temp_path $nginx/t3;
    uwsgi_temp_path $nginx/t4; scgi_temp_path $nginx/t5;
    server {
        listen 127.0.0.1:$port;
        location ~ "^/([^/]+)/([^/]+)/resolve/main/([^/]+)\$" { alias $1/\$1/\$2/\$3; }
        location / { return 404; }
    }
}
END
    nginx -c "$nginx/conf" -e "$nginx/error" 2>"$nginx/messages" &
    servers="$servers $!"
    wait_for "$nginx/pid"
    plain=http://127.0.0.1:$port
}

# sent LOG - bytes of content in it.
sent() {
    awk '{ n += $3 } END { print n + 0 }' "$1"
}

# forget - empties the cache and the logs.
forget() {
    rm -rf "$HOME/.cache/qkscope"
    : >"$requests"
    : >"$access"
}

# differs ENDPOINT - `diff --remote` of the pair prints what `diff` prints of the local one.
differs() {
    HF_ENDPOINT=$1 run diff org/pre org/post --remote --layers all --heads --csv
    [ "$code" -eq 0 ] && cmp "$work/expected.csv" "$out"
}

# fails ENDPOINT CODE PATTERN - it ends with that code, and one line with that pattern.
fails() {
    forget
    HF_ENDPOINT=$1 run diff org/pre org/post --remote --heads --csv
    grep -v '^qkscope: fetched ' "$err" >"$work/said"
    mv "$work/said" "$err"
    complains "$2" "$3"
}

run diff "$pre" "$post" --heads --csv
cp "$out" "$work/expected.csv"
mkdir -p "$work/hub/org" "$work/flat"
for side in pre post; do
    ln -s "$QK_DEMO_DATA/$side" "$work/hub/org/$side"
    ln -s "$QK_DEMO_DATA/$side" "$work/flat/$side"
done
serve "$work/flat"
start_nginx "$work/hub"
forget

# --- a server without faults ---

check "diff --remote prints what diff prints" differs "$plain"
check "  and says what was fetched" grep -q '^qkscope: fetched .* of 10.9 MB; kept in .*/qkscope/remote$' "$err"
check "  in ranges of the weights" grep -q '^GET 206 .*model.safetensors$' "$access"
whole=$(sent "$access")
: >"$access"
check "a second run prints the same" differs "$plain"
check "  and fetches nothing" test "$(sent "$access")" -eq 0
check "  and does not say it did" test ! -s "$err"
for file in "$HOME"/.cache/qkscope/remote/*.blocks; do
    truncate -s -1000 "$file"
done
check "what is left of a cache that was spoilt is not used" differs "$plain"

# damage WHAT - flips a bit in each kept file: in the first block that is there, or in its mark.
damage() {
    python3 - "$1" "$HOME"/.cache/qkscope/remote/*.blocks <<'END'
import sys
for path in sys.argv[2:]:
    with open(path, "r+b") as file:
        text = b"".join(file.readline() for _ in range(4))
        size = int(text.split(b"\n")[3])
        n = -(-size // (256 << 10))
        marks = file.read(16 * n)
        first = next((i for i in range(n) if any(marks[16 * i:16 * i + 16])), None)
        if first is None:
            continue
        data = -(-(len(text) + 16 * n) // 4096) * 4096
        at = len(text) + 16 * first if sys.argv[1] == "mark" else data + (256 << 10) * first + 999 % (size - (256 << 10) * first)
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 64]))
END
}
for part in block mark; do
    : >"$access"
    damage "$part"
    check "a kept file whose $part was damaged on the disk" differs "$plain"
    check "  is mended" grep -q '^qkscope: [0-9]* kept blocks in .*/remote had other bytes than were fetched: fetched again$' "$err"
    check "  by fetching what was damaged alone" sh -c "[ $(sent "$access") -gt 0 ] && [ $(sent "$access") -lt $whole ]"
    : >"$access"
    check "  once" differs "$plain"
    check "  and then nothing" test "$(sent "$access")" -eq 0
done
rm -r "$HOME/.cache/qkscope/remote"
QK_FAULT=flock:1+ HF_ENDPOINT=$plain "$QKSCOPE_FAULTY" diff org/pre org/post --remote --layers all --heads --csv >"$out" 2>"$err"
check "a file system without locks" cmp "$work/expected.csv" "$out"
rm -r "$HOME/.cache/qkscope/remote"
HF_ENDPOINT=$plain "$QKSCOPE" diff org/pre org/post --remote --layers all --heads --csv >"$work/other.csv" 2>"$work/other.err" &
other=$!
check "two programs with one empty cache" differs "$plain"
wait "$other"
check "  print the same" cmp "$work/other.csv" "$work/expected.csv"
check "  and leave no other names" sh -c "! ls '$HOME/.cache/qkscope/remote' | grep -v '^[0-9a-f]*[.]blocks\$'"
HF_ENDPOINT=$plain/ run info org/post --remote
check "info --remote" grep -q 'family hypenet' "$out"
HF_ENDPOINT=$plain run diff "$pre" org/post --remote --layers all --heads --csv
check "a path stands for itself" cmp "$work/expected.csv" "$out"
HF_ENDPOINT=$plain run plan org/pre org/post --remote --set full=restore -o "$work/recipe.json"
check "plan --remote" ended 0
run export "$pre" "$post" --recipe "$work/recipe.json" -o "$work/mended"
check "  makes a recipe for the same checkpoints at home" ended 0
HF_ENDPOINT=$plain run export org/pre org/post --remote --set full=restore -o "$work/other"
check "export --remote is refused" complains 2 'export copies every byte of POST. Download'
HF_ENDPOINT=$plain run range org/pre org/post --remote
check "so is a forward pass" complains 2 'reads every tensor: give --estimate or --states'
states=$QK_DEMO_DATA/golden-post.safetensors
if [ -f "$states" ]; then
    run range "$pre" "$post" --states "$states" --csv
    cp "$out" "$work/range.csv"
    HF_ENDPOINT=$plain run range org/pre org/post --remote --states "$states" --csv
    check "range --remote --states" cmp "$work/range.csv" "$out"
fi

# --- faults that are survived ---

export QKSCOPE_RETRIES=6
for fault in drop=700000 drop=900000+status=503+times=1 status=500+times=2 status=502+times=1 status=504+times=1 \
    status=429+times=1+wait=1 status=429+times=1+head status=503+times=1+head+wait=0; do
    forget
    check "survives $fault" differs "$faulty/$fault"
done
forget
differs "$faulty/drop=700000"
check "a transfer that broke goes on where it broke" test "$(sent "$requests")" -le "$whole"
forget
export QKSCOPE_RETRIES=0
HF_ENDPOINT=$faulty/fail=9 run diff org/pre org/post --remote --layers all --heads --csv --threads 1
check "a run that broke" grep -q 'HTTP status 503 (tried 1 times)' "$err"
check "  is taken up" differs "$faulty/fail=9"
check "  and fetches each byte once" test "$(sent "$requests")" -eq "$whole"

# --- faults that end it ---

export QKSCOPE_RETRIES=1
for status in 500 502 503 504 429; do
    check "$status for ever" fails "$faulty/status=$status+wait=0" 4 "HTTP status $status (tried 2 times)"
done
check "429 with a long wait" fails "$faulty/status=429+wait=86400" 4 'asks to wait more than 120 s'
check "401" fails "$faulty/status=401+head" 4 'asks for a token (HTTP status 401).*set HF_TOKEN'
check "  is not tried again" test "$(wc -l <"$requests")" -eq 1
check "403" fails "$faulty/status=403" 4 'asks for a token (HTTP status 403)'
HF_TOKEN=hf_secret
export HF_TOKEN
check "401 to a token" fails "$faulty/status=401+head" 4 'refuses the token in HF_TOKEN (HTTP status 401)'
check "  that it got" grep -q Bearer_hf_secret "$requests"
check "  and that is in no message" sh -c "! grep -q hf_secret '$err'"
unset HF_TOKEN
check "404" fails "$faulty/status=404+head" 4 "$faulty/status=404+head/org/pre/resolve/main: no such model or revision"
check "404 for a shard" fails "$faulty/status=404" 4 'HTTP status 404'
check "416" fails "$faulty/status=416" 3 'no bytes .*HTTP status 416'
check "418" fails "$faulty/status=418" 4 'HTTP status 418'
check "whole files only" fails "$faulty/whole" 3 'model.safetensors: the server sends whole files only (found HTTP status 200, expected 206'
check "no Content-Range" fails "$faulty/noranges" 3 'does not say which bytes'
for part in 0 1 2; do
    check "a wrong Content-Range, number $part" fails "$faulty/range=$part" 3 'other bytes than requested'
done
check "more bytes than the range has" fails "$faulty/length=7" 3 'wrong length'
check "fewer" fails "$faulty/length=-7" 3 'wrong length'
check "encoded bytes" fails "$faulty/gzip" 3 'encodes its answer (found gzip'
check "another ETag" fails "$faulty/etag" 4 'was changed on the server while it was read (found "another"'
check "no ETag at all" fails "$faulty/anonymous" 3 'neither ETag nor Last-Modified'
check "redirects without end" fails "$faulty/loop" 3 'redirects too often'
check "nobody there" fails http://127.0.0.1:1 4 'tried 2 times'
check "an endpoint that is none" fails ftp://127.0.0.1 2 'HF_ENDPOINT: not an address'
check "an endpoint with a password" fails http://me:secret@127.0.0.1 2 'HF_ENDPOINT: not an address'
QKSCOPE_TIMEOUT=2 check "a server that sends a byte now and then" fails "$faulty/drip=0.2" 4 \
    'the request is not answered within 2 s (QKSCOPE_TIMEOUT)'
QKSCOPE_TIMEOUT=2 QKSCOPE_RETRIES=100 check "one that fails for ever" fails "$faulty/status=503+wait=1" 4 \
    'the request is not answered within 2 s (QKSCOPE_TIMEOUT)'
QKSCOPE_TIMEOUT=0 check "a time that is none" fails "$plain" 2 "QKSCOPE_TIMEOUT: not a number in range (found '0', expected 1 to"
QKSCOPE_RETRIES=x check "retries that are no number" fails "$plain" 2 'QKSCOPE_RETRIES'
HF_ENDPOINT=$plain run info org/pre@../../x --remote
check "a revision that leaves its folder" complains 4 'no such file or folder'

HF_HUB_OFFLINE=1 check "HF_HUB_OFFLINE" fails "$plain" 2 'HF_HUB_OFFLINE forbids the network'

# --- the revision ---

forget
check "a branch that moves meanwhile" differs "$faulty/commit"
check "  is asked for once a side" test "$(grep -c /resolve/main/ "$requests")" -eq 2
check "  and then read at the commit it stood for" \
    test "$(grep -v /resolve/main/ "$requests" | sed 's|.*/\(org/[a-z]*/resolve/[^/]*\)/.*|\1|' | sort -u | wc -l)" -eq 2
forget
check "what is no commit is not asked for" differs "$faulty/commit=..%2f"
check "  but the branch" sh -c "! grep -v /resolve/main/ '$requests'"

# --- redirects and the token ---

export HF_TOKEN=hf_secret
forget
check "a redirect to this very server" differs "$faulty/redirect=${faulty##*:}"
check "  takes the token along" test "$(grep moved "$requests" | grep -vc Bearer_hf_secret)" -eq 0
: >"$work/second"
python3 "$tools/faulty_server.py" "$work/flat" "$work/log2" >"$work/second" &
servers="$servers $!"
wait_for "$work/second"
forget
check "a redirect to another" differs "$faulty/redirect=$(cat "$work/second")"
check "  that gets all requests" grep -q '^GET 206 .*moved.*model.safetensors' "$work/log2"
check "  but not the token" sh -c "! grep -q hf_secret '$work/log2'"
check "  which the first had" grep -q Bearer_hf_secret "$requests"
unset HF_TOKEN

# --- being stopped ---

forget
: >"$requests.stalled"
HF_ENDPOINT=$faulty/stall=100000 python3 "$tools/interrupt.py" INT "=$requests.stalled" "$QKSCOPE" diff org/pre org/post \
    --remote >"$work/printed" 2>"$err"
code=$?
check "Ctrl-C ends what stalls" ended 130

# --- how much of a large pair ---

"$QK_MAKE_PAIR" hypenet-9b --layers 8 --d 1024 --heads 16,4 --head-dim 64 --vocab 60000 --q-k-only "$work/hub/big" >/dev/null
# share OPTION... - runs diff on it; $percent is the part of the pair's bytes that were sent, in tenths of percents.
share() {
    forget
    HF_ENDPOINT=$plain run diff big/pre big/post --remote --csv "$@"
    bytes=$(stat -c %s "$work"/hub/big/*/*.safetensors | awk '{ n += $1 } END { print n }')
    permille=$(($(sent "$access") * 1000 / bytes))
    echo "# diff --remote $*: $(sent "$access") of $bytes bytes, in $(grep -c '^GET' "$access") requests"
}
run diff "$work/hub/big/pre" "$work/hub/big/post" --csv
cp "$out" "$work/all.csv"
run diff "$work/hub/big/pre" "$work/hub/big/post" --csv --layers full
cp "$out" "$work/full.csv"
share --layers full
check "the full layers of a pair like the 9B" cmp "$work/full.csv" "$out"
check "  for less than 5 % of its bytes" test "$permille" -lt 50
share
check "without --layers a remote pair's softmax layers" cmp "$work/full.csv" "$out"
check "  for less than 5 % of its bytes" test "$permille" -lt 50
check "  and a line says so" grep -q 'linear layers are left out, to fetch less (--layers all takes them)' "$err"
share --layers all
check "all of its layers" cmp "$work/all.csv" "$out"
check "  for less than 15 %, as q and k are 12 %" test "$permille" -lt 150
done_testing
