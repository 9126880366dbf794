/* prefill_plan.c - the tree of common beginnings, and its cutting into pieces. */
#include "forward/prefill_plan.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* The tokens with which both begin. */
static size_t common_tokens(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b)
{
    size_t i = 0;
    while (i < n_a && i < n_b && a[i] == b[i])
        i++;
    return i;
}

size_t qk_prompt_shared(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b)
{
    return qk_tile_border(common_tokens(a, n_a, b, n_b > 0 ? n_b - 1 : 0));
}

/* By start and tokens, so that readers with common beginnings are neighbours. */
static int compare_readers(const void *a, const void *b)
{
    const struct qk_reader *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    size_t i = common_tokens(x->prompt->ids, x->prompt->n, y->prompt->ids, y->prompt->n);
    if (i < x->prompt->n && i < y->prompt->n)
        return x->prompt->ids[i] < y->prompt->ids[i] ? -1 : 1;
    if (x->prompt->n != y->prompt->n)
        return x->prompt->n < y->prompt->n ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

/* Finds the parent of a reader: the one that computes the token before its own. */
static void find_parent(struct qk_plan *plan, size_t i)
{
    struct qk_reader *reader = &plan->reader[i];
    if (i == 0 || reader->start != plan->reader[i - 1].start)
        return;
    const struct qk_prompt *before = plan->reader[i - 1].prompt;
    reader->from = qk_prompt_shared(before->ids, before->n, reader->prompt->ids, reader->prompt->n);
    reader->parent = i - 1;
    while (reader->from > 0 && plan->reader[reader->parent].from >= reader->from)
        reader->parent = plan->reader[reader->parent].parent;
}

/* The next token of the reader, behind t, at which a child begins, or its end. */
static size_t next_cut(const struct qk_plan *plan, size_t i, size_t t)
{
    size_t end = plan->reader[i].prompt->n;
    for (size_t j = i + 1; j < plan->n; j++)
        if (plan->reader[j].from > t && plan->reader[j].parent == i && plan->reader[j].from < end)
            end = plan->reader[j].from;
    return end;
}

/* The wave of the reader's piece that ends at token t. */
static size_t wave_before(const struct qk_plan *plan, size_t reader, size_t t)
{
    size_t i = 0;
    while (plan->piece[i].reader != reader || plan->piece[i].t0 + plan->piece[i].n != t)
        i++;
    return plan->piece[i].wave;
}

static enum qk_code cut_reader(struct qk_plan *plan, size_t i, struct qk_error *err)
{
    const struct qk_reader *reader = &plan->reader[i];
    size_t wave = reader->from > 0 ? wave_before(plan, reader->parent, reader->from) + 1 : 0;
    for (size_t t = reader->from, end; t < reader->prompt->n; t = end, wave++) {
        end = next_cut(plan, i, t);
        QK_TRY(qk_grow(&plan->piece, &plan->capacity, plan->n_pieces + 1, sizeof *plan->piece, err));
        plan->piece[plan->n_pieces++] = (struct qk_piece){i, t, end - t, wave, 0};
        plan->waves = wave + 1 > plan->waves ? wave + 1 : plan->waves;
    }
    return QK_OK;
}

/* By wave; readers are in the order of their start. */
static int compare_pieces(const void *a, const void *b)
{
    const struct qk_piece *x = a, *y = b;
    if (x->wave != y->wave)
        return x->wave < y->wave ? -1 : 1;
    return x->reader < y->reader ? -1 : 1;
}

enum qk_code qk_plan_make(const struct qk_prompt *const *prompt, const size_t *sequence, const size_t *start,
    size_t n, struct qk_plan *out, struct qk_error *err)
{
    *out = (struct qk_plan){.n = n};
    QK_TRY(qk_alloc(&out->reader, n, sizeof *out->reader, err));
    for (size_t i = 0; i < n; i++)
        out->reader[i] = (struct qk_reader){prompt[i], sequence[i], i, start[i], 0, 0};
    qsort(out->reader, n, sizeof *out->reader, compare_readers);
    for (size_t i = 0; i < n; i++)
        find_parent(out, i);
    for (size_t i = 0; i < n; i++)
        QK_TRY(cut_reader(out, i, err));
    qsort(out->piece, out->n_pieces, sizeof *out->piece, compare_pieces);
    for (size_t i = 0; i < out->n_pieces; i++) {
        out->piece[i].row = out->rows;
        out->rows += out->piece[i].n;
    }
    return QK_OK;
}

void qk_plan_free(struct qk_plan *plan)
{
    free(plan->reader);
    free(plan->piece);
    *plan = (struct qk_plan){0};
}

size_t qk_plan_row(const struct qk_plan *plan, size_t reader, size_t t)
{
    const struct qk_piece *piece = plan->piece;
    while (piece->reader != reader || t < piece->t0 || t >= piece->t0 + piece->n)
        piece++;
    return piece->row + (t - piece->t0);
}

void qk_plan_gather(const struct qk_plan *plan, size_t reader, const float *x, size_t width, float *out)
{
    size_t end = plan->reader[reader].prompt->n;
    for (size_t i = reader; end > 0; end = plan->reader[i].from, i = plan->reader[i].parent)
        for (size_t p = 0; p < plan->n_pieces; p++) {
            const struct qk_piece *piece = &plan->piece[p];
            if (piece->reader == i && piece->t0 < end)
                memcpy(out + piece->t0 * width, x + piece->row * width,
                    (piece->t0 + piece->n < end ? piece->n : end - piece->t0) * width * sizeof *out);
        }
}
