/* products.c - blocks of rows, and sgemm tile by tile. */
#include "forward/products.h"

#include "base/mem.h"
#include "base/parallel.h"
#include "forward/bfloat16.h"
#include "forward/elementwise.h"
#include "forward/row_products.h"
#include "linalg/gemm.h"
#include "tensor/float32.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void *qk_projection_row(const struct qk_projection *p, size_t row)
{
    return (char *)p->weight + row * p->k * (qk_dtype_bits(p->dtype) / 8);
}

struct qk_projection qk_projection_rows(const struct qk_projection *p, size_t first, size_t n)
{
    if (n == 0)
        return (struct qk_projection){0};
    struct qk_projection rows = *p;
    rows.weight = qk_projection_row(p, first);
    rows.bias = p->bias != NULL ? p->bias + first : NULL;
    rows.n = n;
    return rows;
}

/* A tile of sgemm copies its rows and its weights once: a tile of 256 rows and 256 columns costs an eighth of its
 * operations for that, a larger one less. But a text of 512 tokens has only so many tiles for the processors: there a
 * narrow projection has tiles of half as many columns. Single rows copy nothing. */
enum {
    SHORT = 1024,
    LONG = 4096,
    NARROW = 2048,
    NARROW_SIDE = 128,
    SMALL_SIDE = 256,
    LARGE_SIDE = 512,
    SINGLES = 128,
    SINGLE_COLUMNS = 64
};

static size_t tile_rows(size_t position)
{
    return position < LONG ? SMALL_SIDE : LARGE_SIDE;
}

static size_t tile_columns(const struct qk_block *block, size_t width)
{
    if (block->single)
        return SINGLE_COLUMNS;
    if (block->position >= SHORT)
        return LARGE_SIDE;
    return width < NARROW ? NARROW_SIDE : SMALL_SIDE;
}

size_t qk_tile_border(size_t position)
{
    return position - position % tile_rows(position);
}

/* --- blocks --- */

/* Rows of the sequence from number t on, up to the next border. */
static size_t rows_of(const struct qk_sequence *s, size_t t, size_t most)
{
    size_t position = s->t0 + t, side = most > 0 ? most : tile_rows(position), rows = side - position % side;
    return s->n - t < rows ? s->n - t : rows;
}

static size_t cut(const struct qk_batch *batch, size_t most, struct qk_block *block)
{
    size_t n = 0;
    for (size_t i = 0; i < batch->n; i++) {
        const struct qk_sequence *s = &batch->sequence[i];
        struct qk_block *last = n > 0 ? &block[n - 1] : NULL;
        size_t singles = most > 0 ? most : SINGLES;
        if (s->n == 1 && last != NULL && last->n < singles && batch->sequence[last->sequence].n == 1) {
            last->n++;
            continue;
        }
        for (size_t t = 0, rows; t < s->n; t += rows) {
            rows = rows_of(s, t, most);
            block[n++] = (struct qk_block){s->first + t, rows, i, s->t0 + t, rows == 1};
        }
    }
    return n;
}

enum qk_code qk_blocks_cut(
    const struct qk_batch *batch, size_t most, struct qk_blocks *out, struct qk_error *err)
{
    size_t least = most > 0 ? most : SMALL_SIDE;
    QK_TRY(qk_alloc(&out->block, batch->T / least + 2 * batch->n, sizeof *out->block, err));
    out->n = cut(batch, most, out->block);
    return QK_OK;
}

void qk_blocks_free(struct qk_blocks *blocks)
{
    free(blocks->block);
    *blocks = (struct qk_blocks){0};
}

/* --- products --- */

void qk_block_linear(const struct qk_block *block, size_t k, size_t n, const float *x, const float *weight,
    const float *bias, float *out, size_t ld)
{
    if (block->single)
        qk_row_products(block->n, k, n, x, QK_F32, weight, bias, out, ld);
    else
        qk_linear(block->n, k, n, x, weight, bias, out, ld);
}

/* A tile of one product: rows of a block, columns from `column` on. */
struct tile {
    const struct qk_product *product;
    const struct qk_block *first, *block; /* the first one of the product, and this one */
    size_t column, columns;
};

/* The rows of one x in bfloat16, for the blocks of several rows. */
struct half {
    const float *x;
    const struct qk_block *block;
    size_t row, k;
    uint16_t *rows;
    struct qk_timing *timing;
};

enum { MOST_HALVES = 8, ALIGNED = 16 };

