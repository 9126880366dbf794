/* group.c - the heads of a key group from both sides, and their numbers. */
#include "drift/group.h"

#include "base/mem.h"
#include "linalg/grams.h"
#include "linalg/linalg.h"
#include "tensor/float32.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Angles must be right to 1e-3 degrees and ratios to 1e-5. The limit for float64 is so tight that a change of basis
 * alone, where the angles are 0, goes on to the factorisation. */
static const struct qk_angle_tolerance SINGLE_ANGLES = {1e-4, 1e-3}, DOUBLE_ANGLES = {1e-8, 1e-3};
static const double ROUTING_TOLERANCE = 1e-5;

/* Bytes of both sides' pieces that are read, converted and added up at a time: they stay in the cache. */
enum { PIECE_BYTES = 1 << 17 };

/* A head of both sides. */
struct head_pair {
    enum qk_role role;
    int head;
    float *single; /* (2 m, n): A, then E = B - A */
    double *wide;  /* (3 m, n): A, E, B */
    bool is_wide;  /* wide is filled, and the Grams are of it */
    bool finite;
    struct qk_head_sums sums;
    struct qk_grams grams;
};

struct qk_drift_work {
    size_t m, n; /* head_dim, d */
    size_t piece_rows;
    char *bytes[2];
    float *piece[2];
    struct head_pair q, k;
    struct qk_gram_work products;
    struct qk_work bases;
};

/* --- scratch --- */

enum qk_code qk_drift_work_new(struct qk_drift_work **out, struct qk_error *err)
{
    return qk_alloc(out, 1, sizeof **out, err);
}

static void empty(struct qk_drift_work *work)
{
    struct head_pair *pairs[] = {&work->q, &work->k};
    for (int i = 0; i < 2; i++) {
        free(work->bytes[i]);
        free(work->piece[i]);
        free(pairs[i]->single);
        free(pairs[i]->wide);
        qk_grams_free(&pairs[i]->grams);
    }
    qk_gram_work_free(&work->products);
    qk_work_free(&work->bases);
    *work = (struct qk_drift_work){0};
}

void qk_drift_work_free(struct qk_drift_work *work)
{
    if (work == NULL)
        return;
    empty(work);
    free(work);
}

/* Reserves what every head needs; what only some need is made when one does. */
static enum qk_code fit(struct qk_drift_work *work, struct qk_heads *const side[2], struct qk_error *err)
{
    const struct qk_layer *shape = side[0]->layer->side[QK_POST];
    size_t m = (size_t)shape->head_dim, n = (size_t)shape->d;
    bool transposed = false;
    if (work->m == m && work->n == n)
        return QK_OK;
    empty(work);
    /* A part of a transposed tensor costs as much as the whole, so a piece holds a whole head then. */
    for (int s = 0; s < 2; s++)
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            transposed = transposed || side[s]->named->role[r].transposed;
    size_t rows = PIECE_BYTES / 2 / n, piece;
    rows = transposed || rows > m ? m : rows < 1 ? 1 : rows;
    piece = rows * n;
    for (int i = 0; i < 2; i++) {
        QK_TRY(qk_alloc_aligned(&work->bytes[i], piece, sizeof(double), err));
        QK_TRY(qk_alloc_aligned(&work->piece[i], piece, sizeof *work->piece[i], err));
    }
    work->piece_rows = rows;
    work->m = m;
    work->n = n;
    return QK_OK;
}

static enum qk_code want(void *array, size_t n, size_t size, struct qk_error *err)
{
    void **at = array;
    return *at != NULL ? QK_OK : qk_alloc_aligned(array, n, size, err);
}

/* --- sums --- */

