/* recall_heads.c - the decision which query heads carry recall. */
#include "eval/recall_heads.h"

#include "base/mem.h"
#include "eval/student.h"

#include <math.h>
#include <stdlib.h>

double qk_recall_background(const struct qk_needles *needles)
{
    double sum = 0;
    for (size_t i = 0; i < needles->n; i++) {
        const struct qk_needle *needle = &needles->item[i];
        double of = 0;
        for (size_t j = 0; j < needle->n_answer; j++)
            of += (needle->place[j] > 0 ? 2.0 : 1.0) / (double)(needle->query[j] + 1);
        sum += of / (double)needle->n_answer;
    }
    return needles->n > 0 ? sum / (double)needles->n : NAN;
}

double qk_recall_bound(const struct qk_recall *recall, struct qk_needle_mean mean)
{
    return mean.mean - recall->margin * mean.error;
}

void qk_recall_free(struct qk_recall *recall)
{
    free(recall->head);
    *recall = (struct qk_recall){0};
}

/* --- groups --- */

/* An unknown number is less than any other, so that heads have an order. */
static double or_least(double value)
{
    return isnan(value) ? -INFINITY : value;
}

static double mass_of(const struct qk_recall_head *head)
{
    return or_least(head->of.mass[QK_PRE].mean);
}

static int by_place(const struct qk_recall_head *x, const struct qk_recall_head *y)
{
    return x->of.layer != y->of.layer ? x->of.layer - y->of.layer : x->of.head - y->of.head;
}

/* The largest mass first, unknown ones last; equal ones by layer and head. */
static int by_mass(const void *a, const void *b)
{
    double x = mass_of(a), y = mass_of(b);
    return x != y ? (x > y ? -1 : 1) : by_place(a, b);
}

/* The boundary of the two groups, for heads by mass: the mean of the masses on both sides of it. Of n values, the
 * first k have the sum of squares k (n - k) / n (mean - mean of the others)^2 between the groups. */
static double split_of(const struct qk_recall_head *head, size_t n)
{
    double total = 0, sum = 0, best = 0, split = NAN;
    while (n > 0 && !isfinite(mass_of(&head[n - 1])))
        n--;
    for (size_t i = 0; i < n; i++)
        total += mass_of(&head[i]);
    for (size_t k = 1; k < n; k++) {
        sum += mass_of(&head[k - 1]);
        double difference = sum / (double)k - (total - sum) / (double)(n - k);
        double between = difference * difference * (double)k * (double)(n - k) / (double)n;
        if (between > best && mass_of(&head[k]) < mass_of(&head[k - 1])) {
            best = between;
            split = (mass_of(&head[k - 1]) + mass_of(&head[k])) / 2;
        }
    }
    return split;
}

/* --- heads --- */

static enum qk_code list_heads(const struct qk_pair *pair, const struct qk_needle_pair *measured,
    struct qk_recall *out, struct qk_error *err)
{
    struct qk_needle_head *ranked;
    size_t n;
    QK_TRY(qk_needle_rank(pair, measured, &ranked, &n, err));
    enum qk_code code = qk_alloc(&out->head, n, sizeof *out->head, err);
    for (size_t i = 0; i < n && code == QK_OK; i++) {
        const struct qk_pair_layer *layer = &pair->layer[ranked[i].layer];
        int q = qk_selection_heads(layer, QK_HEAD_Q), k = qk_selection_heads(layer, QK_HEAD_K);
        if (ranked[i].head < q)
            out->head[out->n++] =
                (struct qk_recall_head){.of = ranked[i], .key = k > 0 ? ranked[i].head / (q / k) : -1};
    }
    free(ranked);
    return code;
}

static bool is_recall(const struct qk_recall_head *head)
{
    return head->fetches || head->lost;
}

/* Recall heads first, those by drop; the others by mass. */
static int by_rank(const void *a, const void *b)
{
    const struct qk_recall_head *x = a, *y = b;
    if (is_recall(x) != is_recall(y))
        return is_recall(x) ? -1 : 1;
    if (!is_recall(x))
        return by_mass(x, y);
    double left = or_least(x->of.drop.mean), right = or_least(y->of.drop.mean);
    return left != right ? (left > right ? -1 : 1) : by_place(x, y);
}

static void mark_heads(struct qk_recall *out)
{
    double least = out->background + QK_NEEDLE_FETCHES;
    bool above = false;
    if (out->n > 1)
        qsort(out->head, out->n, sizeof *out->head, by_mass);
    out->split = split_of(out->head, out->n);
    for (size_t i = 0; i < out->n; i++) {
        struct qk_recall_head *head = &out->head[i];
        bool upper = isnan(out->split) || mass_of(head) > out->split;
        above = above || mass_of(head) > least;
        head->fetches = upper && qk_recall_bound(out, head->of.mass[QK_PRE]) > least;
        head->lost = qk_recall_bound(out, head->of.drop) > QK_NEEDLE_FETCHES;
        head->unsure = upper && mass_of(head) > least && !is_recall(head);
        out->n_recall += is_recall(head) ? 1 : 0;
        out->n_unsure += head->unsure ? 1 : 0;
    }
    if (out->n > 1)
        qsort(out->head, out->n, sizeof *out->head, by_rank);
    out->verdict = out->n_recall > 0 ? QK_RECALL_FOUND : above ? QK_RECALL_UNSURE : QK_RECALL_NONE;
}

/* --- the gap --- */

/* A head's row as a layer of one head. */
static struct qk_needle_layer row_of(const struct qk_needle_pair *measured, const struct qk_recall_head *head)
{
    const struct qk_needle_layer *layer = &measured->side[QK_PRE][head->of.layer];
    size_t at = (size_t)head->of.head * layer->n_needles;
    return (struct qk_needle_layer){1, layer->n_needles, layer->mass + at, layer->copies + at};
}

static void find_gap(const struct qk_needle_pair *measured, struct qk_recall *out)
{
    out->gap = (struct qk_needle_mean){NAN, NAN};
    if (out->n_recall == 0 || out->n_recall == out->n)
        return;
    const struct qk_recall_head *least = &out->head[0];
    for (size_t i = 1; i < out->n_recall; i++)
        least = mass_of(&out->head[i]) < mass_of(least) ? &out->head[i] : least;
    struct qk_needle_layer in = row_of(measured, least), other = row_of(measured, &out->head[out->n_recall]);
    out->gap = qk_needle_drop(&in, &other, 0);
    out->clear = qk_recall_bound(out, out->gap) > QK_NEEDLE_FETCHES;
}

static size_t needles_of(const struct qk_needle_pair *measured)
{
    for (int i = 0; i < measured->n_layers; i++)
        if (measured->side[QK_PRE][i].n_heads > 0)
            return measured->side[QK_PRE][i].n_needles;
    return 0;
}

enum qk_code qk_recall_find(const struct qk_pair *pair, const struct qk_needle_pair *measured,
    double background, struct qk_recall *out, struct qk_error *err)
{
    *out = (struct qk_recall){.n_needles = needles_of(measured), .background = background};
    QK_TRY(list_heads(pair, measured, out, err));
    double bounds = 2 * (out->n > 0 ? (double)out->n : 1);
    out->margin = qk_student_quantile(QK_RECALL_LEVEL / bounds, out->n_needles > 0 ? out->n_needles - 1 : 0);
    mark_heads(out);
    find_gap(measured, out);
    return QK_OK;
}
