/* evaluation.c - the answers of models to cases, taken from the store or asked. */
#include "eval/evaluation.h"

#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "blend/patch.h"
#include "eval/answer_store.h"
#include "eval/reuse.h"
#include "linalg/gemm.h"
#include "model/identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Answers of another version of the computation do not count. */
static const char FORMAT[] = "qkscope answers 2";

struct subject_side {
    const struct qk_model *model;
    struct qk_exam exam;
    struct qk_network *network; /* NULL until it is first asked */
    bool opened;                /* exam is valid */
};

struct qk_evaluation {
    const struct qk_pair *pair; /* NULL: one checkpoint, as post */
    const struct qk_cases *cases;
    struct qk_evaluation_options options;
    struct subject_side side[QK_SIDE_COUNT];
    struct qk_reuse *reuse; /* of post's activations; NULL: none */
};

/* --- opening --- */

static enum qk_code open_exam(struct qk_evaluation *evaluation, enum qk_side side, struct qk_error *err)
{
    struct subject_side *s = &evaluation->side[side];
    if (s->opened)
        return QK_OK;
    QK_TRY(qk_exam_open(s->model, evaluation->cases, &s->exam, err));
    s->opened = true;
    return QK_OK;
}

/* Half of what the process may still take, or 2 GiB where the system does not say. */
static size_t half_of_memory(void)
{
    size_t spare = qk_spare_memory();
    return spare < SIZE_MAX ? spare / 2 : (size_t)1 << 31;
}

/* Half of the memory that the weights leave keeps activations. */
static enum qk_code open_reuse(struct qk_evaluation *e, struct qk_error *err)
{
    uint64_t weights = 0;
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        for (size_t i = 0; i < e->pair->model[s]->checkpoint->n_tensors; i++)
            weights += qk_tensor_values(e->pair->model[s]->checkpoint->by_name[i]) * sizeof(float);
    if (weights >= e->options.memory)
        return QK_OK;
    return qk_reuse_open(
        e->pair, &e->side[QK_POST].exam, (e->options.memory - (size_t)weights) / 2, &e->reuse, err);
}

enum qk_code qk_evaluation_open(const struct qk_pair *pair, const struct qk_model *alone,
    const struct qk_cases *cases, const struct qk_evaluation_options *options, struct qk_evaluation **out,
    struct qk_error *err)
{
    struct qk_evaluation *e;
    *out = NULL;
    QK_TRY(qk_alloc(&e, 1, sizeof *e, err));
    e->pair = pair;
    e->cases = cases;
    e->options = *options;
    if (e->options.memory == 0)
        e->options.memory = half_of_memory();
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        e->side[s].model = pair != NULL ? pair->model[s] : alone;
    enum qk_code code = open_exam(e, QK_POST, err);
    const struct qk_exam *exam = &e->side[QK_POST].exam;
    if (code == QK_OK && cases->n > 0 && exam->n_foreign == cases->n)
        code = qk_fail(err, QK_INPUT, "%s", exam->why);
    if (code == QK_OK && pair != NULL && e->options.reuse)
        code = open_reuse(e, err);
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
    qk_reuse_close(evaluation->reuse);
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        qk_network_close(evaluation->side[s].network);
        if (evaluation->side[s].opened)
            qk_exam_close(&evaluation->side[s].exam);
    }
    free(evaluation);
}

static enum qk_code open_network(struct qk_evaluation *evaluation, enum qk_side side, struct qk_error *err)
{
    struct subject_side *s = &evaluation->side[side];
    if (s->network != NULL)
        return QK_OK;
    size_t share = evaluation->pair != NULL ? QK_SIDE_COUNT : 1;
    return qk_network_open(
        s->model, NULL, qk_exam_longest(&s->exam), evaluation->options.memory / share, &s->network, err);
}

/* --- what is known --- */

