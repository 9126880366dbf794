/* divergence_loops.h - the loops of divergence.c for one instruction set (base/vector_widths.h). */

/* ln x for 0 < x <= 2, and something finite for 0. x = 2^n f with f from sqrt(1/2) to sqrt(2), and ln f = 2 atanh(s)
 * with s = (f - 1) / (f + 1), |s| < 0.172: the first term left out is below 3e-9 of the sum. */
ATTRIBUTE static inline __attribute__((always_inline)) void NAME(log_of)(floats *x)
{
    /* The bits of sqrt(1/2): what lies above them moves into the exponent. */
    const words from = (words){0} + 0x3f3504f3;
    words bits = (words)*x, n = (bits - from) >> 23;
    floats f = (floats)(bits - (n << 23)), s = (f - 1) / (f + 1), square = s * s, sum = {0};
    for (int k = 0; k < LOG_TERMS; k++)
        sum = square * sum + log_term[k];
    *x = __builtin_convertvector(n, floats) * 0.693147181f + 2 * s * sum;
}

/* (1-r) ln(1-r) + (1+r) ln(1+r) of the ratio r, by both ways, of which each lane takes its own. */
ATTRIBUTE static inline __attribute__((always_inline)) void NAME(gap_of)(const floats *ratio, floats *gap)
{
    const floats r = *ratio, square = r * r;
    floats sum = {0};
    for (int k = 0; k < TERMS; k++)
        sum = square * (term[k] + sum);
    *gap = sum;
    words far = square >= SERIES_MOST;
    int any = 0;
    for (int j = 0; j < SUM_LANES; j++)
        any |= far[j];
    if (any == 0)
        return;
    floats less = 1 - r, more = 1 + r, log_less = less, log_more = more;
    NAME(log_of)(&log_less);
    NAME(log_of)(&log_more);
    floats logs = less * log_less + more * log_more;
    *gap = (floats)((far & (words)logs) | (~far & (words)sum));
}

/* Adds the lanes' terms of the rows p and r. */
ATTRIBUTE static inline __attribute__((always_inline)) void NAME(add_terms)(
    float a, const float *p, float b, const float *r, floats *sum)
{
    floats x, y, gap;
    memcpy(&x, p, sizeof x);
    memcpy(&y, r, sizeof y);
    x *= a;
    y *= b;
    floats total = x + y;
    words none = total == 0;
    total = (floats)((none & (words)((floats){0} + 1)) | (~none & (words)total)); /* 0 / 1 where both are 0 */
    x = (x - y) / total;
    NAME(gap_of)(&x, &gap);
    *sum += total * gap;
}

ATTRIBUTE static double NAME(divergence)(size_t n, float a, const float *p, float b, const float *r)
{
    enum { LONG = 16 * SUM_LANES }; /* as many terms are added in float32 */
    double all = 0;
    for (size_t i = 0; i < n;) {
        floats sum = {0};
        size_t end = n - i < LONG ? n : i + LONG;
        for (; i + SUM_LANES <= end; i += SUM_LANES)
            NAME(add_terms)(a, p + i, b, r + i, &sum);
        if (i < end) {
            float rest[2][SUM_LANES] = {{0}, {0}};
            memcpy(rest[0], p + i, (end - i) * sizeof *p);
            memcpy(rest[1], r + i, (end - i) * sizeof *r);
            NAME(add_terms)(a, rest[0], b, rest[1], &sum);
            i = end;
        }
        for (int j = 0; j < SUM_LANES; j++)
            all += (double)sum[j];
    }
    return all / 4;
}

ATTRIBUTE static void NAME(mass)(size_t n, const float *p, size_t farthest, double *mass, double *moment)
{
    doubles m = {0}, w = {0}, distance = {0, 1, 2, 3, 4, 5, 6, 7};
    double all[2] = {0, 0};
    size_t i = 0;
    distance = (double)farthest - distance;
    for (; i + HALF <= n; i += HALF) {
        few v;
        memcpy(&v, p + i, sizeof v);
        doubles value = __builtin_convertvector(v, doubles);
        m += value;
        w += value * distance;
        distance -= HALF;
    }
    for (; i < n; i++) {
        all[0] += (double)p[i];
        all[1] += (double)p[i] * (double)(farthest - i);
    }
    for (size_t j = 0; j < HALF && n >= HALF; j++) {
        all[0] += m[j];
        all[1] += w[j];
    }
    *mass = all[0];
    *moment = all[1];
}
