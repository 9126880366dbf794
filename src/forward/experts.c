/* experts.c - a mixture of experts over the rows of a batch: each expert that was chosen is read once, and used for all
 * its rows.
 *
 * A row's result does not depend on other sequences. Products of single rows have the same bits beside any others
 * (forward/row_products.h). Only where one tile of a sequence sends many rows to an expert, these are a tile of their
 * own. Each row adds its experts' outputs in the order of their numbers. */
#include "forward/experts.h"

#include "base/mem.h"
#include "base/parallel.h"
#include "forward/elementwise.h"
#include "forward/feed_forward.h"
#include "forward/weights.h"

#include <stdlib.h>
#include <string.h>

/* Rows from which on sgemm is faster than single rows; rows of a block of single ones; values of a part of the rows. */
enum { MANY = 128, SINGLES = 128, PART_VALUES = 1 << 22 };

/* A row that goes to an expert. */
struct visit {
    size_t row; /* of the group */
    float weight;
};

struct mixture {
    struct qk_run *run;
    const struct qk_group *group;
    struct qk_experts *experts;
    struct qk_progress *progress;
    const float *in; /* (rows, experts->width) of the group */
    float *sum;      /* likewise: what the experts add up to */
    float *latent;   /* both of them, where the experts work on latents */
    float *logits, *choice;
    size_t part; /* the first row of logits */
    size_t *expert;
    float *weight;       /* (rows, chosen), as expert */
    struct visit *visit; /* (rows * chosen) by expert, in each by row */
    size_t *first;       /* (experts + 1): the first visit of an expert */
    struct qk_block *block;
    size_t *block_expert, n_blocks; /* blocks of visits, of one expert each */
    struct qk_expert *now;          /* (experts): those read for this turn; values NULL: not read */
    float *x, *hidden, *gates, *y;  /* of a turn's visits; gates: NULL, unless swiglu needs them */
    size_t turn, turn_rows;         /* the first visit of the turn, and how many there are */
};

/* --- routing --- */

enum { CHOICE_ROWS = 16 };

/* Item: some rows of a part. */
static void choose_rows(void *context, size_t item, size_t worker)
{
    const struct mixture *m = context;
    const struct qk_router *router = &m->experts->router;
    size_t end = (item + 1) * CHOICE_ROWS < m->turn_rows ? (item + 1) * CHOICE_ROWS : m->turn_rows;
    for (size_t i = item * CHOICE_ROWS; i < end; i++)
        qk_router_choose(router, m->logits + i * router->n, m->choice + worker * router->n,
            m->expert + (m->part + i) * router->chosen, m->weight + (m->part + i) * router->chosen);
}

/* The next part of the group's rows, of a bounded number of values of this width; false behind the last. */
static bool next_part(const struct mixture *m, size_t width, struct qk_group *part)
{
    const struct qk_block *tile = m->run->tiles.block;
    *part = (struct qk_group){.first = part->end, .end = part->end, .row = part->row + part->n};
    while (
        part->end < m->group->end && (part->n == 0 || (part->n + tile[part->end].n) * width <= PART_VALUES))
        part->n += tile[part->end++].n;
    return part->n > 0;
}

static struct qk_group before_parts(const struct mixture *m)
{
    return (struct qk_group){.first = m->group->first, .end = m->group->first, .row = m->group->row};
}

static enum qk_code route_part(struct mixture *m, const struct qk_group *part, struct qk_error *err)
{
    size_t n = m->experts->router.n, items = (part->n + CHOICE_ROWS - 1) / CHOICE_ROWS;
    m->part = part->row - m->group->row;
    m->turn_rows = part->n;
    QK_TRY(qk_alloc_aligned(&m->logits, part->n * n, sizeof(float), err));
    QK_TRY(qk_alloc_aligned(&m->choice, qk_parallel_workers(items) * n, sizeof(float), err));
    const struct qk_product logits = {
        .p = &m->experts->route, .x = m->run->normed + m->part * m->run->w->width, .out = m->logits, .ld = n};
    QK_TRY(qk_run_products(m->run, part, &logits, 1, m->progress, err));
    qk_parallel_for(items, choose_rows, m, m->progress);
    return qk_progress_check(m->progress, err);
}

