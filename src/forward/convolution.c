/* convolution.c - depthwise causal convolutions over the tokens of a batch. */
#include "forward/convolution.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "forward/elementwise.h"
#include "forward/weights.h"

#include <string.h>

enum { MOST_TAPS = 1 << 10 };

enum qk_code qk_convolution_read(struct qk_reading *r, size_t channels)
{
    struct qk_layer_weights *out = r->out;
    const struct qk_tensor *conv, *bias;
    int layer = r->layer->index;
    QK_TRY(qk_parts_layer_tensor(r->parts, layer, r->mixer, "conv", ".weight", true, &conv, r->err));
    QK_TRY(qk_parts_layer_tensor(r->parts, layer, r->mixer, "conv", ".bias", false, &bias, r->err));
    if (conv->n_dims != 3 || conv->shape[0] != channels || conv->shape[1] != 1 || conv->shape[2] == 0 ||
        conv->shape[2] > MOST_TAPS)
        return qk_fail_row(r, "its convolution does not have one kernel for each channel");
    out->conv_width = (size_t)conv->shape[2];
    QK_TRY(qk_weights_values(r->parts, conv, &out->conv, r->err));
    QK_TRY(qk_own(out, out->conv, channels * out->conv_width * sizeof *out->conv, r->err));
    return bias != NULL ? qk_read_owned(r->parts, bias, channels, 0, out, &out->conv_bias, r->err) : QK_OK;
}

size_t qk_convolution_tail(const struct qk_layer_weights *w, size_t channels)
{
    return qk_taps_before(w) * channels;
}

struct job {
    struct qk_run *run;
    const struct qk_convolved *x;
};

/* Item: a sequence. Its last rows are the next tail. */
static void join_sequence(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct job *job = context;
    const struct qk_run *run = job->run;
    const struct qk_sequence *s = &run->batch->sequence[item];
    size_t taps = qk_taps_before(run->w), channels = job->x->channels, before = taps * channels;
    const float *from = job->x->x + s->first * job->x->ld;
    float *to = run->joined + (s->first + item * taps) * channels;
    if (s->state != NULL)
        memcpy(to, s->state->tail, before * sizeof *to);
    else
        memset(to, 0, before * sizeof *to);
    for (size_t t = 0; t < s->n; t++)
        memcpy(to + before + t * channels, from + t * job->x->ld, channels * sizeof *to);
    if (s->state != NULL)
        memcpy(s->state->tail, to + s->n * channels, before * sizeof *to);
}

enum qk_code qk_convolution_begin(
    struct qk_run *run, const struct qk_convolved *x, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_batch *batch = run->batch;
    struct job job = {run, x};
    QK_TRY(qk_alloc_aligned(&run->joined, (batch->T + batch->n * qk_taps_before(run->w)) * x->channels,
        sizeof *run->joined, err));
    qk_parallel_for(batch->n, join_sequence, &job, progress);
    return qk_progress_check(progress, err);
}

void qk_convolution_row(const struct qk_run *run, const struct qk_block *block, size_t i, size_t channels,
    const float *kernel, float *out)
{
    const struct qk_layer_weights *w = run->w;
    const struct qk_sequence *sequence = run->batch->sequence;
    bool single = sequence[block->sequence].n == 1; /* then each row is a sequence */
    size_t s = block->sequence + (single ? i : 0), t = block->row + i - sequence[s].first,
           taps = qk_taps_before(w);
    const float *joined = run->joined + (sequence[s].first + s * taps) * channels;
    qk_convolve(taps + t, channels, channels, w->conv_width, kernel, joined, out);
}

void qk_convolution_rows(
    const struct qk_run *run, const struct qk_block *block, size_t channels, float *out, size_t ld)
{
    const struct qk_layer_weights *w = run->w;
    for (size_t i = 0; i < block->n; i++) {
        qk_convolution_row(run, block, i, channels, w->conv, out + i * ld);
        if (w->conv_bias != NULL)
            qk_add(channels, 1.0f, w->conv_bias, out + i * ld);
    }
}

/* Item: a block. */
static void convolve_qkv(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct qk_run *run = context;
    const struct qk_block *block = qk_run_block(run, item);
    size_t n = run->w->qkv.n;
    float *qkv = run->p.qkv + block->row * n;
    qk_convolution_rows(run, block, n, qkv, n);
    qk_activate(QK_SILU, block->n * n, qkv);
}

enum qk_code qk_convolution_qkv(struct qk_run *run, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_convolved x = {run->p.qkv, run->w->qkv.n, run->w->qkv.n};
    QK_TRY(qk_convolution_begin(run, &x, progress, err));
    return qk_run_for_blocks(run, convolve_qkv, 0, progress, err);
}
