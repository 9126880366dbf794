/* coefficients.c - maps of lightning attention and of delta rules. */
#include "forward/coefficients.h"
#include "forward/recurrence_internal.h"

#include "base/blas.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "forward/elementwise.h"
#include "forward/exponential.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A block of queries of a query head, and the arrays of its map. */
struct job {
    const struct qk_row_past *past;
    size_t head, t0, n, end; /* queries t0 <= t < end */
    float *p;                /* (n, T) */
    float *factor;           /* (n, blocks) */
    size_t ld, blocks, window;
    float *scratch;
};

/* A kind of linear layer. */
struct kind {
    /* Floats of its scratch. */
    size_t (*scratch)(const struct qk_row_past *past);
    /* Sets p, factor, and the window. */
    void (*fill)(struct job *job);
};

static void set_factors(const struct job *job, size_t i, double sum)
{
    float factor = sum == 0 ? 0.0f : (float)(1.0 / sum);
    for (size_t u = 0; u < job->blocks; u++)
        job->factor[i * job->blocks + u] = factor;
}

/* --- lightning attention --- */

/* Decays below e^-60 = 1e-26 do not show in a row. */
enum { LEAST_DECAY = 60 };

static size_t lightning_window(float slope, size_t T)
{
    double distance = slope > 0 ? ceil(LEAST_DECAY / (double)slope) : HUGE_VAL;
    return distance + 1 < (double)T ? (size_t)distance + 1 : 0;
}

/* One for each distance. */
static size_t lightning_scratch(const struct qk_row_past *past)
{
    return past->a->T;
}

/* decay[T - 1 - tau] = e^(-slope tau). */
static void fill_decay(float slope, size_t T, float *decay)
{
    for (size_t tau = 0; tau < T; tau++)
        decay[T - 1 - tau] = (float)(-(double)slope * (double)tau);
    qk_exp_sum(T, 0, decay);
}

static void fill_lightning(struct job *job)
{
    const struct qk_attention *a = job->past->a;
    size_t hd = a->head_dim, T = a->T;
    float *decay = job->scratch, slope = job->past->slope[job->head];
    const float *q = a->q + job->t0 * a->q_stride + job->head * hd,
                *k = a->k + job->head / (a->n_q / a->n_k) * hd;
    job->window = lightning_window(slope, T);
    fill_decay(slope, T, decay);
    size_t first = qk_first_key(job->window, job->t0);
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)job->n, (int)(job->end - first), (int)hd,
        a->scale, q, (int)a->q_stride, k + first * a->k_stride, (int)a->k_stride, 0.0f, job->p + first,
        (int)job->ld);
    for (size_t i = 0; i < job->n; i++) {
        size_t t = job->t0 + i, seen = qk_first_key(job->window, t);
        float *row = job->p + i * job->ld + seen;
        qk_multiply(t + 1 - seen, decay + (T - 1 - t) + seen, row);
        set_factors(job, i, qk_magnitudes(t + 1 - seen, row));
    }
}

/* --- delta rules --- */

/* A value head goes back over its keys, chunk by chunk. W (n, dk) holds w_t of each query at the end of the chunk: from
 * there on it is as if it began there. With d(s, r) = e^(g_(s+1) + ... + g_r), a query that is at r (its own place
 * within the chunk, or the chunk's end) has for the chunk's keys s <= r
 *   y_s = d(s, r) (k_s . w) - sum_(s<j<=r) d(s, j) (k_s . k_j) beta_j y_j,   c(t, s) = beta_s y_s,
 * the transpose of the triangular system of the recurrence (recurrence.c), and moves to before the chunk with
 *   w <- e^(g_first + ... + g_r) w - sum_j e^(g_first + ... + g_j) c(t, j) k_j.
 * A form's functions are all that knows the form of the decay; with one for each channel d goes channel by channel. */
struct sweep;
struct form {
    /* keys (m, m) = the triangular system: beta_i k_i . (d(j, i) k_j) below the diagonal. */
    void (*solve)(struct sweep *x);
    /* c (queries, m) = k_s . (d(s, r) w), 0 behind r. */
    void (*read)(const struct sweep *x);
    /* Moves w to before the chunk. May overwrite c. */
    void (*move)(const struct sweep *x);
};