/* Sets expert and weight of all rows. */
static enum qk_code route(struct mixture *m, struct qk_error *err)
{
    enum qk_code code = QK_OK;
    for (struct qk_group part = before_parts(m);
         code == QK_OK && next_part(m, m->experts->router.n, &part);) {
        code = route_part(m, &part, err);
        free(m->logits);
        free(m->choice);
        m->logits = m->choice = NULL;
    }
    return code;
}

/* Sorts the choices by expert. */
static enum qk_code sort_visits(struct mixture *m, struct qk_error *err)
{
    size_t n = m->experts->router.n, k = m->experts->router.chosen, visits = m->group->n * k;
    QK_TRY(qk_alloc(&m->first, n + 2, sizeof *m->first, err));
    QK_TRY(qk_alloc(&m->visit, visits, sizeof *m->visit, err));
    for (size_t i = 0; i < visits; i++)
        m->first[m->expert[i] + 2]++;
    for (size_t e = 2; e < n + 2; e++)
        m->first[e] += m->first[e - 1];
    for (size_t i = 0; i < visits; i++) /* first[e + 1] moves on to where those of e + 1 begin */
        m->visit[m->first[m->expert[i] + 1]++] = (struct visit){i / k, m->weight[i]};
    return QK_OK;
}

/* --- blocks --- */

/* Adds visits first .. first + n of an expert, all of one tile or single ones, to its blocks. */
static void add_block(struct mixture *m, size_t expert, size_t first, size_t n, const struct qk_block *tile)
{
    bool single = tile->single || n < MANY;
    while (n > 0) {
        struct qk_block *last = m->n_blocks > 0 ? &m->block[m->n_blocks - 1] : NULL;
        bool joins = single && last != NULL && m->block_expert[m->n_blocks - 1] == expert && last->single &&
                     last->n < SINGLES;
        if (!joins) {
            last = &m->block[m->n_blocks];
            *last = (struct qk_block){.row = first, .position = tile->position, .single = single};
            m->block_expert[m->n_blocks++] = expert;
        }
        size_t room = single ? SINGLES - last->n : n, taken = n < room ? n : room;
        last->n += taken;
        first += taken;
        n -= taken;
    }
}

static enum qk_code lay_blocks(struct mixture *m, struct qk_error *err)
{
    size_t n = m->experts->router.n, visits = m->first[n],
           most = 3 * (visits / MANY) + 2 * (n < visits ? n : visits);
    QK_TRY(qk_alloc(&m->block, most, sizeof *m->block, err));
    QK_TRY(qk_alloc(&m->block_expert, most, sizeof *m->block_expert, err));
    for (size_t e = 0; e < n; e++) {
        const struct qk_block *tile = m->run->tiles.block + m->group->first;
        for (size_t i = m->first[e], end; i < m->first[e + 1]; i = end) {
            while (tile->row + tile->n <= m->group->row + m->visit[i].row)
                tile++;
            for (end = i + 1;
                 end < m->first[e + 1] && m->group->row + m->visit[end].row < tile->row + tile->n;)
                end++;
            add_block(m, e, i, end - i, tile);
        }
    }
    return QK_OK;
}

/* --- turns --- */

/* Rows of a turn at most, which any block fits into. */
static size_t most_rows(const struct qk_experts *experts)
{
    enum { LARGEST_BLOCK = 512 };
    size_t rows = QK_TURN_VALUES / (2 * experts->width + 2 * experts->hidden);
    return rows > LARGEST_BLOCK ? rows : LARGEST_BLOCK;
}

/* Those with whom experts are held. */
static struct qk_experts *holder(const struct mixture *m)
{
    return m->experts->lender != NULL ? m->experts->lender : m->experts;
}

static const struct qk_expert *expert_of(const struct mixture *m, size_t number)
{
    const struct qk_expert *held = &holder(m)->held[number];
    return held->values != NULL ? held : &m->now[number];
}

/* Sets the turn's rows. Returns the end of the blocks from number `first` on that are its: as many as memory has room
 * for them and their experts, one at least. */
static size_t take_turn(struct mixture *m, size_t first)
{
    size_t end = first, values = 0;
    m->turn = m->block[first].row;
    m->turn_rows = 0;
    for (; end < m->n_blocks; end++) {
        if (end == first || m->block_expert[end] != m->block_expert[end - 1])
            values += m->experts->values;
        if (end > first &&
            (values > QK_TURN_VALUES || m->turn_rows + m->block[end].n > most_rows(m->experts)))
            break;
        m->turn_rows += m->block[end].n;
    }
    return end;
}

