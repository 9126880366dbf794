#!/bin/sh
# test_families.sh - docs/families.md: made from the layout rows, and true of the program.
. "$srcdir/tests/cli/common.sh"

page=$srcdir/docs/families.md
check "the page is made" sh -c "'$srcdir/scripts/families' '$QKSCOPE' >'$work/page'"
check "it is up to date (else run scripts/families PROGRAM > docs/families.md)" cmp "$page" "$work/page"
run doctor
sed -n 's/^  \([a-z0-9_]*\): .*/\1/p' "$out" | sort -u >"$work/families"
check "doctor lists families" test "$(wc -l <"$work/families")" -gt 50
while read -r family; do
    check "  $family has a section" grep -q "^### $family$" "$page"
done <"$work/families"

# says_of FAMILY COLUMN WORD - the overview holds this word; 7 is the estimate, 8 the states, 9 the pass.
says_of() {
    grep "^| \[$1\]" "$page" | cut -d'|' -f"$2" | grep -q "^ \($3\) \$"
}
seq 1 20 >"$work/ids"
for folder in "$fixtures"/*; do
    pre=$folder/pre
    [ -d "$pre" ] || pre=$folder/post # some fixtures have one side
    run info "$folder/post"
    family=$(sed -n 's/^  family \([^,]*\),.*/\1/p' "$out")
    run range "$pre" "$folder/post" --ids "$work/ids"
    check "$family: forward pass" says_of "$family" 9 "$([ "$code" -eq 0 ] && echo yes || echo no)"
    if [ -e "$folder/post/golden.safetensors" ]; then
        run range "$pre" "$folder/post" --states "$folder/post/golden.safetensors" --no-cache
        check "  states" says_of "$family" 8 "$([ "$code" -eq 0 ] && echo yes || echo no)"
    fi
    run range "$pre" "$folder/post" --estimate
    check "  estimate" says_of "$family" 7 "$([ "$code" -eq 0 ] && echo 'yes\|some' || echo 'no\|some')"
done
done_testing
