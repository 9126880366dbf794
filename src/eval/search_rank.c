/* search_rank.c - the estimates from the trials of a search, and the order of the trials. */
#include "eval/search_trials.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- estimates --- */

/* Sums over the asked cases of a stratum. A stratum is the cases of a task that pre and post answer differently, or
 * those of an objective that they answer alike. */
struct stratum {
    size_t all, n;
    double sum, squares;
};

static void add_case(struct stratum *s, double value, bool asked)
{
    s->all++;
    if (asked) {
        s->n++;
        s->sum += value;
        s->squares += value * value;
    }
}

/* Adds the stratum's part of a mean over `total` cases, and of its variance. `spread` is the variance of one case. The
 * cases are a sample of all such questions: so an answer to each of them leaves an error, too. Without a sample no
 * case counts as different. */
static void add_stratum(const struct stratum *s, size_t total, double spread, double *mean, double *variance)
{
    double weight = (double)s->all / (double)total, n = (double)s->n;
    if (s->all == 0)
        return;
    *mean += weight * (s->n > 0 ? s->sum / n : 0);
    *variance += weight * weight * spread / (n > 1 ? n : 1);
}

/* The variance of one case in the sample. It adds one case that differs, as most do, and one that does not, because
 * no sample is certain. */
static double spread_of(const struct stratum *s)
{
    double n = (double)s->n, mean = (fabs(s->sum) + 1) / (n + 2);
    return (s->squares + 1) / (n + 2) - mean * mean;
}

/* The same for cases that pre and post answer alike, from all trials. Few selections turn such an answer, and one
 * trial's sample of them is small. */
static double spread_alike(const struct qk_search *search, const struct qk_trial *base, size_t objective)
{
    const struct qk_search_parts *p = search->parts;
    double turned = ((double)p->turned[objective] + 1) / ((double)p->alike[objective] + 2);
    return turned * (1 - turned) * (base == search->trial[0] ? 1 : 2);
}

static void add_task(const struct qk_search *search, const struct qk_trial *trial,
    const struct qk_trial *base, size_t task, struct stratum *differ, struct stratum *alike)
{
    const struct qk_search_parts *p = search->parts;
    for (size_t at = p->first[task]; at < p->first[task + 1]; at++) {
        size_t i = p->order[at];
        add_case(p->differs[i] ? differ : alike, trial->answer[i] - base->answer[i],
            trial->answer[i] >= 0 && base->answer[i] >= 0);
    }
}

/* The mean of trial minus base over the objective's cases. */
static struct qk_estimate difference(const struct qk_search *search, const struct qk_trial *trial,
    const struct qk_trial *base, size_t objective, size_t total)
{
    const struct qk_search_cases *cases = &search->cases;
    struct qk_estimate result = {0};
    struct stratum alike = {0};
    double variance = 0;
    for (size_t task = 0; task < cases->n_tasks; task++) {
        struct stratum differ = {0};
        if (cases->objective[task] != objective)
            continue;
        add_task(search, trial, base, task, &differ, &alike);
        add_stratum(&differ, total, spread_of(&differ), &result.value, &variance);
        result.n += differ.n;
    }
    add_stratum(&alike, total, spread_alike(search, base, objective), &result.value, &variance);
    result.n += alike.n;
    result.error = sqrt(variance);
    return result;
}

struct qk_score qk_search_score(
    const struct qk_search *search, const signed char *answer, size_t objective, enum qk_search_part part)
{
    const struct qk_search_cases *cases = &search->cases;
    struct qk_score score = {0};
    for (size_t i = 0; i < cases->n; i++)
        if (cases->objective[cases->task[i]] == objective && qk_search_has(search, i, part)) {
            score.total += answer[i] >= 0;
            score.right += answer[i] > 0;
        }
    return score;
}

size_t qk_search_count(const struct qk_search *search, enum qk_search_part part)
{
    size_t n = 0;
    for (size_t i = 0; i < search->n_trials; i++) {
        const struct qk_trial *trial = search->trial[i];
        n += part == QK_CONFIRMED ? trial->confirmed : trial->n_asked == search->parts->n_cases[QK_SEARCHED];
    }
    return n;
}