void qk_head_sums_add(struct qk_head_sums *to, const struct qk_head_sums *from)
{
    to->undefined = to->undefined || from->undefined;
    to->angle_sum += from->angle_sum;
    to->angle_max = fmax(to->angle_max, from->angle_max);
    to->angle_heads += from->angle_heads;
    if (!from->known)
        return;
    int exponent = !to->known || from->exponent < to->exponent ? from->exponent : to->exponent;
    double grow = ldexp(1, 2 * (exponent - to->exponent)), by = ldexp(1, 2 * (exponent - from->exponent));
    if (!to->known)
        grow = 1; /* of no values */
    to->aa = to->aa * grow + from->aa * by;
    to->bb = to->bb * grow + from->bb * by;
    to->ae = to->ae * grow + from->ae * by;
    to->ee = to->ee * grow + from->ee * by;
    to->exponent = exponent;
    to->known = true;
}

void qk_head_sums_ratios(const struct qk_head_sums *sums, double *rel_fro, double *cosine, double *norm_ratio)
{
    *rel_fro = *cosine = *norm_ratio = NAN;
    if (sums->undefined || !(sums->aa > 0))
        return;
    double a = sqrt(sums->aa), b = sqrt(sums->bb);
    *rel_fro = sqrt(sums->ee / sums->aa);
    *norm_ratio = b / a;
    /* |B - A|^2 = (|B| - |A|)^2 + 2 |A| |B| (1 - cosine): nothing cancels when the cosine is nearly 1. */
    double longer = (2 * sums->ae + sums->ee) / (a + b);
    if (b > 0)
        *cosine = 1 - (sums->ee - longer * longer) / (2 * a * b);
}

/* --- reading --- */

struct group {
    struct qk_heads *const *side;
    struct qk_drift_work *work;
    struct qk_progress *progress;
    struct qk_layer_drift *out;
    struct qk_group_sums *sums;
    enum qk_drift_stage stage;
};

/* A product of factors is rarely exact in float32, and finding out would cost another product. */
static bool may_be_single(const struct group *g, enum qk_role role)
{
    for (int s = 0; s < 2; s++)
        if (g->side[s]->named->role[role].down != NULL ||
            !qk_dtype_is_single(g->side[s]->named->role[role].weight->dtype))
            return false;
    return true;
}

/* A side that does not know its stored rows gives the whole head, in wide[s]. Values that float32 cannot hold exactly
 * are left to float64. */
static enum qk_code read_exactly(
    const struct group *g, struct head_pair *p, int s, bool *exact, struct qk_error *err)
{
    size_t count = g->work->m * g->work->n;
    QK_TRY(want(&p->wide, 3 * count, sizeof *p->wide, err));
    double *into = p->wide + (size_t)s * count;
    QK_TRY(g->side[s]->read(g->side[s], p->role, p->head, into, err));
    size_t other = 0;
    for (size_t i = 0; i < count; i++)
        other += (double)(float)into[i] == into[i] ? 0u : 1u;
    *exact = other == 0;
    return QK_OK;
}

static enum qk_dtype dtype_of(const struct group *g, int side, enum qk_role role)
{
    return g->side[side]->named->role[role].weight->dtype;
}

/* Adds up rows first .. first + rows, and with `keep` stores A and E in p->single. *same is cleared when the sides
 * differ in a bit. */
static enum qk_code read_piece(const struct group *g, struct head_pair *p, size_t first, size_t rows,
    bool keep, struct qk_pair_sums *sums, bool *same, struct qk_error *err)
{
    struct qk_drift_work *work = g->work;
    size_t n = work->n, count = rows * n;
    enum qk_dtype dtype[2] = {dtype_of(g, 0, p->role), dtype_of(g, 1, p->role)};
    for (int s = 0; s < 2; s++) {
        if (g->side[s]->read_stored != NULL) {
            QK_TRY(g->side[s]->read_stored(g->side[s], p->role, p->head, first, rows, work->bytes[s], err));
            continue;
        }
        dtype[s] = QK_F64;
        memcpy(work->bytes[s], p->wide + ((size_t)s * work->m + first) * n, count * sizeof(double));
    }
    bool plain = !keep && dtype[0] == QK_BF16 && dtype[1] == QK_BF16;
    float *a = keep ? p->single + first * n : work->piece[0], *b = work->piece[1];
    float *e = keep ? p->single + (work->m + first) * n : b;
    if (plain) {
        *sums = qk_pair_sums_bf16(count, work->bytes[0], work->bytes[1]);
    } else {
        qk_dtype_to_f32(dtype[0], work->bytes[0], count, a);
        qk_dtype_to_f32(dtype[1], work->bytes[1], count, b);
        *sums = qk_pair_sums(count, a, b, e);
    }
    *same = *same && sums->ee == 0 && dtype[0] == dtype[1] &&
            memcmp(work->bytes[0], work->bytes[1], count * (qk_dtype_bits(dtype[0]) / 8)) == 0;
    return QK_OK;
}