struct sweep {
    const struct form *form;
    const struct qk_attention *a;
    const struct qk_gates *gates;
    size_t value_head, key, t0, n, ld;
    float *own;                  /* (n, ld): magnitudes */
    double *sum;                 /* (n) of them */
    size_t stop;                 /* the keys before it have none that count */
    float *w, *c, *keys, *decay; /* (n, dk), (n, CHUNK), (CHUNK, CHUNK) twice */
    /* The chunk at work: m keys from s0 on. The queries from `first` on see some of it. */
    size_t s0, m, first;
    const float *k;
    float from_start[QK_CHUNK];
    float *chunk_values; /* with a decay for each channel: qk_channel_chunk_values */
    struct qk_channel_chunk chunk;
};

/* The place within the chunk from which query i looks. */
static size_t place_of(const struct sweep *x, size_t i)
{
    size_t t = x->t0 + i;
    return t - x->s0 < x->m ? t - x->s0 : x->m - 1;
}

static float beta_of(const struct sweep *x, size_t s)
{
    return x->gates->beta[(x->s0 + s) * x->a->n_q + x->value_head];
}

static void solve(struct sweep *x)
{
    const struct qk_attention *a = x->a;
    int m = (int)x->m;
    qk_chunk_decay(x->m, x->gates->g + x->s0 * a->n_q + x->value_head, a->n_q, x->decay, x->from_start);
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, m, (int)a->head_dim, 1.0f, x->k,
        (int)a->k_stride, x->k, (int)a->k_stride, 0.0f, x->keys, QK_CHUNK);
    for (size_t i = 0; i < x->m; i++) {
        qk_multiply(i, x->decay + i * QK_CHUNK, x->keys + i * QK_CHUNK);
        qk_scale(i, beta_of(x, i), x->keys + i * QK_CHUNK);
    }
}

static void read(const struct sweep *x)
{
    const struct qk_attention *a = x->a;
    size_t dk = a->head_dim;
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)(x->n - x->first), (int)x->m, (int)dk, 1.0f,
        x->w + x->first * dk, (int)dk, x->k, (int)a->k_stride, 0.0f, x->c + x->first * QK_CHUNK, QK_CHUNK);
    for (size_t i = x->first; i < x->n; i++) {
        size_t place = place_of(x, i);
        float *c = x->c + i * QK_CHUNK;
        qk_multiply(place + 1, x->decay + place * QK_CHUNK, c);
        memset(c + place + 1, 0, (x->m - place - 1) * sizeof *c);
    }
}

static void move(const struct sweep *x)
{
    const struct qk_attention *a = x->a;
    size_t dk = a->head_dim;
    for (size_t i = x->first; i < x->n; i++) {
        qk_multiply(x->m, x->from_start, x->c + i * QK_CHUNK);
        qk_scale(dk, x->from_start[place_of(x, i)], x->w + i * dk);
    }
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)(x->n - x->first), (int)dk, (int)x->m,
        -1.0f, x->c + x->first * QK_CHUNK, QK_CHUNK, x->k, (int)a->k_stride, 1.0f, x->w + x->first * dk,
        (int)dk);
}

/* The same with a decay for each channel. */
static void solve_channels(struct sweep *x)
{
    const struct qk_attention *a = x->a;
    size_t dk = a->head_dim;
    const struct qk_gated_tokens tokens = {.n = x->m,
        .dk = dk,
        .q = a->q + x->s0 * a->q_stride + x->key * dk,
        .k = x->k,
        .g = x->gates->g + (x->s0 * a->n_q + x->value_head) * dk,
        .q_stride = a->q_stride,
        .k_stride = a->k_stride,
        .g_stride = a->n_q * dk};
    x->chunk = qk_channel_chunk_make(&tokens, x->chunk_values);
    x->keys = x->chunk.keys;
    for (size_t i = 0; i < x->m; i++)
        qk_scale(i, beta_of(x, i), x->keys + i * QK_CHUNK);
}

static void read_channels(const struct sweep *x)
{
    size_t dk = x->a->head_dim;
    qk_chunk_product(x->n - x->first, x->m, dk, x->w + x->first * dk, dk, x->chunk.keys_to_end, dk, true,
        x->c + x->first * QK_CHUNK, QK_CHUNK);
    for (size_t i = x->first; i < x->n && x->t0 + i < x->s0 + x->m; i++)
        memcpy(x->c + i * QK_CHUNK, x->chunk.queries + place_of(x, i) * QK_CHUNK, x->m * sizeof *x->c);
}

static void move_channels(const struct sweep *x)
{
    size_t dk = x->a->head_dim;
    for (size_t i = x->first; i < x->n; i++)
        qk_multiply(dk, x->chunk.decay + place_of(x, i) * dk, x->w + i * dk);
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)(x->n - x->first), (int)dk, (int)x->m,
        -1.0f, x->c + x->first * QK_CHUNK, QK_CHUNK, x->chunk.keys_from_start, (int)dk, 1.0f,
        x->w + x->first * dk, (int)dk);
}

