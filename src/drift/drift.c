/* drift.c - the numbers of one layer, key group by key group: one key head, then the query heads that use it.
 */
#include "drift/drift.h"

#include "base/mem.h"
#include "base/text.h"
#include "linalg/linalg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sums over the heads of a role, from which the whole role's numbers follow. */
struct sums {
    double aa, bb, ab, ee, angle_sum, angle_max;
    int angle_heads;
    bool undefined; /* a head held values that are not finite */
};

/* A head read from both sides: (head_dim, d) each, and the difference. */
struct head_pair {
    double *a, *b, *e;
    bool finite;
};

struct context {
    struct qk_heads *side[2];
    const struct qk_layer *shape;
    size_t m, n; /* head_dim, d */
    struct head_pair q, k;
    int exponent[QK_ROLE_COUNT]; /* power of two that every head of the role is scaled by */
    bool scaled[QK_ROLE_COUNT];  /* the exponent is settled */
    /* (m, m) products of the key head, kept while its query heads pass; then those of one query head */
    double *k_aa, *k_ee, *k_eb, *k_bb;
    double *q_aa, *q_ae, *q_ee;
    struct qk_work work;
    struct qk_progress *progress;
    size_t not_finite;     /* values, in all heads */
    char first_fault[256]; /* "TENSOR: head 3" of the first of them */
    struct qk_layer_drift *out;
};

static void free_context(struct context *c)
{
    double *blocks[] = {c->q.a, c->q.b, c->q.e, c->k.a, c->k.b, c->k.e, c->k_aa, c->k_ee, c->k_eb, c->k_bb,
        c->q_aa, c->q_ae, c->q_ee};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        free(blocks[i]);
    qk_work_free(&c->work);
}

static enum qk_code allocate_context(struct context *c, struct qk_error *err)
{
    double **views[] = {&c->q.a, &c->q.b, &c->q.e, &c->k.a, &c->k.b, &c->k.e};
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++)
        QK_TRY(qk_alloc_aligned(views[i], c->m * c->n, sizeof(double), err));
    double **squares[] = {&c->k_aa, &c->k_ee, &c->k_eb, &c->k_bb, &c->q_aa, &c->q_ae, &c->q_ee};
    for (size_t i = 0; i < sizeof squares / sizeof squares[0]; i++)
        QK_TRY(qk_alloc_aligned(squares[i], c->m * c->m, sizeof(double), err));
    return qk_work_reserve(&c->work, c->m, c->n, err);
}

static enum qk_code allocate_result(
    const struct qk_layer *shape, struct qk_layer_drift *out, struct qk_error *err)
{
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        int heads = shape->role[r].n_heads;
        QK_TRY(qk_alloc(&out->role[r].head, (size_t)heads, sizeof *out->role[r].head, err));
        out->role[r].n_heads = heads;
        for (int h = 0; h < heads; h++)
            QK_TRY(qk_alloc(&out->role[r].head[h].angle_deg, (size_t)shape->head_dim, sizeof(double), err));
    }
    out->n_routing = shape->role[QK_Q].n_heads;
    QK_TRY(qk_alloc(&out->routing_head, (size_t)out->n_routing, sizeof(double), err));
    out->has_qk = true;
    return QK_OK;
}

static size_t count_not_finite(size_t n, const double *x)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += isfinite(x[i]) ? 0u : 1u;
    return count;
}

/* Every number here is free of scale, but their squares and fourth powers are not: float64 checkpoints at
 * 1e150 would overflow. The first head with a value settles one power of two for all heads of its role; the
 * usual range is left as it is. */
static void scale_pair(struct context *c, enum qk_role role, struct head_pair *p)
{
    enum { USUAL = 100 };
    size_t count = c->m * c->n;
    if (!c->scaled[role]) {
        double largest = 0;
        for (size_t i = 0; i < count; i++)
            largest = fmax(largest, fmax(fabs(p->a[i]), fabs(p->b[i])));
        if (largest == 0)
            return;
        int exponent;
        frexp(largest, &exponent);
        c->exponent[role] = abs(exponent) > USUAL ? -exponent : 0;
        c->scaled[role] = true;
    }
    if (c->exponent[role] == 0)
        return;
    for (size_t i = 0; i < count; i++) {
        p->a[i] = ldexp(p->a[i], c->exponent[role]);
        p->b[i] = ldexp(p->b[i], c->exponent[role]);
    }
}

static void note_fault(struct context *c, int side, enum qk_role role, int head)
{
    const struct qk_heads *heads = c->side[side];
    char name[sizeof c->first_fault - 64];
    qk_printable(name, sizeof name, heads->named->role[role].weight->name);
    snprintf(c->first_fault, sizeof c->first_fault, "%.16s: %s: head %d", heads->where, name, head);
}

