/* search_trials.c - the trials of a search: their samples, the estimates from them, and their order. */
#include "eval/search_internal.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- limits --- */

bool qk_search_within(const struct qk_search *search, double share)
{
    return qk_search_spent(search) < share;
}

double qk_search_spent(const struct qk_search *search)
{
    const struct qk_search_limits *limits = &search->parts->limits;
    double spent = limits->seconds > 0 ? qk_seconds_since(&search->parts->start) / limits->seconds : 0;
    if (limits->max_trials > 0)
        spent = fmax(spent, (double)search->parts->n_measured / (double)limits->max_trials);
    return fmin(spent, 1);
}

double qk_search_left(const struct qk_search *search, double share)
{
    double seconds = search->parts->limits.seconds;
    return seconds > 0 ? share * seconds - qk_seconds_since(&search->parts->start) : HUGE_VAL;
}

double qk_search_whole_seconds(const struct qk_search *search)
{
    const struct qk_search_parts *p = search->parts;
    return p->run_cost > 0 ? p->seconds / p->run_cost * p->whole_cost : 0;
}

/* --- samples --- */

/* Orders the cases of a task for its samples: three that pre and post answer differently, then one that they answer
 * alike. */
static size_t order_task(const struct qk_search *search, size_t task, size_t at)
{
    const struct qk_search_cases *cases = &search->cases;
    size_t next[2] = {0, 0}, turn = 0;
    for (;;) {
        bool wanted = turn++ % 4 != 3;
        for (int other = 0; other < 2; other++) { /* the other kind when there are no more of this */
            bool differs = other == 0 ? wanted : !wanted;
            size_t *i = &next[differs];
            while (*i < cases->n && (cases->task[*i] != task || search->parts->differs[*i] != differs))
                (*i)++;
            if (*i < cases->n) {
                search->parts->order[at++] = (*i)++;
                break;
            }
            if (other == 1)
                return at;
        }
    }
}

enum qk_code qk_search_order(struct qk_search *search, struct qk_error *err)
{
    const struct qk_search_cases *cases = &search->cases;
    struct qk_search_parts *p = search->parts;
    QK_TRY(qk_alloc(&p->differs, cases->n, sizeof *p->differs, err));
    for (size_t i = 0; i < cases->n; i++)
        p->differs[i] = search->pre[i] != search->trial[0]->answer[i];
    for (size_t task = 0; task < cases->n_tasks; task++)
        p->first[task + 1] = order_task(search, task, p->first[task]);
    return QK_OK;
}

/* Length of a task's sample. */
static size_t sample_length(size_t n, double level)
{
    double length = ceil(level * (double)n);
    return length < (double)n ? (size_t)length : n;
}