static bool changes_nothing(const struct qk_selection *selection)
{
    for (int i = 0; selection != NULL && i < selection->n_layers; i++)
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            for (int h = 0; h < qk_layer_choice_count(&selection->choice[i], (enum qk_role)r); h++)
                if (qk_choice_effect(qk_layer_choice_of(&selection->choice[i], (enum qk_role)r, h)).mode !=
                    QK_KEEP)
                    return false;
    return true;
}

/* Adds the effects of a role's choices. Where its heads differ, their number comes first. */
static void add_role(struct qk_digest *digest, const struct qk_layer_choice *layer, enum qk_role role)
{
    int n = qk_layer_choice_count(layer, role);
    if (n > 1)
        qk_digest_add(digest, &n, sizeof n);
    for (int h = 0; h < n; h++) {
        struct qk_choice choice = qk_choice_effect(qk_layer_choice_of(layer, role, h));
        const char *mode =
            qk_mode_info(choice.mode)->name; /* not its number, which may change with the table */
        qk_digest_add(digest, mode, strlen(mode) + 1);
        qk_digest_add(digest, &choice.param, sizeof choice.param);
    }
}

/* change[l] = the digest of what changes layer l, "" where nothing does. */
static void digest_changes(struct qk_subject subject, const bool *changed, char (*change)[QK_DIGEST_TEXT])
{
    for (int i = 0; i < subject.selection->n_layers; i++) {
        struct qk_digest digest;
        if (!changed[i])
            continue;
        qk_digest_init(&digest);
        qk_digest_add(&digest, &subject.norms, sizeof subject.norms);
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            add_role(&digest, &subject.selection->choice[i], (enum qk_role)r);
        qk_digest_hex(&digest, change[i]);
    }
}

static bool has_key(const cJSON *item, const char *key)
{
    if (qk_json_get(item, key) != NULL)
        return true;
    for (const cJSON *child = item != NULL ? item->child : NULL; child != NULL; child = child->next)
        if (has_key(child, key))
            return true;
    return false;
}

/* Adds what answers depend on beside weights and cases. That is how tokens are spelled, and the longest case where
 * rotary frequencies depend on it (forward/network.h). */
static void add_exam(struct qk_digest *digest, const struct subject_side *side)
{
    size_t longest = qk_exam_longest(&side->exam);
    char path[4096];
    struct stat info = {0};
    snprintf(path, sizeof path, "%s/tokenizer.json", side->model->checkpoint->folder);
    if (stat(path, &info) == 0) {
        qk_digest_add(digest, &info.st_size, sizeof info.st_size);
        qk_digest_add(digest, &info.st_ino, sizeof info.st_ino);
        qk_digest_add(digest, &info.st_ctim.tv_sec, sizeof info.st_ctim.tv_sec);
        qk_digest_add(digest, &info.st_ctim.tv_nsec, sizeof info.st_ctim.tv_nsec);
    }
    if (has_key(side->model->config.root, "long_factor"))
        qk_digest_add(digest, &longest, sizeof longest);
}

static enum qk_code open_store(const struct qk_evaluation *e, struct qk_subject subject,
    struct qk_answer_store **out, struct qk_error *err)
{
    struct qk_digest digest;
    char hex[QK_DIGEST_TEXT];
    bool known, all_known = true;
    *out = NULL;
    if (e->options.no_cache)
        return QK_OK;
    qk_digest_init(&digest);
    qk_digest_add(&digest, FORMAT, sizeof FORMAT);
    qk_precision_add(&digest);
    QK_TRY(qk_identity_add(&digest, e->side[subject.side].model, &all_known, err));
    add_exam(&digest, &e->side[subject.side]);
    if (subject.selection != NULL) {
        QK_TRY(qk_identity_add(&digest, e->side[QK_PRE].model, &known, err));
        all_known = all_known && known;
        qk_digest_add(&digest, &subject.norms, sizeof subject.norms);
        for (int i = 0; i < subject.selection->n_layers; i++)
            for (int r = 0; r < QK_ROLE_COUNT; r++)
                add_role(&digest, &subject.selection->choice[i], (enum qk_role)r);
    }
    qk_digest_hex(&digest, hex);
    return all_known ? qk_answer_store_open(hex, out, err) : QK_OK;
}