struct job {
    const struct tile *tile;
    struct half half[MOST_HALVES]; /* of each x that is multiplied in bfloat16 */
    size_t n_halves;
    size_t row;
    /* `size` a worker: the largest tile, where a product does not set its output, and behind it the weights that a tile
     * widens at once. */
    float *scratch;
    size_t size, of_tile;
    struct qk_timing *timing;
};

/* Those of the product, whose blocks begin with `block`; NULL: none. */
static const struct half *find_half(
    const struct job *job, const struct qk_product *product, const struct qk_block *block)
{
    for (size_t i = 0; product->p->rounds && i < job->n_halves; i++)
        if (job->half[i].x == product->x && job->half[i].block == block)
            return &job->half[i];
    return NULL;
}

/* Rows that are multiplied one by one: up to 64 rows that is faster than sgemm with AVX-512 (1,024 values, 256
 * columns), and most beside weights that would be widened for them. */
static bool is_few(const struct qk_block *block)
{
    enum { FEW = 32 };
    return block->single || block->n <= FEW;
}

/* Columns that a tile widens at once: so many that the second-level cache holds their weights. At 512 rows and 1,024
 * values products of 128 columns are as fast as those of 512. */
static size_t widened_columns(size_t k, size_t columns)
{
    enum { VALUES = 1 << 18, LEAST = 128 };
    size_t most = VALUES / (k > 0 ? k : 1);
    most = most < LEAST ? LEAST : most;
    return columns < most ? columns : most;
}

/* y (T rows, the columns of p) = x p^T + bias; `wide` has room for the weights that it widens at once. */
static void multiply_widened(
    const struct qk_projection *p, size_t T, const float *x, float *wide, float *y, size_t ld)
{
    size_t columns = widened_columns(p->k, p->n);
    for (size_t first = 0, n; first < p->n; first += n) {
        n = p->n - first < columns ? p->n - first : columns;
        qk_dtype_to_f32(p->dtype, qk_projection_row(p, first), n * p->k, wide);
        qk_linear(T, p->k, n, x, wide, p->bias != NULL ? p->bias + first : NULL, y + first, ld);
    }
}

/* y (rows of the tile, its columns) = x p^T + bias. */
static void multiply(const struct job *job, const struct qk_product *product, const struct tile *tile,
    float *wide, float *y, size_t ld)
{
    const struct qk_projection p = qk_projection_rows(product->p, tile->column, tile->columns);
    const struct half *half = tile->block->single ? NULL : find_half(job, product, tile->first);
    size_t n = tile->block->n, at = (tile->block->row - job->row) * p.k;
    if (half == NULL && is_few(tile->block))
        qk_row_products(n, p.k, p.n, product->x + at, p.dtype, p.weight, p.bias, y, ld);
    else if (half == NULL && p.dtype == QK_F32)
        qk_linear(n, p.k, p.n, product->x + at, p.weight, p.bias, y, ld);
    else if (half == NULL)
        multiply_widened(&p, n, product->x + at, wide, y, ld);
    if (half == NULL)
        return;
    for (size_t i = 0; p.bias != NULL && i < n; i++)
        memcpy(y + i * ld, p.bias, p.n * sizeof *y);
    qk_gemm_bfloat16(n, p.n, p.k, half->rows + at, p.weight, p.bias != NULL ? 1.0f : 0.0f, y, ld);
}

static void run_product(
    const struct job *job, const struct qk_product *product, const struct tile *tile, float *scratch)
{
    size_t n = tile->block->n, columns = tile->columns, at = tile->block->row - job->row;
    bool aside = product->use == QK_PRODUCT_GATE || product->use == QK_PRODUCT_ADD;
    float *out = product->out + at * product->ld + tile->column, *y = aside ? scratch : out;
    size_t ld = aside ? columns : product->ld;
    multiply(job, product, tile, scratch + job->of_tile, y, ld);
    if (product->use == QK_PRODUCT_SET)
        return;
    for (size_t i = 0; i < n; i++) {
        if (product->use == QK_PRODUCT_ADD) {
            qk_add(columns, 1.0f, y + i * ld, out + i * product->ld);
            continue;
        }
        qk_activate(product->activation, columns, y + i * ld);
        if (aside)
            qk_multiply(columns, y + i * ld, out + i * product->ld);
    }
}

static void run_tile(void *context, size_t item, size_t worker)
{
    const struct job *job = context;
    const struct tile *tile = &job->tile[item];
    float *scratch = job->scratch + worker * job->size;
    uint64_t since = qk_timing_start(job->timing);
    for (const struct qk_product *p = tile->product; p != NULL; p = p->then)
        run_product(job, p, tile, scratch);
    qk_timing_lap(job->timing, QK_TIME_PRODUCTS, since);
}