/* True when float32 lost nothing: no product over- or underflowed, and |B|^2 is not a difference. */
static bool sums_hold(const struct qk_head_sums *sums, bool same)
{
    const double least = 1e-24, most = 1e24;
    return sums->aa > least && sums->aa < most && (same || (sums->ee > least && sums->ee < most)) &&
           sums->bb > 0.01 * sums->aa;
}

/* *held: the head is in p->single, with `keep`, and its sums in p->sums. */
static enum qk_code read_single(
    const struct group *g, struct head_pair *p, bool keep, bool *held, struct qk_error *err)
{
    struct qk_drift_work *work = g->work;
    *held = false;
    bool exact = may_be_single(g, p->role);
    for (int s = 0; s < 2 && exact; s++)
        if (g->side[s]->read_stored == NULL)
            QK_TRY(read_exactly(g, p, s, &exact, err));
    if (!exact)
        return QK_OK;
    if (keep)
        QK_TRY(want(&p->single, 2 * work->m * work->n, sizeof *p->single, err));
    struct qk_head_sums *to = &p->sums;
    bool same = true;
    for (size_t first = 0; first < work->m; first += work->piece_rows) {
        size_t rows = work->m - first < work->piece_rows ? work->m - first : work->piece_rows;
        struct qk_pair_sums sums;
        QK_TRY(qk_progress_check(g->progress, err));
        QK_TRY(read_piece(g, p, first, rows, keep, &sums, &same, err));
        to->aa += sums.aa;
        to->ae += sums.ae;
        to->ee += sums.ee;
    }
    to->bb = to->aa + 2 * to->ae + to->ee;
    to->known = true;
    *held = sums_hold(to, same);
    return QK_OK;
}

static size_t count_not_finite(size_t n, const double *x)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += isfinite(x[i]) ? 0u : 1u;
    return count;
}

/* The numbers do not depend on scale, but squares and fourth powers overflow for float64 checkpoints at 1e150. The
 * first head with a value therefore sets one power of two for the group's heads of its role. The usual range is not
 * scaled. */
static void scale_wide(const struct group *g, struct head_pair *p)
{
    enum { USUAL = 100 };
    size_t count = g->work->m * g->work->n;
    struct qk_head_sums *of = &g->sums->role[p->role];
    double *a = p->wide, *b = p->wide + 2 * count, largest = 0;
    if (!of->known) {
        for (size_t i = 0; i < count; i++)
            largest = fmax(largest, fmax(fabs(a[i]), fabs(b[i])));
        if (largest == 0)
            return;
        int exponent;
        frexp(largest, &exponent);
        of->exponent = abs(exponent) > USUAL ? -exponent : 0;
        of->known = true;
    }
    p->sums.exponent = of->exponent;
    p->sums.known = true;
    for (size_t i = 0; of->exponent != 0 && i < count; i++) {
        a[i] = ldexp(a[i], of->exponent);
        b[i] = ldexp(b[i], of->exponent);
    }
}

