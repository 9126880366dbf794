/* evaluation.c - the answers of models to cases, taken from the store or asked. */
#include "eval/evaluation.h"

#include "base/mem.h"
#include "eval/answer_store.h"
#include "model/identity.h"

#include <stdlib.h>
#include <string.h>

/* Answers of another version of the computation do not count. */
static const char FORMAT[] = "qkscope answers 3";

struct qk_evaluation {
    struct qk_engine_setting setting;
    const struct qk_engine_ops *engine;
    void *state; /* the engine's */
};

/* --- opening --- */

enum qk_code qk_evaluation_open(const struct qk_pair *pair, const struct qk_model *alone,
    const struct qk_cases *cases, const struct qk_evaluation_options *options, struct qk_evaluation **out,
    struct qk_error *err)
{
    struct qk_evaluation *e;
    *out = NULL;
    QK_TRY(qk_alloc(&e, 1, sizeof *e, err));
    e->setting = (struct qk_engine_setting){.pair = pair, .cases = cases, .options = *options};
    e->engine = qk_engine_find(options->engine.kind);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        e->setting.model[s] = pair != NULL ? pair->model[s] : alone;
    enum qk_code code = e->engine->open(&e->setting, &e->state, err);
    if (code == QK_OK)
        *out = e;
    else
        qk_evaluation_close(e);
    return code;
}

void qk_evaluation_close(struct qk_evaluation *evaluation)
{
    if (evaluation == NULL)
        return;
    evaluation->engine->close(evaluation->state);
    free(evaluation);
}

/* --- what is known --- */

/* The key of all that the subject's answers depend on, beside the cases. *known is false when a file was written to
 * after it was opened. */
static enum qk_code make_key(const struct qk_evaluation *e, const struct qk_subject *subject,
    char key[QK_DIGEST_TEXT], bool *known, struct qk_error *err)
{
    struct qk_digest digest;
    bool pre_known = true;
    qk_digest_init(&digest);
    qk_digest_add(&digest, FORMAT, sizeof FORMAT);
    qk_digest_add(&digest, e->engine->name, strlen(e->engine->name) + 1);
    QK_TRY(qk_identity_add(&digest, e->setting.model[subject->side], known, err));
    e->engine->identify(e->state, subject->side, &digest);
    if (subject->selection != NULL) {
        QK_TRY(qk_identity_add(&digest, e->setting.model[QK_PRE], &pre_known, err));
        qk_subject_add(subject, &digest);
    }
    *known = *known && pre_known;
    qk_digest_hex(&digest, key);
    return QK_OK;
}

/* --- asking --- */

/* One call of qk_evaluation_answer. */
struct asking {
    const struct qk_evaluation *evaluation;
    struct qk_subject subject;
    char key[QK_DIGEST_TEXT];
    bool keep;
    struct qk_answer_store *store;
    const struct qk_exam_watch *watch;
    size_t *open; /* places in the list without a known answer */
    size_t n_known, n_open;
    bool whole_known; /* the engine had the results of all its tasks */
};

static const char *case_digest(const struct asking *a, size_t i)
{
    return a->evaluation->engine->digest(a->evaluation->state, a->subject.side, i);
}

static void report(const struct asking *a, size_t n, const size_t *cases, const signed char *answer)
{
    if (a->watch != NULL && n > 0)
        a->watch->done(a->watch->context, n, cases, answer);
}

/* Answers from files that another program changed belong to no single state of them. */
static enum qk_code check_unchanged(const struct qk_evaluation *e, struct qk_error *err)
{
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        if (e->setting.model[s] != NULL)
            QK_TRY(qk_checkpoint_unchanged(e->setting.model[s]->checkpoint, err));
    return QK_OK;
}

/* Stores a group's answers at once, so that an interruption costs one group. */
static void group_done(void *context, size_t n, const size_t *cases, const signed char *answer)
{
    struct asking *a = context;
    char(*digest)[QK_DIGEST_TEXT] = NULL;
    struct qk_error unheard = {0};
    if (a->store != NULL && check_unchanged(a->evaluation, &unheard) == QK_OK &&
        qk_alloc(&digest, n, sizeof *digest, &unheard) == QK_OK) {
        for (size_t i = 0; i < n; i++)
            memcpy(digest[i], case_digest(a, cases[i]), sizeof *digest);
        qk_answer_store_add(a->store, n, (const char(*)[QK_DIGEST_TEXT])digest, answer, &unheard);
    }
    free(digest);
    report(a, n, cases, answer);
}

/* Asks the cases of the list that the store does not know. */
static enum qk_code ask_open(struct qk_evaluation *e, struct asking *a, const size_t *list,
    signed char *answer, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_exam_watch keep = {a, group_done};
    size_t *cases;
    signed char *got = NULL;
    QK_TRY(qk_alloc(&cases, a->n_open, sizeof *cases, err));
    for (size_t i = 0; i < a->n_open; i++)
        cases[i] = list[a->open[i]];
    enum qk_code code = qk_alloc(&got, a->n_open, 1, err);
    const struct qk_inquiry inquiry = {
        a->n_open, cases, got, &keep, progress, a->key, a->keep, &a->whole_known};
    if (code == QK_OK)
        code = e->engine->take(e->state, a->subject, &inquiry, err);
    for (size_t i = 0; code == QK_OK && i < a->n_open; i++)
        answer[a->open[i]] = got[i];
    free(got);
    free(cases);
    return code;
}

