/* bfloat16.c - rounding to bfloat16, and the weights of a layer in it. */
#include "forward/bfloat16.h"

#include "base/mem.h"
#include "base/parallel.h"
#include "base/vector.h"
#include "forward/layer_internal.h"
#include "linalg/gemm.h"

#include <string.h>

#define LOOPS "forward/bfloat16_loops.h"
#include "base/vector_widths.h"

void qk_to_bfloat16(size_t n, const float *x, uint16_t *out)
{
#define ROW(lanes) to_bfloat16_##lanes,
    static void (*const by_width[])(size_t n, const float *x, uint16_t *out) = {QK_VECTOR_WIDTHS(ROW)};
#undef ROW
    by_width[qk_vector_width()](n, x, out);
}

/* --- a layer --- */

enum { ROWS = 64, ALIGNED = 32 };

/* Rounds ROWS rows of a projection. */
static void round_rows(void *context, size_t item, size_t worker)
{
    const struct qk_projection *p = context;
    size_t row = item * ROWS, n = (p->n - row < ROWS ? p->n - row : ROWS) * p->k;
    float *weight = p->weight + row * p->k;
    uint16_t *half = p->half + row * p->k;
    (void)worker;
    qk_to_bfloat16(n, weight, half);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)half[i] << 16;
        memcpy(&weight[i], &bits, sizeof bits);
    }
}

/* Values of the projection, and those that are left out behind it so that the next one is aligned. */
static size_t room_of(const struct qk_projection *p)
{
    return p->weight != NULL ? (p->n * p->k + ALIGNED - 1) / ALIGNED * ALIGNED : 0;
}

static enum qk_code round_projections(
    struct qk_layer_weights *weights, struct qk_progress *progress, struct qk_error *err)
{
    struct qk_projection *const all[] = {&weights->qkv, &weights->gate, &weights->o, &weights->beta,
        &weights->alpha, &weights->kernel_in, &weights->kernel_out, &weights->mlp.gate, &weights->mlp.up,
        &weights->mlp.down, &weights->then_in, &weights->own_gate, &weights->own_out, &weights->step_in,
        &weights->step_out, &weights->state_in, &weights->latent.q_down, &weights->latent.q_up,
        &weights->latent.kv_down, &weights->latent.k_turned, &weights->latent.k_up, &weights->latent.v_up};
    enum { PROJECTIONS = sizeof all / sizeof all[0] };
    struct qk_timing *timing = qk_progress_timing(progress);
    size_t room = 0;
    uint16_t *half;
    for (size_t i = 0; i < PROJECTIONS; i++)
        room += room_of(all[i]);
    QK_TRY(qk_alloc_aligned(&half, room, sizeof *half, err));
    QK_TRY(qk_own(weights, half, room / 2, err));
    uint64_t since = qk_timing_start(timing);
    for (size_t i = 0; i < PROJECTIONS; half += room_of(all[i]), i++) {
        if (all[i]->weight == NULL)
            continue;
        all[i]->half = half;
        qk_parallel_for((all[i]->n + ROWS - 1) / ROWS, round_rows, all[i], NULL);
    }
    qk_timing_lap(timing, QK_TIME_CONVERT, since);
    return QK_OK;
}

enum qk_code qk_layer_to_bfloat16(
    struct qk_layer_weights *weights, struct qk_progress *progress, struct qk_error *err)
{
    if (qk_precision() != QK_BFLOAT16)
        return QK_OK;
    struct qk_layer_weights *const others[] = {weights->beside, weights->then};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (others[i] == NULL)
            continue;
        size_t before = others[i]->values;
        QK_TRY(round_projections(others[i], progress, err));
        weights->values += others[i]->values - before;
    }
    return round_projections(weights, progress, err);
}
