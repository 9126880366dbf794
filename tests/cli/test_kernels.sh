#!/bin/sh
# test_kernels.sh - a kernel of BLAS or LAPACK that computes one wrong value is found and named in a warning.
#
# $QKSCOPE_WRONG is the program with a layer that spoils the routine of $QK_WRONG.
. "$srcdir/tests/cli/common.sh"

right=$QKSCOPE
QKSCOPE=$QKSCOPE_WRONG
run diff "$pre" "$post"
check "nothing wrong: no warning" says routing
for routine in cblas_sgemm cblas_dgemm cblas_ssyrk cblas_dsyrk cblas_sgemv cblas_dgemv cblas_ddot cblas_dtrsm \
    LAPACKE_dpotrf LAPACKE_dgeqrf LAPACKE_dgesvd LAPACKE_dsyevd; do
    export QK_WRONG=$routine
    run diff "$pre" "$post"
    name=${routine#*_}
    check "$name: warned of at the start" grep -q "^qkscope: WARNING: no number can be trusted: .*$name.*OpenBLAS" "$err"
    check "  in one line" test "$(wc -l <"$err")" = 1
    check "  and the command goes on" ended 0
done
export QK_WRONG=cblas_dsyrk
run diff --json "$pre" "$post"
check "output for programs is as it was" python3 -c "import json, sys; json.load(open(sys.argv[1]))" "$out"
run doctor
check "doctor names it" grep -q '^  dsyrk  *WRONG' "$out"
check "  and nothing else that is right" grep -q '^  sgemm  *ok' "$out"
check "  says what to do" grep -q '^qkscope: dsyrk: .*set OPENBLAS_CORETYPE to another' "$err"
check "  and ends with 1" ended 1
run clean "$work"
check "what computes nothing does not warn" says 'no left-overs'
run cases arithmetic --count 1
check "  nor do the cases" says '"prompt"'
run info "$post"
check "  nor does info" says hypenet

# Kernels are chosen where OPENBLAS_CORETYPE chooses none: of the processor's class, and among those that compute right.
given=${OPENBLAS_CORETYPE-}
unset OPENBLAS_CORETYPE QK_WRONG
run doctor
best=$(sed -n 's/^  used  *\([^ ]*\) .*/\1/p' "$out")
check "doctor shows the kernels" test -n "$best"
check "  and how fast they are" grep -q "^  sgemm on one core  *$best .*[1-9][0-9]* Gflop/s" "$out"
if grep -q '^  processor  *SSE' "$out"; then
    skip "kernels of an older class" "this processor has no other class"
else
    export QK_OWN_CORE=Prescott
    run doctor
    check "OpenBLAS takes an older class" grep -q '^  OpenBLAS by itself  *Prescott (SSE)' "$out"
    check "  which is mended" grep -q "^  used .*: OpenBLAS's own choice is of an older class" "$out"
    check "  with the best class" test "$(sed -n 's/^  used [^(]*(\([^)]*\)).*/\1/p' "$out")" = \
        "$(sed -n 's/^  processor  *\([^,]*\).*/\1/p' "$out")"
    unset QK_OWN_CORE
    export QK_WRONG=cblas_dsyrk QK_WRONG_CORE="$best"
    run diff "$pre" "$post"
    check "kernels that compute wrong are left: no warning" says routing
    run doctor
    check "  doctor shows them" grep -q "^  refused  *$best" "$out"
    check "  and takes others" grep -q '^  used .*: the best of those that compute right' "$out"
    check "  which pass" ended 0
    unset QK_WRONG QK_WRONG_CORE
fi
[ -z "$given" ] || export OPENBLAS_CORETYPE="$given"

# Kernels for a processor that this one is not: OpenBLAS takes the word for it.
QKSCOPE=$right
for core in SkylakeX Excavator; do
    export OPENBLAS_CORETYPE=$core
    run diff "$pre" "$post"
    if [ "$code" = 0 ]; then
        skip "kernels for $core" "this processor runs them"
    else
        check "kernels for $core, which this processor cannot run" complains 4 "kernels for $core have: unset OPENBLAS_CORETYPE"
    fi
done
done_testing
