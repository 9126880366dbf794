/* short_conv_mixer.c - the mixer of gated short convolutions (LFM2): C * conv(B * x), of [B; C; x] from one projection.
 *
 * C is the gate of the output here, and B and x are what `qkv` projects to. */
#include "forward/convolution.h"
#include "forward/elementwise.h"
#include "forward/mixer.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Turns the rows [B; C; x], n of so many bytes each, to [B; x; C]. */
static enum qk_code put_gate_last(void *rows, size_t n, size_t bytes, struct qk_error *err)
{
    char *gate;
    if (rows == NULL)
        return QK_OK;
    QK_TRY(qk_alloc(&gate, n, bytes, err));
    char *c = (char *)rows + n * bytes, *x = c + n * bytes;
    memcpy(gate, c, n * bytes);
    memcpy(c, x, n * bytes);
    memcpy(x, gate, n * bytes);
    free(gate);
    return QK_OK;
}

static enum qk_code read_short_conv(struct qk_reading *r, bool all)
{
    struct qk_layer_weights *out = r->out;
    struct qk_projection in = {0};
    size_t d = out->d;
    (void)all;
    out->n_out = 1;
    out->value_dim = d;
    QK_TRY(qk_read_projection(r, r->mixer, "in", 3 * d, d, true, &in));
    QK_TRY(put_gate_last(in.weight, d, d * (qk_dtype_bits(in.dtype) / 8), r->err));
    QK_TRY(put_gate_last(in.bias, d, sizeof *in.bias, r->err));
    out->qkv = qk_projection_rows(&in, 0, 2 * d);
    out->gate = qk_projection_rows(&in, 2 * d, d);
    QK_TRY(qk_convolution_read(r, d));
    QK_TRY(qk_read_output(r));
    out->gate_activation = QK_IDENTITY;
    return QK_OK;
}

/* x *= B. */
static void multiply(const struct qk_run *run, const struct qk_block *block)
{
    size_t d = run->w->d;
    for (size_t i = 0; i < block->n; i++) {
        float *row = run->p.qkv + (block->row + i) * 2 * d;
        qk_multiply(d, row, row + d);
    }
}

/* Item: a block. */
static void convolve(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct qk_run *run = context;
    const struct qk_block *block = qk_run_block(run, item);
    size_t d = run->w->d;
    qk_convolution_rows(run, block, d, run->mixed + block->row * d, d);
}

static enum qk_code mix(struct qk_run *run, struct qk_rope_tables *tables, const struct qk_layer_watch *watch,
    struct qk_progress *progress, struct qk_error *err)
{
    size_t d = run->w->d;
    (void)watch;
    QK_TRY(qk_qkv_project(run, tables, progress, err));
    const struct qk_convolved x = {run->p.qkv + d, 2 * d, d};
    QK_TRY(qk_alloc_aligned(&run->mixed, run->batch->T * d, sizeof *run->mixed, err));
    QK_TRY(qk_convolution_begin(run, &x, progress, err));
    return qk_run_for_blocks(run, convolve, 0, progress, err);
}

static void size_tail(const struct qk_layer_weights *w, struct qk_layer_state *state)
{
    state->tail_values = qk_convolution_tail(w, w->d);
}

const struct qk_mixer_ops qk_short_conv_mixer = {
    .word = "short_conv",
    .read = read_short_conv,
    .size_state = size_tail,
    .mix = mix,
    .recurs = true,
    .finish_projection = multiply,
};