/* Counts the cases of an objective to search on. */
static size_t count_objective(const struct qk_search *search, size_t objective)
{
    return qk_search_score(search, search->trial[0]->answer, objective, QK_SEARCHED).total;
}

/* The rate of post, which is known for every case, plus the difference from it (a difference estimator: Cochran 1977,
 * ch. 7). For a trial that was asked every case it is a quotient of whole numbers, so equal counts are equal rates.
 * */
struct qk_estimate qk_search_rate(
    const struct qk_search *search, const struct qk_trial *trial, size_t objective)
{
    const struct qk_trial *post = search->trial[0];
    if (search->parts->differs == NULL)
        return (struct qk_estimate){0};
    size_t right = qk_search_score(search, trial->answer, objective, QK_SEARCHED).right,
           of_post = qk_search_score(search, post->answer, objective, QK_SEARCHED).right,
           total = count_objective(search, objective);
    struct qk_estimate result = difference(search, trial, post, objective, total);
    result.value =
        (result.n == total ? (double)right : (double)of_post + result.value * (double)total) / (double)total;
    return result;
}

struct qk_estimate qk_search_difference(const struct qk_search *search, const struct qk_trial *trial,
    const struct qk_trial *base, size_t objective)
{
    return difference(search, trial, base, objective, count_objective(search, objective));
}

/* --- order --- */

struct ranked {
    struct qk_trial *trial;
    double *rate; /* n_objectives */
    size_t rank, index;
    double apart, lack;
};

double qk_search_lack(const struct qk_search *search, const struct qk_trial *trial)
{
    const double *least = search->cases.least;
    double lack = 0;
    for (size_t o = 0; least != NULL && o < search->cases.n_objectives; o++)
        lack += fmax(least[o] - qk_search_rate(search, trial, o).value, 0);
    return lack;
}

/* True when a lacks less than b, or as much, and is as good everywhere and better somewhere. */
static bool dominates(const struct ranked *a, const struct ranked *b, size_t n)
{
    bool better = false;
    if (a->lack < b->lack || a->lack > b->lack)
        return a->lack < b->lack;
    for (size_t o = 0; o < n; o++) {
        if (a->rate[o] < b->rate[o])
            return false;
        better = better || a->rate[o] > b->rate[o];
    }
    return better;
}

/* The first front gets rank 1, the front of the rest the next, and so on. */
static void find_ranks(struct ranked *r, size_t n, size_t n_objectives)
{
    size_t done = 0;
    for (size_t rank = 1; done < n; rank++) {
        for (size_t i = 0; i < n; i++) {
            bool beaten = r[i].rank != 0;
            for (size_t j = 0; j < n && !beaten; j++)
                beaten = (r[j].rank == 0 || r[j].rank == rank) && dominates(&r[j], &r[i], n_objectives);
            if (!beaten) {
                r[i].rank = rank;
                done++;
            }
        }
    }
}

/* The distance to the neighbours on both sides of the same front, summed over the objectives. For the ends of a front
 * it is infinite. */
static void find_distances(struct ranked *r, size_t n, size_t n_objectives)
{
    for (size_t o = 0; o < n_objectives; o++)
        for (size_t i = 0; i < n; i++) {
            double below = -HUGE_VAL, above = HUGE_VAL, x = r[i].rate[o];
            for (size_t j = 0; j < n; j++) {
                double y = r[j].rate[o];
                if (j == i || r[j].rank != r[i].rank)
                    continue;
                if ((y < x || (y == x && j < i)) && y > below)
                    below = y;
                if ((y > x || (y == x && j > i)) && y < above)
                    above = y;
            }
            r[i].apart += above - below;
        }
}

static int by_rank(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->apart != y->apart)
        return x->apart > y->apart ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

