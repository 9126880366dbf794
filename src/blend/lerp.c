/* lerp.c - the mode lerp: (1-a) post + a pre, value by value. */
#include "blend/blend_internal.h"

static double alpha(double param)
{
    return param;
}

static void gain(double param, size_t n, const double *pre, const double *post, double *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (1 - param) * post[i] + param * pre[i];
}

static void blend(const struct qk_blend_heads *b, const void *state, double param, size_t columns,
    const double *pre, double *post, double *out)
{
    (void)state;
    gain(param, b->m * columns, pre, post, out);
}

static bool bf16(const void *state, double param, struct qk_bf16_blend *out)
{
    (void)state;
    *out = (struct qk_bf16_blend){.weight = param, .factor = 1 - param};
    return true;
}

const struct qk_mode_ops qk_mode_lerp = {
    .info = {.name = "lerp",
        .symbol = "α",
        .ascii = "a",
        .placeholder = "ALPHA",
        .help = "a straight blend: 0 is post, 1 is pre",
        .has_param = true,
        .start = 0.5,
        .low = 0,
        .high = 1,
        .edge = {{0, QK_KEEP}, {1, QK_RESTORE}},
        .n_edges = 2,
        .trial = {{0, 0.5}, {1, 0.75}, {2, 0.25}},
        .n_trials = 3},
    .alpha = alpha,
    .blend = blend,
    .bf16 = bf16,
    .gain = gain,
};