static void note_fault(const struct group *g, int side, const struct head_pair *p, size_t bad)
{
    if (g->sums->not_finite == 0) {
        g->sums->fault_side = side;
        g->sums->fault_role = p->role;
        g->sums->fault_head = p->head;
    }
    g->sums->not_finite += bad;
}

/* Reads the head as float64, exactly as it is stored, and counts the values that are not finite. */
static enum qk_code read_wide(const struct group *g, struct head_pair *p, struct qk_error *err)
{
    struct qk_drift_work *work = g->work;
    size_t count = work->m * work->n;
    QK_TRY(want(&p->wide, 3 * count, sizeof *p->wide, err));
    double *a = p->wide, *e = a + count, *b = e + count;
    p->sums = (struct qk_head_sums){0};
    for (int s = 0; s < 2; s++) {
        double *into = s == 0 ? a : b;
        QK_TRY(qk_progress_check(g->progress, err));
        QK_TRY(g->side[s]->read(g->side[s], p->role, p->head, into, err));
        size_t bad = count_not_finite(count, into);
        if (bad > 0)
            note_fault(g, s, p, bad);
        p->finite = p->finite && bad == 0;
    }
    p->is_wide = true;
    if (!p->finite) {
        p->sums.undefined = true;
        return QK_OK;
    }
    scale_wide(g, p);
    for (size_t i = 0; i < count; i++)
        e[i] = b[i] - a[i];
    p->sums.aa = qk_dot(count, a, a);
    p->sums.bb = qk_dot(count, b, b);
    p->sums.ae = qk_dot(count, a, e);
    p->sums.ee = qk_dot(count, e, e);
    return QK_OK;
}

static enum qk_code widen(const struct group *g, struct head_pair *p, struct qk_error *err)
{
    if (!p->is_wide)
        QK_TRY(read_wide(g, p, err));
    if (p->finite)
        qk_grams_of_double(g->work->n, p->wide, &p->grams, &g->work->products);
    return QK_OK;
}

static enum qk_code read_pair(
    const struct group *g, struct head_pair *p, enum qk_role role, int head, struct qk_error *err)
{
    bool held, keep = g->stage == QK_DRIFT_ALL;
    p->role = role;
    p->head = head;
    p->finite = true;
    p->is_wide = false;
    p->sums = (struct qk_head_sums){0};
    QK_TRY(read_single(g, p, keep, &held, err));
    if (!held)
        QK_TRY(read_wide(g, p, err));
    qk_progress_add(g->progress, 2);
    if (!keep || !p->finite)
        return QK_OK;
    QK_TRY(qk_grams_reserve(&p->grams, g->work->m, err));
    QK_TRY(qk_gram_work_reserve(&g->work->products, g->work->m, err));
    if (held)
        qk_grams_of_single(g->work->n, p->single, &p->grams, &g->work->products);
    else
        qk_grams_of_double(g->work->n, p->wide, &p->grams, &g->work->products);
    return QK_OK;
}

/* --- numbers --- */

/* The method that needs no condition: orthonormal bases of any rank. */
static enum qk_code angles_of_bases(
    const struct group *g, const struct head_pair *p, struct qk_head_drift *out, struct qk_error *err)
{
    size_t m = g->work->m, n = g->work->n, rank[2];
    struct qk_work *work = &g->work->bases;
    QK_TRY(qk_work_reserve(work, m, n, err));
    QK_TRY(qk_row_basis(m, n, p->wide, work->basis[0], &rank[0], work, err));
    QK_TRY(qk_row_basis(m, n, p->wide + 2 * m * n, work->basis[1], &rank[1], work, err));
    for (int s = 0; s < 2; s++)
        out->rank[s] = (int)rank[s];
    out->n_angles = out->rank[0] < out->rank[1] ? out->rank[0] : out->rank[1];
    if (out->n_angles == 0)
        return QK_OK;
    return qk_principal_angles(
        n, work->basis[0], rank[0], work->basis[1], rank[1], out->angle_deg, work, err);
}

