/* attention.c - softmax attention by tiles of queries and keys. */
#include "forward/attention.h"

#include "base/blas.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "forward/elementwise.h"
#include "forward/exponential.h"
#include "linalg/gemm.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A block of queries takes its keys tile by tile, so that logits stay in the second-level cache. Its maximum and its
 * sum run along (Milakov and Gimelshein 2018). A tile of 256 queries copies fewer keys for its products than one of
 * 128. */
enum { KEY_TILE = 512, ROWS = 256 };

/* One head's queries t0 <= t < t0 + n, and where their exponentials go. */
struct block {
    const struct qk_attention *a;
    size_t head, t0, n;
    float *p; /* kept: (n, ld), column s of the key s; else one tile, ld = KEY_TILE */
    size_t ld;
    float *factor; /* kept: (n, blocks), at first each tile's maximum; else NULL */
    size_t blocks;
    float *sink;      /* kept: (n) what a sink takes; else NULL */
    float *out;       /* rows n_q * value_dim apart, or NULL */
    float most[ROWS]; /* the largest logit so far */
    double sum[ROWS]; /* of e^(logit - most) so far, in float64, so that long rows keep their last digits */
};

/* Where the tile that begins at key s ends. Tiles end at multiples of QK_ATTENTION_BLOCK. Those beside the diagonal are
 * small, because half of each is in the future. */
static size_t tile_end(const struct block *b, size_t s)
{
    size_t all = b->t0 + b->n, end = s - s % KEY_TILE + KEY_TILE, past = b->t0 - b->t0 % QK_ATTENTION_BLOCK;
    if (b->n == 1)
        return all;
    if (end > past)
        end = s < past ? past : s - s % QK_ATTENTION_BLOCK + QK_ATTENTION_BLOCK;
    return end < all ? end : all;
}

/* A tile: keys s0 <= s < s1 and those of the block's rows that see one of them, first <= i < end. */
struct tile {
    size_t s0, s1, first, end;
    float *p; /* of its first row and key */
};

static struct tile cut_tile(const struct block *b, size_t s0)
{
    struct tile tile = {.s0 = s0, .s1 = tile_end(b, s0), .end = b->n};
    size_t window = b->a->window;
    tile.first = s0 > b->t0 ? s0 - b->t0 : 0;
    if (window != 0 && tile.s1 + window - 1 < b->t0 + b->n)
        tile.end = tile.s1 + window - 1 - b->t0;
    tile.p = b->p + tile.first * b->ld + (b->factor != NULL ? s0 : 0);
    return tile;
}

/* p = scale q k^T. A single query is a product of a matrix and a vector. */
static void multiply_tile(const struct block *b, const struct tile *tile)
{
    const struct qk_attention *a = b->a;
    size_t rows = tile->end - tile->first, keys = tile->s1 - tile->s0;
    const float *q = a->q + (b->t0 + tile->first - a->first_query) * a->q_stride + b->head * a->head_dim,
                *k = a->k + tile->s0 * a->k_stride + b->head / (a->n_q / a->n_k) * a->head_dim;
    if (b->n == 1)
        qk_blas.sgemv(CblasRowMajor, CblasNoTrans, (int)keys, (int)a->head_dim, a->scale, k, (int)a->k_stride,
            q, 1, 0.0f, tile->p, 1);
    else
        qk_gemm(
            true, rows, keys, a->head_dim, a->scale, q, a->q_stride, k, a->k_stride, 0.0f, tile->p, b->ld);
}

static float *row_out(const struct block *b, size_t i)
{
    return b->out + i * b->a->n_q * b->a->value_dim;
}

/* Begins every row: with nothing, or with the sink alone, whose logit is the maximum then. */
static void begin_block(struct block *b)
{
    for (size_t i = 0; i < b->n; i++) {
        b->most[i] = b->a->sinks != NULL ? b->a->sinks[b->head] : 0;
        b->sum[i] = b->a->sinks != NULL ? 1 : 0;
        if (b->out != NULL)
            memset(row_out(b, i), 0, b->a->value_dim * sizeof *b->out);
    }
}

/* Raises the row's maximum to `most`, and what was summed for it follows. */
static void raise_most(struct block *b, size_t i, float most)
{
    float ratio = b->most[i];
    if (b->sum[i] != 0) {
        qk_exp_sum(1, most, &ratio);
        b->sum[i] *= (double)ratio;
        if (b->out != NULL)
            qk_scale(b->a->value_dim, ratio, row_out(b, i));
    }
    b->most[i] = most;
}