/* 1 right, 0 wrong, -1 to be asked. */
static int find_answer(const struct asking *a, size_t i)
{
    const struct qk_engine_ops *engine = a->evaluation->engine;
    if (engine->is_foreign != NULL && engine->is_foreign(a->evaluation->state, a->subject.side, i))
        return 0;
    return a->store == NULL ? -1 : qk_answer_store_find(a->store, case_digest(a, i));
}

/* Answers the cases that the store knows, and puts the others into a->open. */
static enum qk_code split(struct asking *a, size_t n, const size_t *list, signed char *answer,
    struct qk_progress *progress, struct qk_error *err)
{
    size_t *cases;
    signed char *got;
    QK_TRY(qk_alloc(&a->open, n, sizeof *a->open, err));
    QK_TRY(qk_alloc(&cases, n, sizeof *cases, err));
    enum qk_code code = qk_alloc(&got, n, 1, err);
    for (size_t i = 0; code == QK_OK && i < n; i++) {
        int found = find_answer(a, list[i]);
        if (found < 0) {
            a->open[a->n_open++] = i;
            continue;
        }
        answer[i] = got[a->n_known] = (signed char)found;
        cases[a->n_known++] = list[i];
        qk_progress_add(progress, qk_evaluation_cost(a->evaluation, list[i]));
    }
    if (code == QK_OK)
        report(a, a->n_known, cases, got);
    free(got);
    free(cases);
    return code;
}

static enum qk_code begin(struct asking *a, struct qk_error *err)
{
    const struct qk_evaluation *e = a->evaluation;
    bool known;
    if (qk_subject_plain(a->subject.selection))
        a->subject.selection = NULL;
    if (e->engine->prepare != NULL)
        QK_TRY(e->engine->prepare(e->state, a->subject.side, err));
    QK_TRY(make_key(e, &a->subject, a->key, &known, err));
    a->keep = known && !e->setting.options.no_cache;
    return QK_OK;
}

enum qk_code qk_evaluation_answer(struct qk_evaluation *evaluation, struct qk_subject subject, size_t n,
    const size_t *list, signed char *answer, const struct qk_exam_watch *watch, struct qk_progress *progress,
    double *cost, struct qk_error *err)
{
    struct asking a = {.evaluation = evaluation, .subject = subject, .watch = watch};
    double unknown = 0;
    QK_TRY(begin(&a, err));
    enum qk_code code = QK_OK;
    if (a.keep && !evaluation->engine->own_tasks)
        code = qk_answer_store_open(a.key, &a.store, err);
    if (code == QK_OK)
        code = split(&a, n, list, answer, progress, err);
    for (size_t i = 0; i < a.n_open; i++)
        unknown += (double)qk_evaluation_cost(evaluation, list[a.open[i]]);
    if (code == QK_OK && a.n_open > 0)
        code = ask_open(evaluation, &a, list, answer, progress, err);
    if (code == QK_OK)
        code = check_unchanged(evaluation, err);
    free(a.open);
    qk_answer_store_close(a.store);
    if (cost != NULL)
        *cost = a.whole_known ? 0 : unknown;
    return code;
}

/* --- tasks of the engine's own --- */

bool qk_evaluation_whole(const struct qk_evaluation *evaluation)
{
    return evaluation->engine->own_tasks;
}

enum qk_code qk_evaluation_learn(struct qk_evaluation *evaluation, struct qk_subject subject,
    struct qk_cases *cases, struct qk_progress *progress, struct qk_error *err)
{
    struct asking a = {.evaluation = evaluation, .subject = subject};
    QK_TRY(begin(&a, err));
    const struct qk_inquiry inquiry = {.progress = progress, .key = a.key, .keep = a.keep};
    return evaluation->engine->learn(evaluation->state, a.subject, &inquiry, cases, err);
}

/* --- tokens, costs and scores --- */

const char *qk_evaluation_foreign(const struct qk_evaluation *evaluation, enum qk_side side, size_t *n)
{
    *n = 0;
    return evaluation->engine->foreign != NULL ? evaluation->engine->foreign(evaluation->state, side, n)
                                               : NULL;
}

size_t qk_evaluation_unlike(const struct qk_evaluation *evaluation, size_t *first)
{
    *first = 0;
    return evaluation->engine->unlike != NULL ? evaluation->engine->unlike(evaluation->state, first) : 0;
}

size_t qk_evaluation_cost(const struct qk_evaluation *evaluation, size_t i)
{
    return evaluation->engine->cost(evaluation->state, i);
}

void qk_evaluation_score(const struct qk_cases *cases, size_t n, const size_t *list,
    const signed char *answer, struct qk_score *score)
{
    for (size_t i = 0; i < n; i++)
        if (answer[i] >= 0) {
            struct qk_score *of = &score[cases->item[list[i]].task];
            of->total++;
            of->right += answer[i] > 0;
        }
}