/* Reads one head from both sides into p, notes values that are not finite, forms the difference. */
static enum qk_code read_pair(
    struct context *c, enum qk_role role, int head, struct head_pair *p, struct qk_error *err)
{
    double *into[2] = {p->a, p->b};
    size_t count = c->m * c->n;
    p->finite = true;
    for (int s = 0; s < 2; s++) {
        QK_TRY(qk_progress_check(c->progress, err));
        QK_TRY(c->side[s]->read(c->side[s], role, head, into[s], err));
        qk_progress_add(c->progress, 1);
        size_t bad = count_not_finite(count, into[s]);
        if (bad == 0)
            continue;
        if (c->not_finite == 0)
            note_fault(c, s, role, head);
        c->not_finite += bad;
        p->finite = false;
    }
    if (!p->finite)
        return QK_OK;
    scale_pair(c, role, p);
    for (size_t i = 0; i < count; i++)
        p->e[i] = p->b[i] - p->a[i];
    return QK_OK;
}

static enum qk_code head_numbers(struct context *c, const struct head_pair *p, struct qk_head_drift *out,
    struct sums *sums, struct qk_error *err)
{
    out->rel_fro = out->cosine = out->norm_ratio = out->angle_mean_deg = out->angle_max_deg = NAN;
    if (!p->finite) {
        sums->undefined = true;
        return QK_OK;
    }
    size_t count = c->m * c->n;
    double aa = qk_dot(count, p->a, p->a), bb = qk_dot(count, p->b, p->b), ab = qk_dot(count, p->a, p->b),
           ee = qk_dot(count, p->e, p->e);
    if (aa > 0) {
        out->rel_fro = sqrt(ee / aa);
        out->norm_ratio = sqrt(bb / aa);
        if (bb > 0)
            out->cosine = ab / (sqrt(aa) * sqrt(bb));
    }
    sums->aa += aa;
    sums->bb += bb;
    sums->ab += ab;
    sums->ee += ee;

    size_t rank[2];
    QK_TRY(qk_row_basis(c->m, c->n, p->a, c->work.basis[0], &rank[0], &c->work, err));
    QK_TRY(qk_row_basis(c->m, c->n, p->b, c->work.basis[1], &rank[1], &c->work, err));
    out->rank[0] = (int)rank[0];
    out->rank[1] = (int)rank[1];
    out->n_angles = out->rank[0] < out->rank[1] ? out->rank[0] : out->rank[1];
    if (out->n_angles == 0)
        return QK_OK;
    QK_TRY(qk_principal_angles(
        c->n, c->work.basis[0], rank[0], c->work.basis[1], rank[1], out->angle_deg, &c->work, err));
    double sum = 0;
    for (int i = 0; i < out->n_angles; i++)
        sum += out->angle_deg[i];
    out->angle_mean_deg = sum / out->n_angles;
    out->angle_max_deg = out->angle_deg[out->n_angles - 1];
    sums->angle_sum += out->angle_mean_deg;
    sums->angle_max = fmax(sums->angle_max, out->angle_max_deg);
    sums->angle_heads++;
    return QK_OK;
}

static void role_numbers(const struct sums *sums, struct qk_role_drift *out)
{
    out->rel_fro = out->cosine = out->norm_ratio = out->angle_mean_deg = out->angle_max_deg = NAN;
    if (sums->undefined)
        return;
    if (sums->aa > 0) {
        out->rel_fro = sqrt(sums->ee / sums->aa);
        out->norm_ratio = sqrt(sums->bb / sums->aa);
        if (sums->bb > 0)
            out->cosine = sums->ab / (sqrt(sums->aa) * sqrt(sums->bb));
    }
    if (sums->angle_heads > 0) {
        out->angle_mean_deg = sums->angle_sum / sums->angle_heads;
        out->angle_max_deg = sums->angle_max;
    }
}

/* Sums of R = Q^T K of one query head, with E = B - A:
 *   |R_A|^2       = sum (Qa Qa^T) o (Ka Ka^T)
 *   R_B - R_A     = Qa^T Ek + Eq^T Kb, so that nothing cancels when the drift is small:
 *   |R_B - R_A|^2 = sum (Qa Qa^T) o (Ek Ek^T) + 2 (Qa Eq^T) o (Ek Kb^T) + (Eq Eq^T) o (Kb Kb^T)
 * because <X^T Y, Z^T W> = sum (X Z^T) o (Y W^T), all (head_dim, head_dim). */