/* Row i's exponentials of the tile, zeros where the query does not see. */
static void exponentiate_row(struct block *b, const struct tile *tile, size_t i)
{
    const struct qk_attention *a = b->a;
    float *row = tile->p + (i - tile->first) * b->ld;
    size_t t = b->t0 + i, seen = qk_first_key(a->window, t), keys = tile->s1 - tile->s0,
           first = seen > tile->s0 ? seen - tile->s0 : 0,
           end = t + 1 - tile->s0 < keys ? t + 1 - tile->s0 : keys;
    for (size_t s = first; a->softcap > 0 && s < end; s++)
        row[s] = a->softcap * tanhf(row[s] / a->softcap);
    float most = qk_largest(end - first, row + first);
    if (b->sum[i] == 0 || most > b->most[i])
        raise_most(b, i, most);
    b->sum[i] += qk_exp_sum(end - first, b->most[i], row + first);
    memset(row, 0, first * sizeof *row);
    memset(row + end, 0, (keys - end) * sizeof *row);
    for (size_t u = tile->s0 / QK_ATTENTION_BLOCK; b->factor != NULL && u * QK_ATTENTION_BLOCK < tile->s1;
         u++)
        b->factor[i * b->blocks + u] = b->most[i];
}

/* out += p v. */
static void mix_tile(const struct block *b, const struct tile *tile)
{
    const struct qk_attention *a = b->a;
    size_t rows = tile->end - tile->first, keys = tile->s1 - tile->s0, vd = a->value_dim;
    const float *v = a->v + tile->s0 * a->v_stride + b->head / (a->n_q / a->n_k) * vd;
    float *out = row_out(b, tile->first);
    if (b->n == 1)
        qk_blas.sgemv(CblasRowMajor, CblasTrans, (int)keys, (int)vd, 1.0f, v, (int)a->v_stride, tile->p, 1,
            1.0f, out, 1);
    else
        qk_gemm(false, rows, vd, keys, 1.0f, tile->p, b->ld, v, a->v_stride, 1.0f, out, a->n_q * vd);
}

/* Divides by the sums, and makes factors of the tiles' maxima. */
static void finish_block(const struct block *b)
{
    for (size_t i = 0; i < b->n; i++) {
        float scale = (float)(1.0 / b->sum[i]);
        if (b->sink != NULL) {
            b->sink[i] = b->a->sinks[b->head];
            qk_exp_sum(1, b->most[i], &b->sink[i]);
            b->sink[i] *= scale;
        }
        if (b->out != NULL)
            qk_scale(b->a->value_dim, scale, row_out(b, i));
        if (b->factor == NULL)
            continue;
        size_t t = b->t0 + i, first = qk_first_key(b->a->window, t) / QK_ATTENTION_BLOCK,
               n = t / QK_ATTENTION_BLOCK + 1 - first;
        float *factor = b->factor + i * b->blocks + first;
        qk_exp_sum(n, b->most[i], factor);
        qk_scale(n, scale, factor);
    }
}

static void attend_block(struct block *b)
{
    begin_block(b);
    for (size_t s = qk_first_key(b->a->window, b->t0); s < b->t0 + b->n;) {
        struct tile tile = cut_tile(b, s);
        multiply_tile(b, &tile);
        for (size_t i = tile.first; i < tile.end; i++)
            exponentiate_row(b, &tile, i);
        if (b->out != NULL)
            mix_tile(b, &tile);
        s = tile.s1;
    }
    finish_block(b);
}

void qk_attention_row(const struct qk_attention *a, size_t head, size_t t, float *row)
{
    struct block b = {.a = a, .head = head, .t0 = t, .n = 1};
    size_t first = qk_first_key(a->window, t);
    b.p = row + first;
    attend_block(&b);
    qk_scale(t + 1 - first, (float)(1.0 / b.sum[0]), row + first);
    memset(row, 0, first * sizeof *row);
}

size_t qk_attention_blocks(size_t T)
{
    return (T + QK_ATTENTION_BLOCK - 1) / QK_ATTENTION_BLOCK;
}

struct qk_block_choice qk_choose_blocks(size_t T, size_t from, size_t most)
{
    struct qk_block_choice choice = {.T = T, .from = from, .first = from / QK_ATTENTION_BLOCK};
    choice.among = from < T ? qk_attention_blocks(T) - choice.first : 0;
    choice.n = most > 0 && most < choice.among ? most : choice.among;
    return choice;
}

/* The middle one of each of n equal shares. */
size_t qk_chosen_block(const struct qk_block_choice *choice, size_t i)
{
    return choice->first + (2 * i + 1) * choice->among / (2 * choice->n);
}

size_t qk_chosen_queries(const struct qk_block_choice *choice)
{
    size_t queries = 0;
    for (size_t i = 0; i < choice->n; i++) {
        size_t t0 = qk_chosen_block(choice, i) * QK_ATTENTION_BLOCK, end = t0 + QK_ATTENTION_BLOCK;
        queries += (end < choice->T ? end : choice->T) - (t0 > choice->from ? t0 : choice->from);
    }
    return queries;
}

size_t qk_attention_map_values(size_t T)
{
    return QK_ATTENTION_BLOCK * (T + qk_attention_blocks(T) + 1);
}

/* The same with the output's rows for out (NULL: none). */
static struct qk_attention_map make_map(
    const struct qk_attention *a, size_t head, size_t t0, size_t n, float *values, float *out)
{
    struct block b = {.a = a, .head = head, .t0 = t0, .n = n, .p = values, .ld = a->T, .out = out};
    b.factor = values + QK_ATTENTION_BLOCK * a->T;
    b.blocks = qk_attention_blocks(a->T);
    b.sink = a->sinks != NULL ? b.factor + QK_ATTENTION_BLOCK * b.blocks : NULL;
    attend_block(&b);
    return (struct qk_attention_map){head, t0, n, a->window, b.p, b.ld, b.factor, b.blocks, b.sink};
}