/* Reads the experts of blocks first <= i < end that are not there, and has those behind them read ahead. */
static enum qk_code load_turn(struct mixture *m, size_t first, size_t end, struct qk_error *err)
{
    size_t *number, n = 0;
    struct qk_expert *loaded = NULL;
    QK_TRY(qk_alloc(&number, end - first, sizeof *number, err));
    for (size_t i = first; i < end; i++)
        if ((i == first || m->block_expert[i] != m->block_expert[i - 1]) &&
            expert_of(m, m->block_expert[i])->values == NULL)
            number[n++] = m->block_expert[i];
    enum qk_code code = qk_alloc(&loaded, n, sizeof *loaded, err);
    if (code == QK_OK)
        code = qk_experts_load(m->experts, number, n, loaded, m->progress, err);
    for (size_t i = 0; code == QK_OK && i < n; i++)
        m->now[number[i]] = loaded[i];
    free(loaded);
    free(number);
    size_t ahead = 0;
    for (size_t i = end; i < m->n_blocks && ahead <= QK_TURN_VALUES; i++)
        if (m->block_expert[i] != m->block_expert[i - 1] &&
            holder(m)->held[m->block_expert[i]].values == NULL) {
            qk_experts_expect(m->experts, m->block_expert[i]);
            ahead += m->experts->values;
        }
    return code;
}

/* Holds or frees the experts of the turn, but for one that the next block needs. */
static void end_turn(struct mixture *m, size_t first, size_t end)
{
    struct qk_experts *experts = holder(m);
    for (size_t i = first; i < end; i++) {
        size_t e = m->block_expert[i];
        if (m->now[e].values == NULL || (end < m->n_blocks && m->block_expert[end] == e))
            continue;
        if (experts->may_hold != NULL && experts->may_hold(experts->context, experts->bytes))
            experts->held[e] = m->now[e];
        else
            free(m->now[e].values);
        m->now[e] = (struct qk_expert){0};
    }
}

/* Item: a visit of the turn. */
static void gather(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct mixture *m = context;
    const struct visit *visit = &m->visit[m->turn + item];
    size_t width = m->experts->width;
    memcpy(m->x + item * width, m->in + visit->row * width, width * sizeof *m->x);
    if (m->experts->input_scaled)
        qk_scale(width, visit->weight, m->x + item * width);
}

/* Item: some columns. Adds the turn's outputs to their rows, in the order of the experts. */
enum { ADDED_COLUMNS = 64 };
static void add_visits(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct mixture *m = context;
    size_t width = m->experts->width, first = item * ADDED_COLUMNS,
           end = first + ADDED_COLUMNS < width ? first + ADDED_COLUMNS : width;
    for (size_t i = 0; i < m->turn_rows; i++) {
        const struct visit *visit = &m->visit[m->turn + i];
        const float *y = m->y + i * width;
        float *sum = m->sum + visit->row * width, weight = m->experts->input_scaled ? 1.0f : visit->weight;
        for (size_t c = first; c < end; c++)
            sum[c] += weight * y[c];
    }
}

/* Item: a visit of the turn. Puts its gate and up together. */
static void join_gate(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct mixture *m = context;
    const struct qk_swiglu *swiglu = &m->experts->swiglu;
    size_t n = m->experts->hidden;
    float *gate = m->gates + item * n, *up = m->hidden + item * n, limit = swiglu->limit;
    for (size_t i = 0; limit > 0 && i < n; i++) {
        gate[i] = gate[i] > limit ? limit : gate[i];
        up[i] = up[i] > limit ? limit : up[i] < -limit ? -limit : up[i];
    }
    if (swiglu->alpha > 0) {
        qk_scale(n, swiglu->alpha, gate);
        qk_activate(QK_SILU, n, gate);
        qk_scale(n, 1 / swiglu->alpha, gate);
    } else {
        qk_activate(m->run->w->activation, n, gate);
    }
    for (size_t i = 0; i < n; i++)
        up[i] += swiglu->plus;
    qk_multiply(n, gate, up);
}

