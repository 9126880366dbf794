/* search_trials.c - the trials of a search: their limits, their samples, and who is asked. */
#include "eval/search_trials.h"

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
    const struct qk_search_parts *p = search->parts;
    const struct qk_search_limits *limits = &p->limits;
    double spent = limits->seconds > 0 ? qk_seconds_since(&p->start) / limits->seconds : 0;
    if (limits->max_trials > 0)
        spent = fmax(spent, (double)p->n_measured / (double)limits->max_trials);
    return fmin(spent / p->end, 1);
}

double qk_search_left(const struct qk_search *search, double share)
{
    const struct qk_search_parts *p = search->parts;
    double seconds = p->limits.seconds * p->end;
    return seconds > 0 ? share * seconds - qk_seconds_since(&p->start) : HUGE_VAL;
}

double qk_search_whole_seconds(const struct qk_search *search, enum qk_search_part part)
{
    const struct qk_search_parts *p = search->parts;
    return p->run_cost > 0 ? p->seconds / p->run_cost * p->whole_cost[part] : 0;
}

/* --- samples --- */

bool qk_search_has(const struct qk_search *search, size_t i, enum qk_search_part part)
{
    const bool *held_out = search->cases.held_out;
    return (held_out != NULL && held_out[i]) == (part == QK_CONFIRMED);
}

/* The next case to search on of that task and kind, from `i` on, or cases.n. */
static size_t next_case(const struct qk_search *search, size_t task, bool differs, size_t i)
{
    const struct qk_search_cases *cases = &search->cases;
    while (i < cases->n && (cases->task[i] != task || search->parts->differs[i] != differs ||
                               !qk_search_has(search, i, QK_SEARCHED)))
        i++;
    return i;
}

/* Orders the cases of a task for its samples: three that pre and post answer differently, then one that they answer
 * alike. */