/* Puts the magnitudes of the chunk's coefficients into the rows, and leaves the coefficients in c. */
static void keep(const struct sweep *x)
{
    float beta[QK_CHUNK];
    for (size_t s = 0; s < x->m; s++)
        beta[s] = beta_of(x, s);
    for (size_t i = x->first; i < x->n; i++) {
        float *c = x->c + i * QK_CHUNK, *own = x->own + i * x->ld + x->s0;
        qk_multiply(x->m, beta, c);
        memcpy(own, c, x->m * sizeof *c);
        x->sum[i] += qk_magnitudes(x->m, own);
    }
}

static void sweep_chunk(struct sweep *x)
{
    const struct qk_attention *a = x->a;
    size_t dk = a->head_dim;
    x->k = a->k + x->s0 * a->k_stride + x->key * dk;
    x->first = x->s0 > x->t0 ? x->s0 - x->t0 : 0;
    for (size_t i = x->first; i < x->n && x->t0 + i < x->s0 + x->m; i++) /* those that begin here */
        memcpy(x->w + i * dk, a->q + (x->t0 + i) * a->q_stride + x->key * dk, dk * sizeof *x->w);
    x->form->solve(x);
    x->form->read(x);
    qk_blas.strsm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasUnit, (int)(x->n - x->first),
        (int)x->m, 1.0f, x->keys, QK_CHUNK, x->c + x->first * QK_CHUNK, QK_CHUNK);
    keep(x);
    x->form->move(x);
}

/* True when what is left before the chunk cannot reach 1e-9 of any row. Keys have length 1 and w never grows, so a
 * coefficient is at most beta |w|, with beta at most 2. */
static bool is_over(const struct sweep *x)
{
    static const double LEAST = 1e-9;
    size_t dk = x->a->head_dim;
    for (size_t i = x->first; i < x->n; i++)
        if (!(2 * (double)x->s0 * sqrt(qk_sum_of_squares(dk, x->w + i * dk)) <= LEAST * x->sum[i]))
            return false;
    return x->first == 0;
}

static void sweep_keys(struct sweep *x)
{
    size_t end = x->t0 + x->n, chunks = (end + QK_CHUNK - 1) / QK_CHUNK;
    memset(x->sum, 0, x->n * sizeof *x->sum);
    x->stop = 0;
    for (size_t i = chunks; i-- > 0;) {
        x->s0 = i * QK_CHUNK;
        x->m = end - x->s0 < QK_CHUNK ? end - x->s0 : QK_CHUNK;
        sweep_chunk(x);
        if (i > 0 && is_over(x)) {
            x->stop = x->s0;
            return;
        }
    }
}

/* Zeros before the last query's first key, as far as the window of an earlier one reaches. */
static void clear_before(const struct job *job, size_t stop, float *rows)
{
    size_t from = stop > job->n ? stop - job->n : 0;
    for (size_t i = 0; i < job->n && stop > 0; i++)
        memset(rows + i * job->ld + from, 0, (stop - from) * sizeof *rows);
}

static size_t delta_scratch(const struct qk_row_past *past)
{
    const struct qk_attention *a = past->a;
    size_t rows = a->n_q > a->n_k ? QK_ATTENTION_BLOCK * a->T : 0; /* of a second value head */
    size_t chunk = past->gates->channels ? qk_channel_chunk_values(a->head_dim) : 0;
    return rows + QK_ATTENTION_BLOCK * (a->head_dim + QK_CHUNK) + 2 * QK_CHUNK * QK_CHUNK + chunk;
}

