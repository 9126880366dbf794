#!/bin/sh
# test_kernels.sh - a kernel of BLAS or LAPACK that computes one wrong value is found and named in a warning.
#
# $QKSCOPE_WRONG is the program with a layer that spoils the routine of $QK_WRONG.
. "$srcdir/tests/cli/common.sh"

right=$QKSCOPE
QKSCOPE=$QKSCOPE_WRONG
run info "$post"
check "nothing wrong: no warning" says hypenet
for routine in cblas_sgemm cblas_dgemm cblas_ssyrk cblas_dsyrk cblas_sgemv cblas_dgemv cblas_ddot cblas_dtrsm \
    LAPACKE_dpotrf LAPACKE_dgeqrf LAPACKE_dgesvd LAPACKE_dsyevd; do
    export QK_WRONG=$routine
    run info "$post"
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
unset QK_WRONG

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
