/* command.c - the engine that is a command: it answers a file of cases, or runs tasks of its own. */
#include "eval/engine/engine.h"

#include "base/atomic_file.h"
#include "base/cache.h"
#include "base/mem.h"
#include "eval/answer.h"
#include "eval/engine/command_line.h"
#include "eval/engine/questions.h"
#include "eval/engine/results.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char WHAT[] = "--engine";
static const char SUFFIX[] = ".results";

struct command {
    struct qk_questions questions; /* first: qk_questions_digest; of cases that it is given */
    struct qk_engine_setting setting;
    struct qk_results results; /* of its own tasks, for the subject with that key; "": none */
    char key[QK_DIGEST_TEXT];
};

/* --- opening --- */

static void close_command(void *state)
{
    struct command *c = state;
    if (c == NULL)
        return;
    qk_questions_close(&c->questions);
    qk_results_free(&c->results);
    free(c);
}

static enum qk_code open_command(const struct qk_engine_setting *setting, void **state, struct qk_error *err)
{
    static const char *const needed[] = {"model", "out"};
    struct command *c;
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (!qk_command_has(setting->options.engine.command, needed[i]))
            return qk_fail(err, QK_USAGE, "%s: the command has no {%s}", WHAT, needed[i]);
    if (!qk_command_has(setting->options.engine.command, "tasks"))
        return qk_fail(err, QK_USAGE, "%s: the command has no {tasks}: nothing tells it what to ask", WHAT);
    QK_TRY(qk_alloc(&c, 1, sizeof *c, err));
    c->setting = *setting;
    enum qk_code code = qk_questions_open(setting->cases, &c->questions, err);
    if (code == QK_OK)
        *state = c;
    else
        close_command(c);
    return code;
}

/* --- keys --- */

static void add_text(struct qk_digest *digest, const char *text)
{
    text = text != NULL ? text : "";
    qk_digest_add(digest, text, strlen(text) + 1);
}

static void identify(const void *state, enum qk_side side, struct qk_digest *digest)
{
    const struct command *c = state;
    qk_questions_identify(c->setting.model[side], digest);
    add_text(digest, c->setting.options.engine.command);
    add_text(digest, c->setting.options.engine.tasks);
    add_text(digest, c->setting.options.engine.metric);
}

/* --- running --- */

/* Runs the command in an open place and reads its results. */
static enum qk_code run_in(const struct command *c, const struct qk_place *place, const char *tasks,
    struct qk_results *results, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_engine_options *engine = &c->setting.options.engine;
    const struct qk_filling fillings[] = {{"model", place->model}, {"out", place->out}, {"tasks", tasks}};
    char *line;
    QK_TRY(qk_command_fill(engine->command, fillings, 3, &line, err));
    enum qk_code code = qk_command_run(engine, WHAT, line, false, place, progress, err);
    free(line);
    return code == QK_OK ? qk_results_read(place->out, engine->metric, results, err) : code;
}

/* --- a file of cases --- */

static enum qk_code write_cases(
    const struct command *c, const struct qk_inquiry *q, const char *path, struct qk_error *err)
{
    struct qk_text text = {0};
    enum qk_code code = QK_OK;
    for (size_t i = 0; i < q->n && code == QK_OK; i++) {
        const struct qk_case *item = &c->setting.cases->item[q->cases[i]];
        code = qk_case_write(item, c->setting.cases->task[item->task], &text, err);
    }
    if (code == QK_OK)
        code = qk_write_text(path, text.s, text.length, err);
    qk_text_free(&text);
    return code;
}

/* A text is judged as a continuation that ended by itself: the command alone knows. */
static enum qk_code judge(
    const struct qk_case *item, const cJSON *answer, signed char *out, struct qk_error *err)
{
    bool right;
    if (cJSON_IsString(answer)) {
        const char *text = answer->valuestring;
        QK_TRY(qk_answer_judge(item, text, strlen(text), true, &right, err));
    } else if (cJSON_IsBool(answer)) {
        right = cJSON_IsTrue(answer);
    } else if (cJSON_IsNumber(answer) && (answer->valuedouble == 0 || answer->valuedouble == 1)) {
        right = answer->valuedouble == 1;
    } else {
        return qk_fail(err, QK_INPUT, "%s: an answer is neither 1, 0, true, false nor a text", WHAT);
    }
    *out = (signed char)right;
    return QK_OK;
}