static void fill_delta(struct job *job)
{
    const struct qk_attention *a = job->past->a;
    static const struct form scalar = {solve, read, move},
                             channels = {solve_channels, read_channels, move_channels};
    size_t shared = a->n_q / a->n_k, stop = job->end;
    double sum[QK_ATTENTION_BLOCK];
    struct sweep x = {.form = job->past->gates->channels ? &channels : &scalar,
        .a = a,
        .gates = job->past->gates,
        .key = job->head,
        .t0 = job->t0,
        .n = job->n};
    x.ld = job->ld;
    x.sum = sum;
    x.w = job->scratch;
    x.c = x.w + QK_ATTENTION_BLOCK * a->head_dim;
    x.keys = x.c + QK_ATTENTION_BLOCK * QK_CHUNK;
    x.decay = x.keys + QK_CHUNK * QK_CHUNK;
    x.chunk_values = x.decay + QK_CHUNK * QK_CHUNK;
    x.own = shared > 1
                ? x.chunk_values + (job->past->gates->channels ? qk_channel_chunk_values(a->head_dim) : 0)
                : job->p;
    for (size_t i = 0; shared > 1 && i < job->n; i++)
        memset(job->p + i * job->ld, 0, job->end * sizeof *job->p);
    for (size_t v = 0; v < shared; v++) {
        x.value_head = job->head * shared + v;
        sweep_keys(&x);
        stop = x.stop < stop ? x.stop : stop;
        for (size_t i = 0; shared > 1 && i < job->n; i++)
            if (sum[i] != 0)
                qk_add(job->t0 + i + 1 - x.stop, (float)(1.0 / (sum[i] * (double)shared)),
                    x.own + i * job->ld + x.stop, job->p + i * job->ld + x.stop);
    }
    for (size_t i = 0; i < job->n; i++)
        set_factors(job, i, shared > 1 ? 1 : sum[i]);
    if (shared == 1)
        clear_before(job, stop, job->p);
    job->window = stop > 0 ? job->end - stop : 0;
}

/* --- maps --- */

/* NULL: softmax attention. */
static const struct kind *kind_of(const struct qk_row_past *past)
{
    static const struct kind lightning = {lightning_scratch, fill_lightning},
                             delta = {delta_scratch, fill_delta};
    return past->gates != NULL ? &delta : past->slope != NULL ? &lightning : NULL;
}

size_t qk_past_heads(const struct qk_row_past *past)
{
    return past->gates != NULL ? past->a->n_k : past->a->n_q;
}

size_t qk_past_map_values(const struct qk_row_past *past)
{
    const struct kind *kind = kind_of(past);
    return qk_attention_map_values(past->a->T) + (kind != NULL ? kind->scratch(past) : 0);
}

struct qk_attention_map qk_past_map_make(
    const struct qk_row_past *past, size_t head, size_t t0, size_t n, float *values)
{
    const struct kind *kind = kind_of(past);
    size_t T = past->a->T;
    if (kind == NULL)
        return qk_attention_map_make(past->a, head, t0, n, values);
    struct job job = {.past = past, .head = head, .t0 = t0, .n = n, .end = t0 + n, .p = values, .ld = T};
    job.blocks = qk_attention_blocks(T);
    job.factor = values + QK_ATTENTION_BLOCK * T;
    job.scratch = values + qk_attention_map_values(T);
    kind->fill(&job);
    return (struct qk_attention_map){.head = head,
        .t0 = t0,
        .n = n,
        .window = job.window,
        .p = job.p,
        .ld = T,
        .factor = job.factor,
        .blocks = job.blocks};
}

struct show {
    const struct qk_row_past *past;
    const struct qk_attention_watch *watch;
    struct qk_progress *progress;
    struct qk_block_choice blocks;
    size_t heads;
    float *values; /* `size` a worker */
    size_t size;
};

/* Item: a chosen block of a head, the last blocks first. */
static void show_map(void *context, size_t item, size_t worker)
{
    const struct show *show = context;
    struct qk_timing *timing = qk_progress_timing(show->progress);
    uint64_t since = qk_timing_start(timing);
    size_t block = qk_chosen_block(&show->blocks, show->blocks.n - 1 - item / show->heads),
           t0 = block * QK_ATTENTION_BLOCK, left = show->past->a->T - t0;
    const struct qk_attention_map map = qk_past_map_make(show->past, item % show->heads, t0,
        left < QK_ATTENTION_BLOCK ? left : QK_ATTENTION_BLOCK, show->values + worker * show->size);
    qk_timing_lap(timing, QK_TIME_ATTENTION, since);
    show->watch->seen(show->watch->context, worker, &map);
}

enum qk_code qk_past_maps_show(const struct qk_row_past *past, const struct qk_attention_watch *watch,
    struct qk_progress *progress, struct qk_error *err)
{
    if (kind_of(past) == NULL || watch == NULL || watch->seen == NULL)
        return QK_OK;
    struct show show = {.past = past, .watch = watch, .progress = progress};
    show.blocks = qk_choose_blocks(past->a->T, watch->from, watch->most);
    show.heads = qk_past_heads(past);
    show.size = qk_past_map_values(past);
    size_t items = show.blocks.n * show.heads;
    QK_TRY(qk_alloc_aligned(&show.values, qk_parallel_workers(items) * show.size, sizeof *show.values, err));
    qk_parallel_for(items, show_map, &show, progress);
    free(show.values);
    return qk_progress_check(progress, err);
}
