/* bfloat16.c - rounding to bfloat16, and the weights of a layer in it. */
#include "forward/bfloat16.h"

#include "base/mem.h"
#include "base/parallel.h"
#include "base/vector.h"
#include "forward/layer_internal.h"
#include "linalg/gemm.h"
#include "tensor/float32.h"

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

struct rounding {
    const struct qk_projection *from, *to;
};

/* Rounds ROWS rows of a projection, piece by piece. */
static void round_rows(void *context, size_t item, size_t worker)
{
    enum { PIECE = 1024 };
    const struct rounding *r = context;
    size_t row = item * ROWS, n = (r->to->n - row < ROWS ? r->to->n - row : ROWS) * r->to->k,
           size = qk_dtype_bits(r->from->dtype) / 8;
    const char *from = qk_projection_row(r->from, row);
    uint16_t *to = qk_projection_row(r->to, row);
    float wide[PIECE];
    (void)worker;
    for (size_t i = 0, m; i < n; i += m) {
        m = n - i < PIECE ? n - i : PIECE;
        qk_dtype_to_f32(r->from->dtype, from + i * size, m, wide);
        qk_to_bfloat16(m, wide, to + i);
    }
}

/* Values to be rounded of the projection, and those that are left out behind it so that the next one is aligned. */
static size_t room_of(const struct qk_projection *p)
{
    return p->weight != NULL && p->dtype != QK_BF16 ? (p->n * p->k + ALIGNED - 1) / ALIGNED * ALIGNED : 0;
}

/* Rounds the weights of a projection to `to`, unless they are bfloat16. */
static void round_projection(struct qk_projection *p, uint16_t *to)
{
    struct qk_projection rounded = *p;
    p->rounds = p->weight != NULL;
    if (room_of(p) == 0)
        return;
    rounded.weight = to;
    rounded.dtype = QK_BF16;
    rounded.rounds = true;
    struct rounding r = {p, &rounded};
    qk_parallel_for((p->n + ROWS - 1) / ROWS, round_rows, &r, NULL);
    *p = rounded;
}

static enum qk_code round_projections(
    struct qk_layer_weights *weights, struct qk_progress *progress, struct qk_error *err)
{
    struct qk_projection *const all[] = {&weights->qkv, &weights->gate, &weights->o, &weights->beta,
        &weights->alpha, &weights->mlp.gate, &weights->mlp.up, &weights->mlp.down, &weights->then_in,
        &weights->own_gate, &weights->own_out, &weights->step_in, &weights->step_out, &weights->state_in,
        &weights->latent.q_down, &weights->latent.q_up, &weights->latent.kv_down, &weights->latent.k_turned,
        &weights->latent.k_up, &weights->latent.v_up};
    enum { PROJECTIONS = sizeof all / sizeof all[0] };
    struct qk_timing *timing = qk_progress_timing(progress);
    size_t room = 0;
    uint16_t *half;
    for (size_t i = 0; i < PROJECTIONS; i++)
        room += room_of(all[i]);
    QK_TRY(qk_alloc_aligned(&half, room, sizeof *half, err));
    QK_TRY(qk_own(weights, half, room * sizeof *half, err));
    uint64_t since = qk_timing_start(timing);
    for (size_t i = 0; i < PROJECTIONS; i++) {
        size_t taken = room_of(all[i]);
        round_projection(all[i], half);
        half += taken;
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
        size_t before = others[i]->bytes;
        QK_TRY(round_projections(others[i], progress, err));
        weights->bytes += others[i]->bytes - before;
    }
    return round_projections(weights, progress, err);
}