/* Sets the products of a block: gate, up (which does the gate next) and down. */
static void set_products(const struct mixture *m, size_t block, struct qk_product product[3])
{
    const struct qk_mlp *mlp = &expert_of(m, m->block_expert[block])->mlp;
    enum qk_activation f = m->run->w->activation;
    size_t hidden = m->experts->hidden;
    bool gated = mlp->gate.weight != NULL, apart = m->gates != NULL;
    product[0] = (struct qk_product){&mlp->gate, m->x, apart ? m->gates : m->hidden, hidden,
        apart ? QK_PRODUCT_SET : QK_PRODUCT_GATE, f, NULL};
    product[1] = (struct qk_product){&mlp->up, m->x, m->hidden, hidden,
        gated ? QK_PRODUCT_SET : QK_PRODUCT_ACTIVATE, f, gated ? product : NULL};
    product[2] = (struct qk_product){.p = &mlp->down, .x = m->hidden, .out = m->y, .ld = m->experts->width};
}

/* Runs the experts of blocks first <= i < end over x. */
static enum qk_code multiply_turn(struct mixture *m, size_t first, size_t end, struct qk_error *err)
{
    struct qk_product *product;
    struct qk_products *of = NULL;
    size_t n = end - first;
    QK_TRY(qk_alloc(&product, 3 * n, sizeof *product, err));
    enum qk_code code = qk_alloc(&of, 2 * n, sizeof *of, err);
    for (size_t i = 0; code == QK_OK && i < n; i++) {
        set_products(m, first + i, &product[3 * i]);
        of[i] = (struct qk_products){&product[3 * i + 1], &m->block[first + i], 1};
        of[n + i] = (struct qk_products){&product[3 * i + 2], &m->block[first + i], 1};
    }
    if (code == QK_OK)
        code = qk_products_run(of, n, m->turn, m->progress, err);
    if (code == QK_OK && m->gates != NULL)
        qk_parallel_for(m->turn_rows, join_gate, m, m->progress);
    if (code == QK_OK)
        code = qk_products_run(of + n, n, m->turn, m->progress, err);
    free(of);
    free(product);
    return code;
}

static enum qk_code run_turns(struct mixture *m, struct qk_error *err)
{
    const struct qk_experts *experts = m->experts;
    size_t visits = m->first[experts->router.n],
           rows = visits < most_rows(experts) ? visits : most_rows(experts);
    QK_TRY(qk_alloc_aligned(&m->x, rows * experts->width, sizeof(float), err));
    QK_TRY(qk_alloc_aligned(&m->hidden, rows * experts->hidden, sizeof(float), err));
    QK_TRY(qk_alloc_aligned(&m->y, rows * experts->width, sizeof(float), err));
    if (experts->swiglu.limit > 0 || experts->swiglu.alpha > 0 || experts->swiglu.plus > 0)
        QK_TRY(qk_alloc_aligned(&m->gates, rows * experts->hidden, sizeof(float), err));
    QK_TRY(qk_alloc(&m->now, experts->router.n, sizeof *m->now, err));
    for (size_t first = 0, end; first < m->n_blocks; first = end) {
        end = take_turn(m, first);
        QK_TRY(load_turn(m, first, end, err));
        qk_parallel_for(m->turn_rows, gather, m, m->progress);
        QK_TRY(multiply_turn(m, first, end, err));
        qk_parallel_for((experts->width + ADDED_COLUMNS - 1) / ADDED_COLUMNS, add_visits, m, m->progress);
        end_turn(m, first, end);
        QK_TRY(qk_progress_check(m->progress, err));
    }
    return QK_OK;
}

/* --- the MLP --- */

/* sum (rows, d) = the shared expert of all rows, times its gate; 0 without one. */
static enum qk_code run_shared(struct mixture *m, float *sum, struct qk_error *err)
{
    const struct qk_experts *experts = m->experts;
    size_t d = m->run->w->width, n = experts->shared.up.n;
    memset(sum, 0, m->group->n * d * sizeof *sum);
    if (n == 0)
        return QK_OK;
    enum qk_code code = QK_OK;
    for (struct qk_group part = before_parts(m); code == QK_OK && next_part(m, n, &part);) {
        size_t at = (part.row - m->group->row) * d;
        float *hidden, *gate = NULL;
        const float *x = m->run->normed + at;
        QK_TRY(qk_alloc_aligned(&hidden, part.n * n, sizeof *hidden, err));
        code = qk_alloc_aligned(&gate, part.n, sizeof *gate, err);
        const struct qk_product p = {
            &experts->shared_gate, x, gate, 1, QK_PRODUCT_ACTIVATE, QK_SIGMOID, NULL};
        if (code == QK_OK)
            code = qk_mlp_run(m->run, &part, &experts->shared, x, hidden, sum + at, m->progress, err);
        if (code == QK_OK && experts->shared_gate.weight != NULL) {
            code = qk_run_products(m->run, &part, &p, 1, m->progress, err);
            for (size_t i = 0; code == QK_OK && i < part.n; i++)
                qk_scale(d, gate[i], sum + at + i * d);
        }
        free(hidden);
        free(gate);
    }
    return code;
}