static int by_index(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* Lists the cases of the sample that the trial was not asked yet, in the order of the case files. Returns their
 * number; list has room for all. Before the order of samples is known the sample is all cases. */
static size_t find_open(
    const struct qk_search *search, const struct qk_trial *trial, double level, size_t *list)
{
    const struct qk_search_parts *p = search->parts;
    size_t n = 0;
    if (p->differs == NULL) {
        for (size_t i = 0; i < search->cases.n; i++)
            list[n++] = i;
        return n;
    }
    for (size_t task = 0; task < search->cases.n_tasks; task++)
        for (size_t i = 0; i < sample_length(p->first[task + 1] - p->first[task], level); i++)
            if (trial->answer[p->order[p->first[task] + i]] < 0)
                list[n++] = p->order[p->first[task] + i];
    qsort(list, n, sizeof *list, by_index);
    return n;
}

/* --- trials --- */

static bool same_in_role(const struct qk_layer_choice *a, const struct qk_layer_choice *b, enum qk_role role)
{
    int m = qk_layer_choice_count(a, role), n = qk_layer_choice_count(b, role);
    for (int h = 0; h < m || h < n; h++)
        if (!qk_choice_equal(qk_choice_effect(qk_layer_choice_of(a, role, h)),
                qk_choice_effect(qk_layer_choice_of(b, role, h))))
            return false;
    return true;
}

static bool same_effect(const struct qk_selection *a, const struct qk_selection *b)
{
    for (int i = 0; i < a->n_layers; i++)
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            if (!same_in_role(&a->choice[i], &b->choice[i], (enum qk_role)r))
                return false;
    return true;
}

static enum qk_code find_trial(struct qk_search *search, const struct qk_selection *selection,
    const char *stage, struct qk_trial **out, struct qk_error *err)
{
    for (size_t i = 0; i < search->n_trials; i++)
        if (same_effect(&search->trial[i]->selection, selection)) {
            *out = search->trial[i];
            return QK_OK;
        }
    struct qk_trial *trial;
    QK_TRY(qk_grow(&search->trial, &search->capacity, search->n_trials + 1, sizeof(struct qk_trial *), err));
    QK_TRY(qk_alloc(&trial, 1, sizeof *trial, err));
    search->trial[search->n_trials++] = trial;
    trial->origin = stage;
    QK_TRY(qk_alloc(&trial->answer, search->cases.n, 1, err));
    memset(trial->answer, -1, search->cases.n);
    QK_TRY(qk_selection_copy(&trial->selection, selection, err));
    *out = trial;
    return QK_OK;
}

static void free_trial(struct qk_trial *trial)
{
    qk_selection_free(&trial->selection);
    free(trial->answer);
    free(trial);
}

void qk_search_free_trials(struct qk_search *search)
{
    while (search->n_trials > 0)
        free_trial(search->trial[--search->n_trials]);
    free(search->trial);
}

static enum qk_code ask(struct qk_search *search, struct qk_trial *trial, const size_t *list, size_t n,
    signed char *answer, struct qk_error *err)
{
    struct qk_search_parts *p = search->parts;
    struct timespec start;
    double cost = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    QK_TRY(p->calls.answer(p->calls.context, &trial->selection, list, n, answer, &cost, err));
    if (cost > 0) {
        p->run_cost += cost;
        p->seconds += qk_seconds_since(&start);
    }
    for (size_t i = 0; i < n; i++) {
        trial->answer[list[i]] = answer[i];
        if (p->differs != NULL && !p->differs[list[i]]) {
            size_t objective = search->cases.objective[search->cases.task[list[i]]];
            p->alike[objective]++;
            p->turned[objective] += answer[i] != search->trial[0]->answer[list[i]];
        }
    }
    trial->n_asked += n;
    p->n_measured++;
    return QK_OK;
}

/* When the time is up, a trial may end if at most its last tenth is missing. */
static bool fits(const struct qk_search *search, const size_t *list, size_t n)
{
    static const double OVER = 1.1;
    const struct qk_search_parts *p = search->parts;
    double cost = 0;
    for (size_t i = 0; i < n; i++)
        cost += search->cases.cost[list[i]];
    return qk_search_within(search, 1) &&
           (p->differs == NULL ||
               cost / p->whole_cost * qk_search_whole_seconds(search) <= OVER * qk_search_left(search, 1));
}

enum qk_code qk_search_measure(struct qk_search *search, const struct qk_selection *selection, double level,
    const char *stage, struct qk_trial **out, struct qk_error *err)
{
    struct qk_trial *trial;
    size_t *list;
    signed char *answer = NULL;
    *out = NULL;
    QK_TRY(find_trial(search, selection, stage, &trial, err));
    QK_TRY(qk_alloc(&list, search->cases.n, sizeof *list, err));
    size_t n = find_open(search, trial, level, list);
    enum qk_code code = QK_OK;
    if (n == 0 || fits(search, list, n)) {
        if (n > 0)
            code = qk_alloc(&answer, n, 1, err);
        if (code == QK_OK && n > 0)
            code = ask(search, trial, list, n, answer, err);
        if (code == QK_OK)
            *out = trial;
    }
    search->parts->cut |= code == QK_OK && *out == NULL;
    if (trial->n_asked == 0 && search->n_trials > 1) /* it was made here, and the time did not suffice */
        free_trial(search->trial[--search->n_trials]);
    free(answer);
    free(list);
    if (code == QK_OK && n > 0 && *out != NULL && search->parts->calls.report != NULL)
        search->parts->calls.report(search->parts->calls.context, stage, trial);
    return code;
}

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

/* Adds the stratum's part of a mean over `total` cases, and of its variance. `spread` is the variance of one case,
 * with the correction for a sample of a finite whole. Without a sample no case counts as different. */
static void add_stratum(const struct stratum *s, size_t total, double spread, double *mean, double *variance)
{
    double weight = (double)s->all / (double)total, n = (double)s->n;
    if (s->all == 0)
        return;
    *mean += weight * (s->n > 0 ? s->sum / n : 0);
    *variance += weight * weight * spread / (n > 1 ? n : 1) * (1 - n / (double)s->all);
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

/* Counts the cases of an objective, and how many of them a trial has right. */
static size_t count_objective(
    const struct qk_search *search, const struct qk_trial *trial, size_t objective, size_t *right)
{
    const struct qk_search_cases *cases = &search->cases;
    size_t total = 0;
    *right = 0;
    for (size_t i = 0; i < cases->n; i++)
        if (cases->objective[cases->task[i]] == objective) {
            total++;
            *right += trial->answer[i] > 0;
        }
    return total;
}

/* The rate of post, which is known for every case, plus the difference from it (a difference estimator: Cochran 1977,
 * ch. 7). For a trial that was asked every case it is a quotient of whole numbers, so equal counts are equal rates.
 * */
struct qk_estimate qk_search_rate(
    const struct qk_search *search, const struct qk_trial *trial, size_t objective)
{
    const struct qk_trial *post = search->trial[0];
    size_t right, of_post, total = count_objective(search, trial, objective, &right);
    if (search->parts->differs == NULL)
        return (struct qk_estimate){0};
    count_objective(search, post, objective, &of_post);
    struct qk_estimate result = difference(search, trial, post, objective, total);
    result.value =
        (result.n == total ? (double)right : (double)of_post + result.value * (double)total) / (double)total;
    return result;
}

struct qk_estimate qk_search_difference(const struct qk_search *search, const struct qk_trial *trial,
    const struct qk_trial *base, size_t objective)
{
    size_t right, total = count_objective(search, trial, objective, &right);
    return difference(search, trial, base, objective, total);
}

/* --- order --- */

struct ranked {
    struct qk_trial *trial;
    double *rate; /* n_objectives */
    size_t rank, index;
    double apart;
};

/* True when a is as good as b everywhere and better somewhere. */
static bool dominates(const double *a, const double *b, size_t n)
{
    bool better = false;
    for (size_t o = 0; o < n; o++) {
        if (a[o] < b[o])
            return false;
        better = better || a[o] > b[o];
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
                beaten =
                    (r[j].rank == 0 || r[j].rank == rank) && dominates(r[j].rate, r[i].rate, n_objectives);
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
        return dominates(a->rate, b->rate, n);
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
        if (search->trial[i]->n_asked == search->cases.n) {
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

enum qk_code qk_search_front(
    const struct qk_search *search, const struct qk_trial ***out, size_t *n, struct qk_error *err)
{
    const struct qk_trial **front;
    QK_TRY(qk_alloc(out, search->n_trials, sizeof **out, err));
    front = *out;
    *n = 0;
    for (size_t i = 0; i < search->n_trials; i++) {
        const struct qk_trial *trial = search->trial[i];
        if (!trial->front)
            continue;
        double rate = qk_search_rate(search, trial, 0).value;
        size_t at = (*n)++;
        for (; at > 0 && qk_search_rate(search, front[at - 1], 0).value < rate; at--)
            front[at] = front[at - 1];
        front[at] = trial;
    }
    return QK_OK;
}