/* Sets entry `index` of a list, with its rates in the list's own array of rates. */
static struct ranked rank_of(
    const struct qk_search *search, struct qk_trial *trial, size_t index, double *rates)
{
    size_t n = search->cases.n_objectives;
    struct ranked r = {.trial = trial, .rate = rates + index * n, .index = index};
    for (size_t o = 0; o < n; o++)
        r.rate[o] = qk_search_rate(search, trial, o).value;
    r.lack = qk_search_lack(search, trial);
    return r;
}

enum qk_code qk_search_rank(
    const struct qk_search *search, struct qk_trial **trial, size_t n, struct qk_error *err)
{
    size_t n_objectives = search->cases.n_objectives;
    struct ranked *r;
    double *rates;
    QK_TRY(qk_alloc(&r, n, sizeof *r, err));
    enum qk_code code = qk_alloc(&rates, n * n_objectives, sizeof *rates, err);
    if (code != QK_OK) {
        free(r);
        return code;
    }
    for (size_t i = 0; i < n; i++)
        r[i] = rank_of(search, trial[i], i, rates);
    find_ranks(r, n, n_objectives);
    find_distances(r, n, n_objectives);
    qsort(r, n, sizeof *r, by_rank);
    for (size_t i = 0; i < n; i++)
        trial[i] = r[i].trial;
    free(rates);
    free(r);
    return QK_OK;
}

/* True when a comes before b: better somewhere and as good everywhere. Of equals, the one with fewer changed layers
 * comes first, then the older one. */
static bool beats(const struct qk_search *search, const struct ranked *a, const struct ranked *b)
{
    size_t n = search->cases.n_objectives;
    if (memcmp(a->rate, b->rate, n * sizeof *a->rate) != 0)
        return dominates(a, b, n);
    int more = qk_selection_count(&a->trial->selection) - qk_selection_count(&b->trial->selection);
    return more < 0 || (more == 0 && a->index < b->index);
}

enum qk_code qk_search_mark_front(struct qk_search *search, struct qk_error *err)
{
    struct ranked *r;
    double *rates;
    size_t n = 0;
    QK_TRY(qk_alloc(&r, search->n_trials, sizeof *r, err));
    enum qk_code code = qk_alloc(&rates, search->n_trials * search->cases.n_objectives, sizeof *rates, err);
    for (size_t i = 0; code == QK_OK && i < search->n_trials; i++) {
        search->trial[i]->front = false;
        if (search->trial[i]->n_asked == search->parts->n_cases[QK_SEARCHED]) {
            r[n] = rank_of(search, search->trial[i], n, rates);
            n++;
        }
    }
    for (size_t i = 0; code == QK_OK && i < n; i++) {
        r[i].trial->front = true;
        for (size_t j = 0; j < n && r[i].trial->front; j++)
            r[i].trial->front = j == i || !beats(search, &r[j], &r[i]);
    }
    free(rates);
    free(r);
    return code;
}

/* Adds a trial to n others, the best in the first objective first. */
static void add_by_rate(
    const struct qk_search *search, const struct qk_trial **list, size_t n, const struct qk_trial *trial)
{
    double rate = qk_search_rate(search, trial, 0).value;
    for (; n > 0 && qk_search_rate(search, list[n - 1], 0).value < rate; n--)
        list[n] = list[n - 1];
    list[n] = trial;
}

enum qk_code qk_search_points(const struct qk_search *search, const struct qk_trial ***out, size_t *n_front,
    size_t *n, struct qk_error *err)
{
    QK_TRY(qk_alloc(out, search->n_trials, sizeof **out, err));
    *n_front = *n = 0;
    for (size_t i = 0; i < search->n_trials; i++)
        if (search->trial[i]->front)
            add_by_rate(search, *out, (*n_front)++, search->trial[i]);
    for (size_t i = 1; i < search->n_trials; i++) /* post has its own place in every report */
        if (search->trial[i]->confirmed && !search->trial[i]->front)
            add_by_rate(search, *out + *n_front, (*n)++, search->trial[i]);
    *n += *n_front;
    return QK_OK;
}
