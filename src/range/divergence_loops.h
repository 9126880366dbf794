/* divergence_loops.h - the loop of divergence.c for one instruction set. divergence.c includes it once for each, with
 * NAME for the names, and ATTRIBUTE for the instruction set. So there is no include guard. */

/* ln x for 0 < x <= 2, and something finite for 0. x = 2^n f with f from sqrt(1/2) to sqrt(2), and ln f = 2 atanh(s)
 * with s = (f - 1) / (f + 1), |s| < 0.172: the first term left out is below 1e-17 of the sum. */
ATTRIBUTE static inline __attribute__((always_inline)) void NAME(log_of)(doubles *x)
{
    /* The bits of sqrt(1/2): what lies above them moves into the exponent. */
    const words from = (words){0} + 0x3fe6a09e667f3bcd;
    words bits = (words)*x, n = (bits - from) >> 52;
    doubles f = (doubles)(bits - (n << 52)), s = (f - 1) / (f + 1), square = s * s, sum = {0};
    for (int k = 0; k < LOG_TERMS; k++)
        sum = square * sum + log_term[k];
    *x = __builtin_convertvector(n, doubles) * 0.6931471805599453 + 2 * s * sum;
}

/* (1-r) ln(1-r) + (1+r) ln(1+r) of the ratio r, by both ways, of which each lane takes its own. */
ATTRIBUTE static inline __attribute__((always_inline)) void NAME(gap_of)(const doubles *ratio, doubles *gap)
{
    const doubles r = *ratio, square = r * r;
    doubles sum = {0};
    for (int k = 0; k < TERMS; k++)
        sum = square * (term[k] + sum);
    *gap = sum;
    words far = square >= SERIES_MOST;
    long any = 0;
    for (int j = 0; j < LANES; j++)
        any |= (long)far[j];
    if (any == 0)
        return;
    doubles less = 1 - r, more = 1 + r, log_less = less, log_more = more;
    NAME(log_of)(&log_less);
    NAME(log_of)(&log_more);
    doubles logs = less * log_less + more * log_more;
    *gap = (doubles)((far & (words)logs) | (~far & (words)sum));
}

ATTRIBUTE static double NAME(divergence)(const float *p, const float *r, size_t n)
{
    doubles sum = {0};
    double all = 0;
    for (size_t i = 0; i < n; i += LANES) {
        floats a = {0}, b = {0};
        size_t lanes = n - i < LANES ? n - i : LANES;
        if (lanes == LANES) {
            memcpy(&a, p + i, sizeof a);
            memcpy(&b, r + i, sizeof b);
        } else {
            memcpy(&a, p + i, lanes * sizeof *p);
            memcpy(&b, r + i, lanes * sizeof *r);
        }
        doubles x = __builtin_convertvector(a, doubles), y = __builtin_convertvector(b, doubles),
                total = x + y, gap;
        words none = total == 0;
        total = (doubles)((none & (words)((doubles){0} + 1)) |
                          (~none & (words)total)); /* 0 / 1 where both are 0 */
        x = (x - y) / total;
        NAME(gap_of)(&x, &gap);
        sum += total * gap;
    }
    for (int j = 0; j < LANES; j++)
        all += sum[j];
    return all / 4;
}

#undef NAME
#undef ATTRIBUTE