/* --- asking --- */

/* One call of qk_evaluation_answer. */
struct asking {
    const struct qk_evaluation *evaluation;
    struct qk_answer_store *store;
    const struct qk_exam *exam;
    const struct qk_exam_watch *watch;
    size_t *open; /* places in the list without a known answer */
    size_t n_known, n_open;
};

static void report(const struct asking *a, size_t n, const size_t *cases, const signed char *answer)
{
    if (a->watch != NULL && n > 0)
        a->watch->done(a->watch->context, n, cases, answer);
}

/* Answers from files that another program changed belong to no single state of them. */
static enum qk_code check_unchanged(const struct qk_evaluation *e, struct qk_error *err)
{
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        if (e->side[s].model != NULL)
            QK_TRY(qk_checkpoint_unchanged(e->side[s].model->checkpoint, err));
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
            memcpy(digest[i], a->exam->digest[cases[i]], sizeof *digest);
        qk_answer_store_add(a->store, n, (const char(*)[QK_DIGEST_TEXT])digest, answer, &unheard);
    }
    free(digest);
    report(a, n, cases, answer);
}

/* The answers that are asked for, and who gets them. */
struct inquiry {
    size_t n;
    const size_t *cases;
    signed char *answer;
    const struct qk_exam_watch *watch;
    struct qk_progress *progress;
};

/* Asks post's network, or one that is derived from it with changes in layers (qk_lineage_follow). */
static enum qk_code take_post(struct qk_evaluation *e, struct qk_network *network,
    const char (*change)[QK_DIGEST_TEXT], const struct inquiry *q, struct qk_error *err)
{
    struct qk_kept_run run;
    QK_TRY(qk_reuse_begin(e->reuse, change, &run, err));
    return qk_exam_take(&e->side[QK_POST].exam, network, q->n, q->cases, e->reuse != NULL ? &run : NULL,
        q->answer, q->watch, q->progress, err);
}

/* Asks post with a selection. */
static enum qk_code take_changed(
    struct qk_evaluation *e, struct qk_subject subject, const struct inquiry *q, struct qk_error *err)
{
    struct subject_side *post = &e->side[QK_POST];
    size_t n_layers = (size_t)post->model->n_layers;
    struct qk_selection_patch patch;
    struct qk_network *network = NULL;
    bool *changed = NULL;
    char(*change)[QK_DIGEST_TEXT] = NULL;
    enum qk_code code = qk_selection_patch_make(e->pair, subject.selection, -1, subject.norms, &patch, err);
    if (code == QK_OK)
        code = qk_alloc(&changed, n_layers, sizeof *changed, err);
    if (code == QK_OK)
        code = qk_alloc(&change, n_layers, sizeof *change, err);
    for (size_t i = 0; code == QK_OK && i < n_layers; i++)
        changed[i] = qk_selection_patch_changes(&patch, (int)i);
    if (code == QK_OK) {
        digest_changes(subject, changed, change);
        code = qk_network_derive(post->network, &patch.patch, changed, &network, err);
    }
    if (code == QK_OK)
        code = take_post(e, network, (const char(*)[QK_DIGEST_TEXT])change, q, err);
    qk_network_close(network);
    free(change);
    free(changed);
    qk_selection_patch_free(&patch);
    return code;
}

static enum qk_code take(
    struct qk_evaluation *e, struct qk_subject subject, const struct inquiry *q, struct qk_error *err)
{
    struct subject_side *side = &e->side[subject.side];
    QK_TRY(open_network(e, subject.side, err));
    if (subject.selection != NULL)
        return take_changed(e, subject, q, err);
    if (subject.side == QK_POST)
        return take_post(e, side->network, NULL, q, err);
    return qk_exam_take(
        &side->exam, side->network, q->n, q->cases, NULL, q->answer, q->watch, q->progress, err);
}