static void routing_numbers(struct context *c, double *base, double *moved)
{
    size_t m = c->m, n = c->n, mm = m * m;
    qk_gram(m, n, c->q.a, c->q_aa);
    qk_gram(m, n, c->q.e, c->q_ee);
    qk_product_abt(m, n, c->q.a, c->q.e, c->q_ae);
    *base = qk_dot(mm, c->q_aa, c->k_aa);
    *moved = qk_dot(mm, c->q_aa, c->k_ee) + 2 * qk_dot(mm, c->q_ae, c->k_eb) + qk_dot(mm, c->q_ee, c->k_bb);
    if (*moved < 0) /* rounding, when q and k were rotated together */
        *moved = 0;
}

static enum qk_code compare_group(struct context *c, int g, int per_group, struct sums *sums,
    double *routing_base, double *routing_moved, struct qk_error *err)
{
    size_t m = c->m, n = c->n;
    QK_TRY(read_pair(c, QK_K, g, &c->k, err));
    QK_TRY(head_numbers(c, &c->k, &c->out->role[QK_K].head[g], &sums[QK_K], err));
    if (c->k.finite) {
        qk_gram(m, n, c->k.a, c->k_aa);
        qk_gram(m, n, c->k.b, c->k_bb);
        qk_gram(m, n, c->k.e, c->k_ee);
        qk_product_abt(m, n, c->k.e, c->k.b, c->k_eb);
    }
    for (int h = g * per_group; h < (g + 1) * per_group; h++) {
        QK_TRY(read_pair(c, QK_Q, h, &c->q, err));
        QK_TRY(head_numbers(c, &c->q, &c->out->role[QK_Q].head[h], &sums[QK_Q], err));
        double base = NAN, moved = NAN;
        if (c->q.finite && c->k.finite)
            routing_numbers(c, &base, &moved);
        c->out->routing_head[h] = base > 0 ? sqrt(moved / base) : NAN;
        *routing_base += base;
        *routing_moved += moved;
    }
    return QK_OK;
}

static enum qk_code compare(struct context *c, struct qk_error *err)
{
    const struct qk_layer *shape = c->shape;
    QK_TRY(allocate_result(shape, c->out, err));
    QK_TRY(allocate_context(c, err));
    struct sums sums[QK_ROLE_COUNT] = {{0}};
    int groups = shape->role[QK_K].n_heads, per_group = shape->role[QK_Q].n_heads / groups;
    double base = 0, moved = 0;
    for (int g = 0; g < groups; g++)
        QK_TRY(compare_group(c, g, per_group, sums, &base, &moved, err));
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        role_numbers(&sums[r], &c->out->role[r]);
    c->out->routing_rel_fro = base > 0 ? sqrt(moved / base) : NAN;
    if (c->not_finite > 0) {
        char text[sizeof c->first_fault + 96];
        snprintf(text, sizeof text, "%s holds values that are not finite (%zu NaN or Inf in this layer)",
            c->first_fault, c->not_finite);
        QK_TRY(qk_strdup_to(&c->out->problem, text, err));
    }
    return QK_OK;
}

enum qk_code qk_drift_layer(struct qk_heads *a, struct qk_heads *b, struct qk_progress *progress,
    struct qk_layer_drift *out, struct qk_error *err)
{
    memset(out, 0, sizeof *out);
    out->index = a->layer->index;
    out->kind = a->layer->kind;
    const struct qk_layer *shape = a->layer->side[QK_POST];
    struct context c = {.side = {a, b},
        .shape = shape,
        .m = (size_t)shape->head_dim,
        .n = shape->d,
        .progress = progress,
        .out = out};
    enum qk_code code = compare(&c, err);
    free_context(&c);
    if (code != QK_OK)
        qk_layer_drift_free(out);
    return code;
}

enum qk_code qk_drift_pair_layer(const struct qk_pair *pair, int index, bool effective,
    struct qk_progress *progress, struct qk_layer_drift *out, struct qk_error *err)
{
    memset(out, 0, sizeof *out);
    out->index = pair->layer[index].index;
    out->kind = pair->layer[index].kind;
    if (!pair->layer[index].has_qk)
        return QK_OK;
    struct qk_heads *pre = NULL, *post = NULL;
    enum qk_code code = qk_heads_of_model(pair, QK_PRE, index, effective, &pre, err);
    if (code == QK_OK)
        code = qk_heads_of_model(pair, QK_POST, index, effective, &post, err);
    if (code == QK_OK)
        code = qk_drift_layer(pre, post, progress, out, err);
    qk_heads_free(pre);
    qk_heads_free(post);
    return code;
}

void qk_layer_drift_free(struct qk_layer_drift *drift)
{
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        for (int h = 0; h < drift->role[r].n_heads; h++)
            free(drift->role[r].head[h].angle_deg);
        free(drift->role[r].head);
    }
    free(drift->routing_head);
    free(drift->problem);
    memset(drift, 0, sizeof *drift);
}