static enum qk_code judge_all(const struct command *c, const struct qk_results *results,
    const struct qk_inquiry *q, struct qk_error *err)
{
    size_t n = results->answers != NULL ? (size_t)cJSON_GetArraySize(results->answers) : 0, i = 0;
    if (results->answers == NULL)
        return qk_fail(err, QK_INPUT,
            "%s: the results have no answers by case (expected what eval --json --answers prints; --tasks names "
            "tasks of the command's own)",
            WHAT);
    if (n != q->n)
        return qk_fail(err, QK_INPUT,
            "%s: the results have another number of answers (found %zu, expected %zu)", WHAT, n, q->n);
    for (const cJSON *answer = results->answers->child; answer != NULL; answer = answer->next, i++)
        QK_TRY(judge(&c->setting.cases->item[q->cases[i]], answer, &q->answer[i], err));
    for (i = 0; i < q->n; i++)
        qk_progress_add(q->progress, qk_questions_cost(c, q->cases[i]));
    if (q->watch != NULL)
        q->watch->done(q->watch->context, q->n, q->cases, q->answer);
    return QK_OK;
}

static enum qk_code take_cases(
    void *state, struct qk_subject subject, const struct qk_inquiry *q, struct qk_error *err)
{
    struct command *c = state;
    struct qk_place place;
    struct qk_results results = {0};
    enum qk_code code = qk_place_open(&c->setting, subject, q->progress, &place, err);
    if (code == QK_OK)
        code = write_cases(c, q, place.cases, err);
    if (code == QK_OK)
        code = run_in(c, &place, place.cases, &results, q->progress, err);
    qk_place_close(&place);
    if (code == QK_OK)
        code = judge_all(c, &results, q, err);
    qk_results_free(&results);
    return code;
}

/* --- tasks of its own --- */

/* *out = CACHE/answers/KEY.results, or NULL without a cache. */
static enum qk_code kept_path(const char *key, char **out, struct qk_error *err)
{
    char name[QK_DIGEST_TEXT + 32];
    snprintf(name, sizeof name, "answers/%s%s", key, SUFFIX);
    return qk_cache_path(name, out, err);
}

/* A cache that cannot be written is no failure. */
static void keep(const struct command *c, char *path)
{
    enum { MOST_BYTES = 1 << 24 };
    if (qk_make_folders(path, NULL) == QK_OK && qk_results_write(&c->results, path, NULL) == QK_OK)
        qk_cache_trim_beside(path, SUFFIX, MOST_BYTES);
}

static enum qk_code run_tasks(
    struct command *c, struct qk_subject subject, const struct qk_inquiry *q, struct qk_error *err)
{
    struct qk_place place;
    enum qk_code code = qk_place_open(&c->setting, subject, q->progress, &place, err);
    if (code == QK_OK)
        code = run_in(c, &place, c->setting.options.engine.tasks, &c->results, q->progress, err);
    qk_place_close(&place);
    if (code == QK_OK && c->results.n == 0)
        code = qk_fail(err, QK_INPUT, "%s: the results name no task", WHAT);
    return code;
}

/* Fills c->results with those of the subject: the last ones, kept ones, or new ones. */
static enum qk_code find_results(
    struct command *c, struct qk_subject subject, const struct qk_inquiry *q, struct qk_error *err)
{
    char *path = NULL;
    struct qk_error unheard = {0};
    bool last = strcmp(c->key, q->key) == 0;
    if (q->known != NULL)
        *q->known = last;
    if (last)
        return QK_OK;
    c->key[0] = '\0';
    qk_results_free(&c->results);
    if (q->keep)
        QK_TRY(kept_path(q->key, &path, err));
    bool kept = path != NULL && qk_results_read_own(path, &c->results, &unheard) == QK_OK;
    if (!kept)
        qk_results_free(&c->results);
    if (q->known != NULL)
        *q->known = kept;
    enum qk_code code = kept ? QK_OK : run_tasks(c, subject, q, err);
    if (code == QK_OK && !kept && path != NULL)
        keep(c, path);
    if (code == QK_OK)
        memcpy(c->key, q->key, sizeof c->key);
    free(path);
    return code;
}

