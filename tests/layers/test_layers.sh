#!/bin/sh
# test_layers.sh - the rules of the house hold for the sources, and each breach that is planted in a copy is found.
rules=$srcdir/tests/layers/check.py
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
copy=$work/copy
found=$work/found
count=0

# check WHAT COMMAND... - one test: passes when the command succeeds; else shows what was found.
check() {
    what=$1
    shift
    count=$((count + 1))
    if "$@"; then
        echo "ok $count - $what"
    else
        echo "not ok $count - $what"
        head -n 50 "$found" | sed 's/^/# /'
    fi
}

# passes TREE - the check of the tree ends with 0 and prints nothing.
passes() {
    python3 "$rules" "$1" >"$found" 2>&1 && [ ! -s "$found" ]
}

# finds WHAT LINE - one test: the line was printed.
finds() {
    check "$1" grep -qxF "$2" "$found"
    echo "$2" >>"$work/named"
}

# insert FILE LINE TEXT - puts a line before line LINE of a file of the copy.
insert() {
    sed -i "$2i\\
$3" "$copy/$1"
}

# new FILE - makes a file of the copy: a proper first line, then standard input.
new() {
    mkdir -p "$copy/$(dirname "$1")"
    { printf '/* %s - a planted file. */\n' "${1##*/}" && cat; } >"$copy/$1"
}

# lines N FORMAT - the format N times, each with its number.
lines() {
    seq "$1" | sed "s/.*/$2/"
}

# function_of NAME LINES - prints a function of that many lines, three at least.
function_of() {
    printf 'int %s(int a)\n{\n' "$1" && lines $(($2 - 3)) '    a += &;' && printf '}\n'
}

check "every rule holds for src/ and ui/" passes "$srcdir"
python3 "$rules" --table "$srcdir" >"$found" 2>&1
check "the table has a row a folder" grep -q '^src/base  *[0-9][0-9]*  *[0-9][0-9]*  *[0-9.]*%$' "$found"
long=$(sed -n 's/^functions over 60 lines: //p' "$found")
mkdir "$copy" && cp -r "$srcdir/src" "$srcdir/ui" "$copy" && chmod -R u+w "$copy"

# --- no breaches ---

insert ui/ui.h 2 '/* qk_model_open(path) would be wrong here */'
new src/base/lonely.c </dev/null
new src/base/alike_one.c </dev/null
insert src/base/mem.h 1 '/* mem.h - memory that is counted (lonely.c), one kind a file (alike_NAME.c). */'
insert src/base/mem.c 1 "/* mem.c - $(printf '%0106d' 0 | sed 's/0/é/g') */"
function_of sixty 60 | new src/base/sixty.h
[ "$long" -gt 0 ] || function_of one 61 | new src/base/one.h
lines 25 'int f&(int a, int (*b)(int));' | new src/base/many.h
check "the limits themselves are kept, comments are no code, a header names its files" passes "$copy"

# --- breaches ---

insert src/base/folder.c 3 '#include "model/model.h"'
insert src/base/json.c 3 '#include "mem.h"'
insert src/tensor/hub/hub.c 4 '#include "session/session.h"'
insert src/session/session.c 2 '# include "cli/print.h"'
insert src/cli/print.c 2 '#include "ui/theme.h"'
insert src/cli/print.c 3 '#include <curses.h>'
insert src/main.c 2 '#include <ncursesw/ncurses.h>'
echo '#include "base/mem.h"' | new src/attic/old.h
insert ui/ui.h 2 '#include "tensor/checkpoint.h"'
insert ui/ui.h 3 '#include "cli/print.h"'
insert ui/ui.h 4 'int x = qk_model_open(0, 0, 0);'
insert src/eval/answer_store.c 5 'int (*start)() = pthread_create;'
lines 30000 '' | new src/blend/large.h
new src/base/left.c </dev/null
new ui/views/left.c </dev/null
insert src/base/error.c 1 '/* errors.c - errors. */'
insert src/base/text.c 1 ''
insert src/base/error.h 1 '/* error.h - what went wrong. */'
insert src/base/digest.c 1 "/* digest.c - $(printf '%0104d' 0) */"
function_of one 61 | new src/base/one.h
function_of two 70 | new ui/two.h
{ lines 26 'int f&(int a, int (*b)(int));'; } | new src/base/many.h
{
    lines 25 'int f&(int a, int (*b)(int));'
    printf 'struct s {\n    int (*f)(int);\n};\nextern int x, y;\n\nint last(\n    int a);\n'
} | new src/base/split.h
echo "typedef int handler(int); handler $(lines 25 'f&,' | tr '\n' ' ')z;" | fold -s -w 100 | new src/base/typed.h
sed 's/^class File/KNOWN |= {("header", "src\/base\/mem.c")}\n\n\n&/' "$rules" >"$work/check.py"
python3 "$work/check.py" "$copy" >"$found" 2>&1
code=$?