static enum qk_code find_angles(
    const struct group *g, struct head_pair *p, struct qk_head_drift *out, struct qk_error *err)
{
    struct qk_gram_work *products = &g->work->products;
    out->rank[0] = out->rank[1] = out->n_angles = (int)g->work->m;
    if (!p->is_wide) {
        if (qk_grams_angles(&p->grams, &SINGLE_ANGLES, out->angle_deg, products))
            return QK_OK;
        QK_TRY(widen(g, p, err));
        if (!p->finite)
            return QK_OK;
    }
    if (qk_grams_angles(&p->grams, &DOUBLE_ANGLES, out->angle_deg, products))
        return QK_OK;
    return angles_of_bases(g, p, out, err);
}

static enum qk_code head_numbers(
    const struct group *g, struct head_pair *p, struct qk_head_drift *out, struct qk_error *err)
{
    out->angle_mean_deg = out->angle_max_deg = NAN;
    if (p->finite && g->stage == QK_DRIFT_ALL) {
        QK_TRY(find_angles(g, p, out, err));
        double sum = 0;
        for (int i = 0; i < out->n_angles; i++)
            sum += out->angle_deg[i];
        if (out->n_angles > 0) {
            out->angle_mean_deg = sum / out->n_angles;
            out->angle_max_deg = out->angle_deg[out->n_angles - 1];
            p->sums.angle_sum = out->angle_mean_deg;
            p->sums.angle_max = out->angle_max_deg;
            p->sums.angle_heads = 1;
        }
    }
    qk_head_sums_ratios(&p->sums, &out->rel_fro, &out->cosine, &out->norm_ratio);
    qk_head_sums_add(&g->sums->role[p->role], &p->sums);
    return QK_OK;
}

static enum qk_code routing_numbers(const struct group *g, double *base, double *moved, struct qk_error *err)
{
    struct head_pair *q = &g->work->q, *k = &g->work->k;
    *base = *moved = NAN;
    if (!q->finite || !k->finite)
        return QK_OK;
    if (qk_grams_routing(&q->grams, &k->grams, ROUTING_TOLERANCE, base, moved) || (q->is_wide && k->is_wide))
        return QK_OK;
    QK_TRY(widen(g, q, err));
    QK_TRY(widen(g, k, err));
    if (q->finite && k->finite)
        qk_grams_routing(&q->grams, &k->grams, ROUTING_TOLERANCE, base, moved);
    return QK_OK;
}

enum qk_code qk_drift_group(struct qk_heads *const side[2], int g, enum qk_drift_stage stage,
    struct qk_drift_work *work, struct qk_progress *progress, struct qk_layer_drift *out,
    struct qk_group_sums *sums, struct qk_error *err)
{
    const struct qk_layer *shape = side[0]->layer->side[QK_POST];
    struct group group = {
        .side = side, .work = work, .progress = progress, .out = out, .sums = sums, .stage = stage};
    bool keys = shape->role[QK_K].n_heads > 0;
    int per_group = keys ? shape->role[QK_Q].n_heads / shape->role[QK_K].n_heads : 1;
    *sums = (struct qk_group_sums){0};
    QK_TRY(fit(work, side, err));
    if (keys) {
        QK_TRY(read_pair(&group, &work->k, QK_K, g, err));
        QK_TRY(head_numbers(&group, &work->k, &out->role[QK_K].head[g], err));
    }
    for (int h = g * per_group; h < (g + 1) * per_group; h++) {
        double base = NAN, moved = NAN;
        QK_TRY(read_pair(&group, &work->q, QK_Q, h, err));
        QK_TRY(head_numbers(&group, &work->q, &out->role[QK_Q].head[h], err));
        if (stage == QK_DRIFT_ALL && keys)
            QK_TRY(routing_numbers(&group, &base, &moved, err));
        out->routing_head[h] = base > 0 ? sqrt(moved / base) : NAN;
        sums->routing_base += base;
        sums->routing_moved += moved;
    }
    return QK_OK;
}