struct qk_attention_map qk_attention_map_make(
    const struct qk_attention *a, size_t head, size_t t0, size_t n, float *values)
{
    return make_map(a, head, t0, n, values, NULL);
}

/* Queries t0 <= t < t0 + n of a sequence. */
struct piece {
    size_t sequence, t0, n, keys;
    bool shown;
};

struct softmax_job {
    const struct qk_attention *a; /* one a sequence */
    struct piece *piece;
    float *values; /* `size` a worker */
    size_t size;
    const struct qk_attention_watch *watch;
};

/* Item: a head of a piece. */
static void attend_piece(void *context, size_t item, size_t worker)
{
    const struct softmax_job *job = context;
    const struct piece *piece = &job->piece[item / job->a->n_q];
    const struct qk_attention *a = &job->a[piece->sequence];
    struct qk_timing *timing = qk_progress_timing(a->progress);
    uint64_t since = qk_timing_start(timing);
    size_t head = item % a->n_q;
    float *values = job->values + worker * job->size,
          *out = a->out != NULL && a->v != NULL
                     ? a->out + ((piece->t0 - a->first_query) * a->n_q + head) * a->value_dim
                     : NULL;
    if (piece->shown) {
        struct qk_attention_map map = make_map(a, head, piece->t0, piece->n, values, out);
        qk_timing_lap(timing, QK_TIME_ATTENTION, since);
        job->watch->seen(job->watch->context, worker, &map);
        return;
    }
    struct block b = {
        .a = a, .head = head, .t0 = piece->t0, .n = piece->n, .p = values, .ld = KEY_TILE, .out = out};
    attend_block(&b);
    qk_timing_lap(timing, QK_TIME_ATTENTION, since);
}

/* Fills the pieces of a sequence, the last queries first; returns their number. Where the watcher looks, pieces are
 * those of QK_ATTENTION_BLOCK queries, which a caller also gets from qk_attention_map_make. */
static size_t cut_sequence(const struct qk_attention *a, size_t sequence,
    const struct qk_attention_watch *watch, struct piece *piece)
{
    size_t n = 0, rows;
    for (size_t t = a->first_query; t < a->T; t += rows, n++) {
        rows = watch != NULL && t + ROWS > watch->from ? QK_ATTENTION_BLOCK : ROWS;
        rows = a->T - t < rows ? a->T - t : rows;
        piece[n] = (struct piece){.sequence = sequence, .t0 = t, .n = rows};
        piece[n].keys = t + rows - qk_first_key(a->window, t);
        piece[n].shown = watch != NULL && watch->seen != NULL && t + rows > watch->from;
    }
    return n;
}

/* The most costly first, so that no worker begins one when the others are done. */
static int compare_pieces(const void *one, const void *two)
{
    const struct piece *a = one, *b = two;
    size_t cost_a = a->n * a->keys, cost_b = b->n * b->keys;
    if (cost_a != cost_b)
        return cost_a > cost_b ? -1 : 1;
    if (a->sequence != b->sequence)
        return a->sequence < b->sequence ? -1 : 1;
    return a->t0 < b->t0 ? -1 : a->t0 > b->t0;
}

static size_t piece_values(const struct qk_attention *a, const struct piece *piece)
{
    size_t most = piece->n == 1 || piece->keys < KEY_TILE ? piece->keys : KEY_TILE;
    return piece->shown ? qk_attention_map_values(a->T) : (piece->n - 1) * KEY_TILE + most;
}

/* Returns the number of pieces, in the order of their cost. */
static size_t cut_pieces(struct softmax_job *job, size_t n)
{
    size_t pieces = 0;
    for (size_t i = 0; i < n; i++)
        pieces += cut_sequence(&job->a[i], i, job->watch, job->piece + pieces);
    for (size_t i = 0; i < pieces; i++) {
        size_t values = piece_values(&job->a[job->piece[i].sequence], &job->piece[i]);
        job->size = values > job->size ? values : job->size;
    }
    qsort(job->piece, pieces, sizeof *job->piece, compare_pieces);
    return pieces;
}

enum qk_code qk_softmax_attention(
    const struct qk_attention *a, size_t n, const struct qk_attention_watch *watch, struct qk_error *err)
{
    struct softmax_job job = {.a = a, .watch = watch};
    size_t most = 0;
    for (size_t i = 0; i < n; i++)
        most += (a[i].T - a[i].first_query) / QK_ATTENTION_BLOCK + 1;
    QK_TRY(qk_alloc(&job.piece, most, sizeof *job.piece, err));
    size_t items = cut_pieces(&job, n) * a->n_q;
    enum qk_code code =
        qk_alloc_aligned(&job.values, qk_parallel_workers(items) * job.size, sizeof *job.values, err);
    if (code == QK_OK) {
        qk_parallel_for(items, attend_piece, &job, a->progress);
        code = qk_progress_check(a->progress, err);
    }
    free(job.values);
    free(job.piece);
    return code;
}