check "breaches end with 1" [ $code -eq 1 ]
finds "an include that points up" \
    "src/base/folder.c:3: includes model/model.h: the arrow points up (base comes before model)"
finds "  from a folder in a room" \
    "src/tensor/hub/hub.c:4: includes session/session.h: the arrow points up (tensor comes before session)"
finds "  from the session to a front end" \
    "src/session/session.c:2: includes cli/print.h: the arrow points up (session comes before cli)"
finds "  from a command to the screen" \
    "src/cli/print.c:2: includes ui/theme.h: the arrow points up (cli comes before ui)"
finds "an include without its room" \
    "src/base/json.c:3: includes mem.h: not a path from src/ or the top (expected ROOM/NAME.h)"
finds "a room that is not in the list" "src/attic/old.h:2: lies in no room of the list (found attic)"
finds "curses in a command" "src/cli/print.c:3: includes curses.h: only ui/ draws"
finds "curses in main.c" "src/main.c:2: includes ncursesw/ncurses.h: only ui/ draws"
finds "a screen that reads checkpoints" "ui/ui.h:2: includes tensor/checkpoint.h: ui/ asks the session instead"
finds "a screen that knows the command line" "ui/ui.h:3: includes cli/print.h: ui/ asks the session instead"
finds "a screen that opens a checkpoint" "ui/ui.h:4: opens a checkpoint: that is for the session"
finds "a thread without a second stack" \
    "src/eval/answer_store.c:5: starts a thread: qk_thread_start gives it a stack for handlers of signals"
check "a folder that holds too much" \
    grep -qx 'src/blend: holds [0-9.]* % of all lines (expected at most 18 %)' "$found"
finds "a source file without a header" \
    "src/base/left.c:1: has no header left.h, and no header of src/base names it in its first line"
finds "  on the screen" \
    "ui/views/left.c:1: has no header left.h, and no header of ui/views names it in its first line"
finds "a first line with another name" \
    "src/base/error.c:1: the first line is not '/* error.c - WHAT IT IS' (found '/* errors.c - errors. */')"
finds "no first line" "src/base/text.c:1: the first line is not '/* text.c - WHAT IT IS' (found '')"
finds "a first line that is a clause" \
    "src/base/error.h:1: the first line does not say what it is in a noun phrase (found 'what ...')"
finds "a line of 121 characters" "src/base/digest.c:1: 121 characters (expected at most 120)"
functions=$((long + 2))
finds "more than one function of 61 lines" \
    "src/base/one.h:2: one has 61 lines ($functions functions have more than 60, expected at most 1)"
finds "  each of them" "ui/two.h:2: two has 70 lines ($functions functions have more than 60, expected at most 1)"
finds "26 prototypes" "src/base/many.h:27: 26 prototypes (expected at most 25)"
finds "  over several lines" "src/base/split.h:32: 26 prototypes (expected at most 25)"
finds "  of one type, with commas between them" "src/base/typed.h:2: 26 prototypes (expected at most 25)"
finds "an exception that is not needed" \
    "src/base/mem.c: no longer an exception to 'header': remove its row from KNOWN in check.py"
grep -vxF -f "$work/named" "$found" | grep -v -e '^src/blend: holds' -e ' functions have more than 60' >"$work/others"
check "nothing else" test ! -s "$work/others"
rm -r "$copy/src" "$copy/ui"
python3 "$rules" "$copy" >"$found" 2>&1
check "a folder without sources" grep -qxF "$copy: no sources here" "$found"
echo "1..$count"