/* latent (rows, width) = latent_in of all rows, with the sums of experts behind it. */
static enum qk_code make_latents(struct mixture *m, struct qk_error *err)
{
    const struct qk_experts *experts = m->experts;
    size_t n = m->group->n * experts->width;
    enum qk_code code = qk_alloc_aligned(&m->latent, 2 * n, sizeof(float), err);
    if (code == QK_OK)
        memset(m->latent + n, 0, n * sizeof(float));
    for (struct qk_group part = before_parts(m); code == QK_OK && next_part(m, experts->width, &part);) {
        size_t at = part.row - m->group->row;
        const struct qk_product in = {.p = &experts->latent_in,
            .x = m->run->normed + at * m->run->w->width,
            .out = m->latent + at * experts->width,
            .ld = experts->width};
        code = qk_run_products(m->run, &part, &in, 1, m->progress, err);
    }
    m->in = m->latent;
    m->sum = m->latent + n;
    return code;
}

/* out (rows, d) += latent_out of the experts' sums. */
static enum qk_code add_latents(struct mixture *m, float *out, struct qk_error *err)
{
    const struct qk_experts *experts = m->experts;
    size_t d = m->run->w->width;
    enum qk_code code = QK_OK;
    for (struct qk_group part = before_parts(m); code == QK_OK && next_part(m, d, &part);) {
        size_t at = part.row - m->group->row;
        float *y;
        QK_TRY(qk_alloc_aligned(&y, part.n * d, sizeof *y, err));
        const struct qk_product product = {
            .p = &experts->latent_out, .x = m->sum + at * experts->width, .out = y, .ld = d};
        code = qk_run_products(m->run, &part, &product, 1, m->progress, err);
        for (size_t i = 0; code == QK_OK && i < part.n * d; i++)
            out[at * d + i] += y[i];
        free(y);
    }
    return code;
}

static void free_mixture(struct mixture *m)
{
    for (size_t e = 0; m->now != NULL && e < m->experts->router.n; e++)
        free(m->now[e].values);
    void *const arrays[] = {m->expert, m->weight, m->visit, m->first, m->block, m->block_expert, m->now, m->x,
        m->hidden, m->gates, m->y, m->latent};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        free(arrays[i]);
}

static enum qk_code run_experts(
    struct qk_run *run, const struct qk_group *group, struct qk_progress *progress, struct qk_error *err)
{
    struct qk_experts *experts = run->w->experts;
    struct mixture m = {.run = run, .group = group, .experts = experts, .progress = progress};
    size_t chosen = group->n * experts->router.chosen;
    float *out = NULL;
    enum qk_code code = qk_alloc(&m.expert, chosen, sizeof *m.expert, err);
    if (code == QK_OK)
        code = qk_alloc(&m.weight, chosen, sizeof *m.weight, err);
    if (code == QK_OK)
        code = route(&m, err);
    if (code == QK_OK)
        code = sort_visits(&m, err);
    if (code == QK_OK)
        code = lay_blocks(&m, err);
    if (code == QK_OK)
        code = qk_alloc_aligned(&out, group->n * run->w->width, sizeof *out, err);
    if (code == QK_OK)
        code = run_shared(&m, out, err);
    m.in = run->normed;
    m.sum = out;
    bool latent = experts->latent_in.weight != NULL;
    if (code == QK_OK && latent)
        code = make_latents(&m, err);
    if (code == QK_OK)
        code = run_turns(&m, err);
    if (code == QK_OK && latent)
        code = add_latents(&m, out, err);
    free_mixture(&m);
    if (code != QK_OK) {
        free(out);
        return code;
    }
    free(run->normed);
    run->normed = out;
    return QK_OK;
}

static size_t no_width(const struct qk_layer_weights *w)
{
    (void)w;
    return 0;
}

const struct qk_feed_forward_ops qk_experts_mlp = {
    .whole = true,
    .read = qk_experts_read,
    .width = no_width,
    .run = run_experts,
};