/* Sets the room that the tiles need: beside their outputs, and for weights. */
static void measure_tiles(struct job *job, size_t n)
{
    size_t wide = 0;
    for (size_t i = 0; i < n; i++) {
        const struct tile *tile = &job->tile[i];
        for (const struct qk_product *p = tile->product; p != NULL; p = p->then) {
            bool aside = p->use == QK_PRODUCT_GATE || p->use == QK_PRODUCT_ADD;
            size_t values = aside ? tile->block->n * tile->columns : 0,
                   weights = !is_few(tile->block) && p->p->dtype != QK_F32
                                 ? widened_columns(p->p->k, tile->columns) * p->p->k
                                 : 0;
            job->of_tile = values > job->of_tile ? values : job->of_tile;
            wide = weights > wide ? weights : wide;
        }
    }
    job->of_tile = (job->of_tile + ALIGNED - 1) / ALIGNED * ALIGNED;
    job->size = job->of_tile + (wide + ALIGNED - 1) / ALIGNED * ALIGNED;
}

/* Fills the tiles of one product (or counts them where tile is NULL); returns their number. */
static size_t lay_tiles(const struct qk_products *of, struct tile *tile)
{
    const struct qk_product *product = of->product;
    size_t n = 0, width = product->p->weight != NULL ? product->p->n : 0;
    for (size_t b = 0; b < of->n_blocks; b++) {
        size_t columns = tile_columns(&of->block[b], width);
        for (size_t column = 0; column < width; column += columns, n++)
            if (tile != NULL)
                tile[n] = (struct tile){product, of->block, &of->block[b], column,
                    width - column < columns ? width - column : columns};
    }
    return n;
}

/* --- rows in bfloat16 --- */

static void round_block(void *context, size_t item, size_t worker)
{
    const struct half *half = context;
    const struct qk_block *block = &half->block[item];
    size_t at = (block->row - half->row) * half->k;
    uint64_t since = qk_timing_start(half->timing);
    (void)worker;
    if (!block->single)
        qk_to_bfloat16(block->n * half->k, half->x + at, half->rows + at);
    qk_timing_lap(half->timing, QK_TIME_PRODUCTS, since);
}

/* Rounds the rows that one product needs, unless it finds them. Those beyond MOST_HALVES are multiplied in float32. */
static enum qk_code round_rows(struct job *job, const struct qk_products *of,
    const struct qk_product *product, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_projection *p = product->p;
    if (!p->rounds || of->n_blocks == 0 || job->n_halves == MOST_HALVES ||
        find_half(job, product, of->block) != NULL)
        return QK_OK;
    const struct qk_block *last = &of->block[of->n_blocks - 1];
    struct half *half = &job->half[job->n_halves];
    *half = (struct half){product->x, of->block, job->row, p->k, NULL, job->timing};
    QK_TRY(qk_alloc_aligned(&half->rows, (last->row + last->n - job->row) * p->k, sizeof *half->rows, err));
    job->n_halves++;
    qk_parallel_for(of->n_blocks, round_block, half, progress);
    return QK_OK;
}

static enum qk_code round_all(struct job *job, const struct qk_products *products, size_t n,
    struct qk_progress *progress, struct qk_error *err)
{
    for (size_t i = 0; i < n; i++)
        for (const struct qk_product *p = products[i].product; p != NULL; p = p->then)
            QK_TRY(round_rows(job, &products[i], p, progress, err));
    return QK_OK;
}

enum qk_code qk_products_run(const struct qk_products *products, size_t n, size_t row,
    struct qk_progress *progress, struct qk_error *err)
{
    struct job job = {.row = row, .timing = qk_progress_timing(progress)};
    struct tile *tile = NULL;
    size_t tiles = 0;
    for (size_t i = 0; i < n; i++)
        tiles += lay_tiles(&products[i], NULL);
    QK_TRY(qk_alloc(&tile, tiles, sizeof *tile, err));
    job.tile = tile;
    tiles = 0;
    for (size_t i = 0; i < n; i++)
        tiles += lay_tiles(&products[i], tile + tiles);
    measure_tiles(&job, tiles);
    enum qk_code code =
        qk_alloc_aligned(&job.scratch, qk_parallel_workers(tiles) * job.size, sizeof *job.scratch, err);
    if (code == QK_OK)
        code = round_all(&job, products, n, progress, err);
    if (code == QK_OK) {
        qk_parallel_for(tiles, run_tile, &job, progress);
        code = qk_progress_check(progress, err);
    }
    for (size_t i = 0; i < job.n_halves; i++)
        free(job.half[i].rows);
    free(job.scratch);
    free(tile);
    return code;
}
