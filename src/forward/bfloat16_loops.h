/* bfloat16_loops.h - the loop of bfloat16.c for one width of vector (base/vector_widths.h). */

typedef float NAME(floats) __attribute__((vector_size(LANES * 4)));
typedef uint32_t NAME(words) __attribute__((vector_size(LANES * 4)));
typedef uint16_t NAME(halves) __attribute__((vector_size(LANES * 2)));

/* To nearest, ties to even; NaN stays NaN. */
ATTRIBUTE static inline __attribute__((always_inline)) void NAME(round_vector)(const float *x, uint16_t *out)
{
    NAME(floats) v;
    memcpy(&v, x, sizeof v);
    const NAME(words) bits = (NAME(words))v, nan = (NAME(words))(v != v),
                      rounded = bits + 0x7fff + ((bits >> 16) & 1);
    const NAME(words) kept = (nan & (bits | 0x400000)) | (~nan & rounded);
    const NAME(halves) half = __builtin_convertvector(kept >> 16, NAME(halves));
    memcpy(out, &half, sizeof half);
}

ATTRIBUTE static void NAME(to_bfloat16)(size_t n, const float *x, uint16_t *out)
{
    float rest[LANES] = {0};
    uint16_t half[LANES];
    size_t i = 0, left = n % LANES;
    for (; i + LANES <= n; i += LANES)
        NAME(round_vector)(x + i, out + i);
    memcpy(rest, x + i, left * sizeof *rest);
    NAME(round_vector)(rest, half);
    memcpy(out + i, half, left * sizeof *half);
}