/* Asks the cases of the list that the store does not know. */
static enum qk_code ask_open(struct qk_evaluation *e, struct qk_subject subject, struct asking *a,
    const size_t *list, signed char *answer, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_exam_watch keep = {a, group_done};
    size_t *cases;
    signed char *got = NULL;
    QK_TRY(qk_alloc(&cases, a->n_open, sizeof *cases, err));
    for (size_t i = 0; i < a->n_open; i++)
        cases[i] = list[a->open[i]];
    enum qk_code code = qk_alloc(&got, a->n_open, 1, err);
    if (code == QK_OK)
        code = take(e, subject, &(struct inquiry){a->n_open, cases, got, &keep, progress}, err);
    for (size_t i = 0; code == QK_OK && i < a->n_open; i++)
        answer[a->open[i]] = got[i];
    free(got);
    free(cases);
    return code;
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
        bool foreign = a->exam->foreign[list[i]];
        int found = foreign ? 0 : qk_answer_store_find(a->store, a->exam->digest[list[i]]);
        if (found < 0) {
            a->open[a->n_open++] = i;
            continue;
        }
        answer[i] = got[a->n_known] = (signed char)found;
        cases[a->n_known++] = list[i];
        qk_progress_add(progress, qk_exam_cost(a->exam, list[i]));
    }
    if (code == QK_OK)
        report(a, a->n_known, cases, got);
    free(got);
    free(cases);
    return code;
}

enum qk_code qk_evaluation_answer(struct qk_evaluation *evaluation, struct qk_subject subject, size_t n,
    const size_t *list, signed char *answer, const struct qk_exam_watch *watch, struct qk_progress *progress,
    double *cost, struct qk_error *err)
{
    struct asking a = {.evaluation = evaluation, .watch = watch};
    double unknown = 0;
    if (changes_nothing(subject.selection))
        subject.selection = NULL;
    QK_TRY(open_exam(evaluation, subject.side, err));
    a.exam = &evaluation->side[subject.side].exam;
    enum qk_code code = open_store(evaluation, subject, &a.store, err);
    if (code == QK_OK)
        code = split(&a, n, list, answer, progress, err);
    for (size_t i = 0; i < a.n_open; i++)
        unknown += (double)qk_exam_cost(a.exam, list[a.open[i]]);
    if (code == QK_OK && a.n_open > 0)
        code = ask_open(evaluation, subject, &a, list, answer, progress, err);
    if (code == QK_OK)
        code = check_unchanged(evaluation, err);
    free(a.open);
    qk_answer_store_close(a.store);
    if (cost != NULL)
        *cost = unknown;
    return code;
}

const char *qk_evaluation_foreign(const struct qk_evaluation *evaluation, enum qk_side side, size_t *n)
{
    const struct subject_side *s = &evaluation->side[side];
    *n = s->opened ? s->exam.n_foreign : 0;
    return s->opened ? s->exam.why : NULL;
}

static bool same_ids(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b)
{
    return n_a == n_b && (n_a == 0 || memcmp(a, b, n_a * sizeof *a) == 0);
}

size_t qk_evaluation_unlike(const struct qk_evaluation *evaluation, size_t *first)
{
    const struct qk_exam *pre = &evaluation->side[QK_PRE].exam, *post = &evaluation->side[QK_POST].exam;
    size_t n = 0;
    *first = 0;
    if (!evaluation->side[QK_PRE].opened || !evaluation->side[QK_POST].opened)
        return 0;
    for (size_t i = evaluation->cases->n; i-- > 0;) {
        const struct qk_case_tokens *a = &pre->tokens[i], *b = &post->tokens[i];
        if (same_ids(a->prompt, a->n_prompt, b->prompt, b->n_prompt) &&
            same_ids(a->answer, a->n_answer, b->answer, b->n_answer))
            continue;
        *first = i;
        n++;
    }
    return n;
}

size_t qk_evaluation_cost(const struct qk_evaluation *evaluation, size_t i)
{
    return qk_exam_cost(&evaluation->side[QK_POST].exam, i);
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