static enum qk_code add_task(
    struct qk_cases *cases, const struct qk_task_result *result, struct qk_error *err)
{
    size_t total = result->score.total;
    if (cases->n + total > QK_CASES_MOST || cases->n_tasks == QK_CASES_TASKS)
        return qk_fail(err, QK_INPUT, "%s: too many tasks or samples (expected at most %d and %d)", WHAT,
            QK_CASES_TASKS, QK_CASES_MOST);
    QK_TRY(qk_grow(&cases->task, &cases->task_capacity, cases->n_tasks + 1, sizeof *cases->task, err));
    QK_TRY(qk_strdup_to(&cases->task[cases->n_tasks], result->task, err));
    QK_TRY(qk_grow(&cases->item, &cases->capacity, cases->n + total, sizeof *cases->item, err));
    for (size_t i = 0; i < total; i++)
        cases->item[cases->n++] = (struct qk_case){.depth = NAN, .task = cases->n_tasks};
    cases->n_tasks++;
    return QK_OK;
}

static enum qk_code learn(void *state, struct qk_subject subject, const struct qk_inquiry *q,
    struct qk_cases *cases, struct qk_error *err)
{
    struct command *c = state;
    QK_TRY(find_results(c, subject, q, err));
    for (size_t i = 0; i < c->results.n; i++)
        QK_TRY(add_task(cases, &c->results.item[i], err));
    return QK_OK;
}

/* The cases of a task follow each other; the first `right` of them are right. */
static enum qk_code answer_task(
    const struct command *c, size_t task, signed char *of_case, struct qk_error *err)
{
    const struct qk_cases *cases = c->setting.cases;
    const struct qk_task_result *result = qk_results_find(&c->results, cases->task[task]);
    size_t total = 0;
    for (size_t i = 0; i < cases->n; i++)
        if (cases->item[i].task == task)
            of_case[i] = result != NULL && total++ < result->score.right;
    if (result == NULL)
        return qk_fail(
            err, QK_INPUT, "%s: the results have no task %s, as those before had", WHAT, cases->task[task]);
    if (total != result->score.total)
        return qk_fail(err, QK_INPUT,
            "%s: task %s has another number of samples than before (found %zu, expected %zu)", WHAT,
            cases->task[task], result->score.total, total);
    return QK_OK;
}

static enum qk_code take_tasks(
    void *state, struct qk_subject subject, const struct qk_inquiry *q, struct qk_error *err)
{
    struct command *c = state;
    const struct qk_cases *cases = c->setting.cases;
    signed char *of_case;
    QK_TRY(find_results(c, subject, q, err));
    if (c->results.n != cases->n_tasks)
        return qk_fail(err, QK_INPUT,
            "%s: the results have another number of tasks than before (found %zu, expected %zu)", WHAT,
            c->results.n, cases->n_tasks);
    QK_TRY(qk_alloc(&of_case, cases->n, 1, err));
    enum qk_code code = QK_OK;
    for (size_t task = 0; task < cases->n_tasks && code == QK_OK; task++)
        code = answer_task(c, task, of_case, err);
    for (size_t i = 0; i < q->n && code == QK_OK; i++)
        q->answer[i] = of_case[q->cases[i]];
    free(of_case);
    qk_progress_add(q->progress, q->n);
    if (code == QK_OK && q->watch != NULL)
        q->watch->done(q->watch->context, q->n, q->cases, q->answer);
    return code;
}

/* Its cases have no text: their task and number identify them, and they are not kept one by one. */
static size_t cost_of_sample(const void *state, size_t i)
{
    (void)state, (void)i;
    return 1;
}

const struct qk_engine_ops qk_engine_command = {
    .name = "command",
    .open = open_command,
    .close = close_command,
    .digest = qk_questions_digest,
    .cost = qk_questions_cost,
    .identify = identify,
    .take = take_cases,
};

const struct qk_engine_ops qk_engine_tasks = {
    .name = "tasks",
    .own_tasks = true,
    .open = open_command,
    .close = close_command,
    .digest = qk_questions_digest,
    .cost = cost_of_sample,
    .identify = identify,
    .take = take_tasks,
    .learn = learn,
};
