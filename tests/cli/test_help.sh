#!/bin/sh
# test_help.sh - help and version of everything, and the messages for wrong command lines.
. "$srcdir/tests/cli/common.sh"

commands="info diff heads range cases plan export verify emit eval search suggest clean doctor"

run
check "a bare qkscope ends with 2" ended 2
check "  and prints its usage on standard error alone" sh -c "grep -q '^Usage: qkscope' '$err' && [ ! -s '$out' ]"

run --help
check "--help" says '^Usage: qkscope \[OPTION\]\.\.\. PRE POST$'
for command in $commands; do
    check "  names $command" grep -q "^  $command " "$out"
done
check "  fits into 80 columns" sh -c "! grep -q '.\{81\}' '$out'"
check "  has no blanks at line ends" sh -c "! grep -q ' \$' '$out'"
run --version
check "--version" says '^qkscope [0-9]*\.[0-9]*\.[0-9]*$'
run -h
check "-h" says '^Usage: qkscope'
run -V
check "-V" says '^qkscope [0-9]'

for command in $commands; do
    run $command --help
    check "$command --help" says "^Usage: qkscope $command"
    check "  names its --help, fits, has no blanks at line ends" \
        sh -c "grep -q -e --help '$out' && ! grep -q -e '.\{81\}' -e ' \$' '$out'"
    run $command --version
    check "$command --version" says '^qkscope [0-9]*\.[0-9]*\.[0-9]*$'
    run $command --nonsense
    check "$command --nonsense" complains 2 "unknown option '--nonsense'; see 'qkscope $command --help'"
done

for command in "" $commands; do
    run $command --help
    sed -n 's/^  \(-.,\|   \) --\([a-z-]*\) .*/\2 \1/p' "$out"
done | sort | uniq -c >"$work/letters"
check "many options are shared" test "$(awk '$1 > 1' "$work/letters" | wc -l)" -ge 15
check "  and have one letter in all commands" \
    sh -c "[ -z \"\$(awk '{ print \$2 }' '$work/letters' | uniq -d)\" ]"

for command in diff plan export; do
    run $command "$pre"
    check "$command PRE" complains 2 "$command: wrong number of operands (found 1, expected PRE POST)"
    run $command "$pre" "$post" "$post"
    check "$command PRE POST POST" complains 2 "(found 3, expected PRE POST)"
done
run info
check "info without operand" complains 2 '(found 0, expected CKPT)'
run doctor now
check "doctor with an operand" complains 2 "takes no operands (found 'now')"
run "$pre" "$post" "$post"
check "three checkpoints" complains 2 "wrong number of operands (found 3, expected PRE POST); see 'qkscope --help'"

run diff --jsn "$pre" "$post"
check "a slip in an option" complains 2 "unknown option '--jsn' (did you mean --json?)"
run dif "$pre" "$post"
check "a slip in a command" complains 2 "unknown command 'dif' (did you mean diff?)"
run diff --json=yes "$pre" "$post"
check "an argument too many" complains 2 "json takes no argument (found 'yes')"
run diff "$pre" "$post" --sort
check "an argument too few" complains 2 "sort needs an argument (expected METRIC)"
run diff "$pre" "$post" -x
check "an unknown letter" complains 2 "unknown option '-x'"
run diff "$pre" "$post" --threads=0
check "--threads 0" complains 2 "threads: not a number in range (found '0', expected 1 to"
run diff "$pre" "$post" -jmany
check "-jmany" complains 2 "(found 'many', expected 1 to"
run "$pre" "$post" --color sometimes
check "--color sometimes" complains 2 "(found 'sometimes', expected auto|always|never)"
run diff "$pre" "$post" --json --csv
check "--json --csv" complains 2 "json and --csv cannot be given together"
run diff "$pre" "$post" --sort size
check "--sort size" complains 2 "unknown metric (found 'size', expected rel_fro"
run diff "$pre" "$post" --sort q.routing
check "--sort q.routing" complains 2 "unknown metric"
run diff "$pre" "$post" --layers 4-
check "--layers 4-" complains 2 "'4-': character 3"
run diff "$pre" "$post" --layers 99
check "--layers 99" complains 2 "no such layer (found 99, expected 0 to 11)"
run plan "$pre" "$post"
check "plan of nothing" complains 2 "nothing is chosen (expected --set SPEC or --recipe FILE)"
run export "$pre" "$post" -o "$work/x"
check "export of nothing" complains 2 "nothing is chosen"
run export "$pre" "$post" --set full=restore
check "export to nowhere" complains 2 "no folder to write (expected --output DIR)"
for spec in full full=mend full=lerp full=lerp:2 full:z=keep 99=restore "routing>x=restore" full=qk-pro:-1 q=; do
    run plan "$pre" "$post" --set "$spec"
    check "--set $spec" complains 2 .
done

run diff -- "$pre" "$post" --csv
check "words after -- are operands" complains 2 "(found 3, expected PRE POST)"
run diff -Hj2 "$pre" --csv "$post"
check "letters share a dash; options stand between operands" says '^layer,kind,role,head,'
mkdir "$work/info"
(cd "$work" && "$QKSCOPE" info info >printed 2>messages)
code=$?
check "a command's name wins over a file of that name" complains 3 'info: no .safetensors file and no pytorch_model.bin here'
done_testing