static size_t order_task(const struct qk_search *search, size_t task, size_t at)
{
    size_t next[2] = {0, 0}, turn = 0;
    for (;;) {
        bool wanted = turn++ % 4 != 3;
        for (int other = 0; other < 2; other++) { /* the other kind when there are no more of this */
            bool differs = other == 0 ? wanted : !wanted;
            size_t *i = &next[differs];
            *i = next_case(search, task, differs, *i);
            if (*i < search->cases.n) {
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
static size_t sample_length(const struct qk_search *search, size_t n, double level)
{
    if (search->cases.whole)
        return n;
    double length = ceil(level * (double)n);
    return length < (double)n ? (size_t)length : n;
}

static int by_index(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* Lists the cases of the sample that the trial was not asked yet, in the order of the case files. Returns their
 * number; list has room for all. Before the order of samples is known the sample is all of them. */
static size_t find_open(
    const struct qk_search *search, const struct qk_trial *trial, double level, size_t *list)
{
    const struct qk_search_parts *p = search->parts;
    size_t n = 0;
    if (p->differs == NULL) {
        for (size_t i = 0; i < search->cases.n; i++)
            if (qk_search_has(search, i, QK_SEARCHED))
                list[n++] = i;
        return n;
    }
    for (size_t task = 0; task < search->cases.n_tasks; task++)
        for (size_t i = 0; i < sample_length(search, p->first[task + 1] - p->first[task], level); i++)
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

struct qk_trial *qk_search_find(const struct qk_search *search, const struct qk_selection *selection)
{
    for (size_t i = 0; i < search->n_trials; i++)
        if (same_effect(&search->trial[i]->selection, selection))
            return search->trial[i];
    return NULL;
}

static enum qk_code find_trial(struct qk_search *search, const struct qk_selection *selection,
    const char *stage, struct qk_trial **out, struct qk_error *err)
{
    struct qk_trial *trial;
    *out = qk_search_find(search, selection);
    if (*out != NULL)
        return QK_OK;
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

/* Counts how often a selection turns an answer that pre and post give alike. */
static void count_turned(const struct qk_search *search, size_t i, signed char answer)
{
    struct qk_search_parts *p = search->parts;
    size_t objective = search->cases.objective[search->cases.task[i]];
    if (p->differs == NULL || p->differs[i] || !qk_search_has(search, i, QK_SEARCHED))
        return;
    p->alike[objective]++;
    p->turned[objective] += answer != search->trial[0]->answer[i];
}

/* Asks pre (trial NULL) or a trial the n listed cases. */
static enum qk_code ask(struct qk_search *search, struct qk_trial *trial, const size_t *list, size_t n,
    signed char *answer, struct qk_error *err)
{
    struct qk_search_parts *p = search->parts;
    struct timespec start;
    double cost = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    QK_TRY(p->calls.answer(
        p->calls.context, trial != NULL ? &trial->selection : NULL, list, n, answer, &cost, err));
    if (cost > 0) {
        p->run_cost += cost;
        p->seconds += qk_seconds_since(&start);
    }
    for (size_t i = 0; i < n; i++) {
        (trial != NULL ? trial->answer : search->pre)[list[i]] = answer[i];
        if (trial != NULL)
            count_turned(search, list[i], answer[i]);
    }
    return QK_OK;
}

/* Asks a trial, or pre, the cases of the list, and counts that as one measurement. */
static enum qk_code ask_list(
    struct qk_search *search, struct qk_trial *trial, const size_t *list, size_t n, struct qk_error *err)
{
    signed char *answer;
    if (n == 0)
        return QK_OK;
    QK_TRY(qk_alloc(&answer, n, 1, err));
    enum qk_code code = ask(search, trial, list, n, answer, err);
    search->parts->n_measured += code == QK_OK && trial != NULL;
    free(answer);
    return code;
}

/* When the time is up, a trial may end if at most its last tenth is missing. */
static bool fits(const struct qk_search *search, const size_t *list, size_t n)
{
    static const double OVER = 1.1;
    const struct qk_search_parts *p = search->parts;
    double cost = 0, each = p->run_cost > 0 ? p->seconds / p->run_cost : 0;
    for (size_t i = 0; i < n; i++)
        cost += search->cases.cost[list[i]];
    return qk_search_within(search, 1) &&
           (p->differs == NULL || cost * each <= OVER * qk_search_left(search, 1));
}

static void report(const struct qk_search *search, const char *stage, const struct qk_trial *trial)
{
    const struct qk_search_calls *calls = &search->parts->calls;
    if (calls->report != NULL)
        calls->report(calls->context, stage, trial);
}

enum qk_code qk_search_measure(struct qk_search *search, const struct qk_selection *selection, double level,
    const char *stage, struct qk_trial **out, struct qk_error *err)
{
    struct qk_trial *trial;
    size_t *list;
    *out = NULL;
    QK_TRY(find_trial(search, selection, stage, &trial, err));
    QK_TRY(qk_alloc(&list, search->cases.n, sizeof *list, err));
    size_t n = find_open(search, trial, level, list);
    bool asked = n == 0 || fits(search, list, n);
    enum qk_code code = asked ? ask_list(search, trial, list, n, err) : QK_OK;
    if (code == QK_OK && asked) {
        trial->n_asked += n;
        *out = trial;
    }
    search->parts->cut |= !asked;
    if (trial->n_asked == 0 && search->n_trials > 1) /* it was made here, and the time did not suffice */
        free_trial(search->trial[--search->n_trials]);
    free(list);
    if (n > 0 && *out != NULL)
        report(search, stage, trial);
    return code;
}

/* Lists the cases of a part that have no answer yet; list has room for all. */
static size_t find_unknown(
    const struct qk_search *search, const signed char *answer, enum qk_search_part part, size_t *list)
{
    size_t n = 0;
    for (size_t i = 0; i < search->cases.n; i++)
        if (qk_search_has(search, i, part) && answer[i] < 0)
            list[n++] = i;
    return n;
}

enum qk_code qk_search_ask_held_out(
    struct qk_search *search, struct qk_trial *trial, const char *stage, struct qk_error *err)
{
    size_t *list;
    QK_TRY(qk_alloc(&list, search->cases.n, sizeof *list, err));
    size_t n = find_unknown(search, trial->answer, QK_CONFIRMED, list);
    enum qk_code code = QK_OK;
    if (n == 0 || fits(search, list, n)) {
        code = ask_list(search, trial, list, n, err);
        trial->confirmed = code == QK_OK;
    }
    free(list);
    if (code == QK_OK && trial->confirmed)
        report(search, stage, trial);
    return code;
}

enum qk_code qk_search_ask_pre(struct qk_search *search, enum qk_search_part part, struct qk_error *err)
{
    size_t *list;
    QK_TRY(qk_alloc(&list, search->cases.n, sizeof *list, err));
    enum qk_code code = ask_list(search, NULL, list, find_unknown(search, search->pre, part, list), err);
    free(list);
    return code;
}
