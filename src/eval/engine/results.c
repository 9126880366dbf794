/* results.c - files of results, whose content shows their form. */
#include "eval/engine/results.h"

#include "base/atomic_file.h"
#include "base/folder.h"
#include "base/mem.h"
#include "base/read_file.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 1 << 29, MOST_TOTAL = 1 << 20 };

/* One file in the reading. */
struct reading {
    const char *path, *metric;
    struct qk_results *out;
    bool found; /* it holds results */
    struct qk_error *err;
};

void qk_results_free(struct qk_results *results)
{
    for (size_t i = 0; i < results->n; i++)
        free(results->item[i].task);
    free(results->item);
    cJSON_Delete(results->answers);
    *results = (struct qk_results){0};
}

const struct qk_task_result *qk_results_find(const struct qk_results *results, const char *task)
{
    for (size_t i = 0; i < results->n; i++)
        if (strcmp(results->item[i].task, task) == 0)
            return &results->item[i];
    return NULL;
}

static enum qk_code add_result(struct reading *r, const char *task, struct qk_score score)
{
    struct qk_results *out = r->out;
    if (task[0] == '\0' || score.total == 0 || score.total > MOST_TOTAL || score.right > score.total)
        return qk_fail(r->err, QK_INPUT,
            "%s: task %s: no number of right answers (found %zu of %zu, expected 0 to %d of 1 to %d)",
            r->path, task, score.right, score.total, MOST_TOTAL, MOST_TOTAL);
    if (qk_results_find(out, task) != NULL)
        return qk_fail(r->err, QK_INPUT, "%s: task %s has other results already", r->path, task);
    QK_TRY(qk_grow(&out->item, &out->capacity, out->n + 1, sizeof *out->item, r->err));
    QK_TRY(qk_strdup_to(&out->item[out->n].task, task, r->err));
    out->item[out->n++].score = score;
    return QK_OK;
}

/* Adds a share of right answers. */
static enum qk_code add_share(
    struct reading *r, const char *task, const char *metric, double share, double total)
{
    if (!(share >= 0 && share <= 1))
        return qk_fail(r->err, QK_INPUT,
            "%s: task %s: %s is no share of right answers (found %g, expected 0 to 1; --metric names another)",
            r->path, task, metric, share);
    if (!(total >= 1 && total <= MOST_TOTAL))
        return qk_fail(r->err, QK_INPUT, "%s: task %s: no number of samples (found %g, expected 1 to %d)",
            r->path, task, total, MOST_TOTAL);
    size_t n = (size_t)total;
    return add_result(r, task, (struct qk_score){(size_t)llround(share * (double)n), n});
}

/* --- ours --- */

static enum qk_code take_own_task(struct reading *r, const cJSON *item)
{
    uint64_t right, total;
    const char *task = qk_json_string(item, "task", "");
    if (!qk_json_u64(qk_json_get(item, "right"), &right) || !qk_json_u64(qk_json_get(item, "total"), &total))
        return qk_fail(r->err, QK_INPUT, "%s: a task without right and total", r->path);
    return add_result(r, task, (struct qk_score){(size_t)right, (size_t)total});
}

static enum qk_code take_own(struct reading *r, cJSON *root)
{
    cJSON *row = cJSON_GetObjectItemCaseSensitive(root, "results")->child;
    if (row == NULL || row->next != NULL)
        return qk_fail(r->err, QK_INPUT, "%s: results of %s model (expected of one)", r->path,
            row == NULL ? "no" : "more than one");
    const cJSON *tasks = qk_json_get(row, "tasks");
    for (const cJSON *item = tasks != NULL ? tasks->child : NULL; item != NULL; item = item->next)
        QK_TRY(take_own_task(r, item));
    cJSON *answers = cJSON_GetObjectItemCaseSensitive(row, "answers");
    if (!cJSON_IsArray(answers))
        return QK_OK;
    if (r->out->answers != NULL)
        return qk_fail(r->err, QK_INPUT, "%s: answers are in another file already", r->path);
    r->out->answers = cJSON_DetachItemViaPointer(row, answers);
    return QK_OK;
}

/* --- lm-evaluation-harness --- */

/* The length of "NAME" in "NAME,FILTER". */
static size_t name_length(const char *metric)
{
    return strcspn(metric, ",");
}

static bool is_metric(const cJSON *item)
{
    static const char STDERR[] = "_stderr";
    size_t n = name_length(item->string), m = sizeof STDERR - 1;
    return cJSON_IsNumber(item) && strcmp(item->string, "sample_len") != 0 &&
           (n < m || memcmp(item->string + n - m, STDERR, m) != 0);
}

static bool is_length(const cJSON *item)
{
    size_t n = name_length(item->string);
    return n > 0 && strspn(item->string, "0123456789") == n;
}

static bool is_chosen(const cJSON *item, const char *metric)
{
    size_t n = name_length(item->string);
    return metric == NULL || strcmp(item->string, metric) == 0 ||
           (strlen(metric) == n && memcmp(item->string, metric, n) == 0);
}

/* RULER's tasks there: one metric for each length, -1 for a length without samples. The samples are of all lengths
 * together, the same number for each. */
static enum qk_code take_lengths(struct reading *r, const cJSON *task, double samples)
{
    double lengths = 0;
    for (const cJSON *item = task->child; item != NULL; item = item->next)
        lengths += is_metric(item) && is_length(item) && item->valuedouble >= 0;
    for (const cJSON *item = task->child; item != NULL; item = item->next) {
        if (!is_metric(item) || !is_length(item) || item->valuedouble < 0)
            continue;
        struct qk_text name = {0};
        char *text;
        qk_text_add(&name, "%s@%.*s", task->string, (int)name_length(item->string), item->string);
        QK_TRY(qk_text_take(&name, &text, r->err));
        enum qk_code code = add_share(r, text, item->string, item->valuedouble, floor(samples / lengths));
        free(text);
        QK_TRY(code);
    }
    return QK_OK;
}

static enum qk_code take_harness_task(struct reading *r, const cJSON *task, const cJSON *samples)
{
    double n = qk_json_number(cJSON_IsObject(samples) ? samples : NULL, "effective", 0);
    const cJSON *chosen = NULL;
    bool lengths = false;
    for (const cJSON *item = task->child; item != NULL; item = item->next) {
        if (!is_metric(item))
            continue;
        lengths = lengths || is_length(item);
        if (chosen == NULL && is_chosen(item, r->metric))
            chosen = item;
    }
    if (lengths && r->metric == NULL)
        return take_lengths(r, task, n);
    if (chosen == NULL)
        return qk_fail(r->err, QK_INPUT, "%s: task %s has no metric%s%s", r->path, task->string,
            r->metric != NULL ? " " : "", r->metric != NULL ? r->metric : "");
    return add_share(r, task->string, chosen->string, chosen->valuedouble, n);
}

/* Groups have results, too, but no samples of their own. */
static enum qk_code take_harness(struct reading *r, cJSON *root)
{
    const cJSON *samples = qk_json_get(root, "n-samples"), *results = qk_json_get(root, "results");
    if (!cJSON_IsObject(samples))
        return qk_fail(
            r->err, QK_INPUT, "%s: n-samples is missing (expected of lm-evaluation-harness 0.4)", r->path);
    for (const cJSON *task = results->child; task != NULL; task = task->next) {
        const cJSON *n = qk_json_get(samples, task->string);
        if (n != NULL && cJSON_IsObject(task))
            QK_TRY(take_harness_task(r, task, n));
    }
    return QK_OK;
}

static enum qk_code read_json(struct reading *r)
{
    cJSON *root;
    QK_TRY(qk_json_read(r->path, MOST_BYTES, &root, r->err));
    const cJSON *results = cJSON_IsObject(root) ? qk_json_get(root, "results") : NULL;
    enum qk_code code = QK_OK;
    r->found = cJSON_IsArray(results) || cJSON_IsObject(results);
    if (cJSON_IsArray(results))
        code = take_own(r, root);
    else if (cJSON_IsObject(results))
        code = take_harness(r, root);
    cJSON_Delete(root);
    return code;
}

/* --- RULER --- */

/* *n = the length of the field at `text`, *next = the one behind it; false behind the last. */
static bool next_field(const char **text, size_t *n, const char **field)
{
    if (*text == NULL)
        return false;
    *field = *text;
    *n = strcspn(*text, ",\r\n");
    *text = (*text)[*n] == ',' ? *text + *n + 1 : NULL;
    return true;
}

/* The fields behind the name of the row, or NULL. */
static const char *find_row(const char *text, const char *name)
{
    size_t n = strlen(name);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, n) == 0 && line[n] == ',')
            return line + n + 1;
    }
    return NULL;
}

/* The digits of LENGTH in ".../LENGTH/pred/FILE"; *n = how many, 0 without them. */
static const char *length_of(const char *path, size_t *n)
{
    static const char PRED[] = "/pred/";
    const char *slash = strrchr(path, '/'), *pred = slash - (sizeof PRED - 2), *begin = pred;
    *n = 0;
    if (slash - path < (long)sizeof PRED || strncmp(pred, PRED, sizeof PRED - 1) != 0)
        return path;
    while (begin > path && isdigit((unsigned char)begin[-1]))
        begin--;
    *n = begin > path && begin[-1] == '/' ? (size_t)(pred - begin) : 0;
    return begin;
}

static enum qk_code take_column(
    struct reading *r, const char *task, size_t n_task, const char *score, const char *nulls)
{
    struct qk_text name = {0};
    char *text, *end;
    size_t n;
    const char *length = length_of(r->path, &n), *total = strchr(nulls, '/');
    double share = strtod(score, &end) / 100;
    bool wrong = end == score || total == NULL;
    qk_text_add(&name, "%.*s", (int)n_task, task);
    if (n > 0)
        qk_text_add(&name, "@%.*s", (int)n, length);
    QK_TRY(qk_text_take(&name, &text, r->err));
    enum qk_code code = wrong ? qk_fail(r->err, QK_INPUT, "%s: task %s: no Score and Nulls", r->path, text)
                              : add_share(r, text, "Score", share, strtod(total + 1, NULL));
    free(text);
    return code;
}

static enum qk_code read_summary(struct reading *r)
{
    char *text;
    const char *task, *score, *nulls;
    size_t n_task, n;
    QK_TRY(qk_read_file(r->path, MOST_BYTES, &text, &n, r->err));
    const char *tasks = find_row(text, "Tasks"), *scores = find_row(text, "Score"),
               *empty = find_row(text, "Nulls");
    enum qk_code code = QK_OK;
    r->found = true;
    if (tasks == NULL || scores == NULL || empty == NULL)
        code = qk_fail(
            r->err, QK_INPUT, "%s: no summary of RULER (expected rows Tasks, Score and Nulls)", r->path);
    while (code == QK_OK && next_field(&tasks, &n_task, &task)) {
        bool both = next_field(&scores, &n, &score) && next_field(&empty, &n, &nulls);
        code = both ? take_column(r, task, n_task, score, nulls)
                    : qk_fail(r->err, QK_INPUT, "%s: rows of different lengths", r->path);
    }
    free(text);
    return code;
}

/* --- files --- */

static bool is_summary(const char *name)
{
    const char *slash = strrchr(name, '/'), *base = slash != NULL ? slash + 1 : name;
    return strncmp(base, "summary", 7) == 0 && qk_ends_with(base, ".csv");
}

enum qk_code qk_results_read(
    const char *folder, const char *metric, struct qk_results *out, struct qk_error *err)
{
    struct qk_folder files;
    bool found = false;
    *out = (struct qk_results){0};
    QK_TRY(qk_folder_list(folder, true, NULL, NULL, &files, err));
    enum qk_code code = QK_OK;
    for (size_t i = 0; i < files.n && code == QK_OK; i++) {
        const char *name = files.file[i].name;
        bool summary = is_summary(name);
        char *path;
        if (files.file[i].is_folder || (!summary && !qk_ends_with(name, ".json")))
            continue;
        code = qk_path_join(folder, name, &path, err);
        if (code != QK_OK)
            break;
        struct reading r = {.path = path, .metric = metric, .out = out, .err = err};
        code = summary ? read_summary(&r) : read_json(&r);
        found = found || r.found;
        free(path);
    }
    qk_folder_free(&files);
    if (code == QK_OK && !found)
        code = qk_fail(err, QK_INPUT,
            "%s: no results (expected a results JSON of lm-evaluation-harness, summary.csv of RULER, or what "
            "eval --json prints)",
            folder);
    return code;
}

enum qk_code qk_results_read_own(const char *path, struct qk_results *out, struct qk_error *err)
{
    *out = (struct qk_results){0};
    struct reading r = {.path = path, .out = out, .err = err};
    QK_TRY(read_json(&r));
    return r.found && out->n > 0 ? QK_OK : qk_fail(err, QK_INPUT, "%s: no results", path);
}

enum qk_code qk_results_write(const struct qk_results *results, const char *path, struct qk_error *err)
{
    cJSON *root = cJSON_CreateObject();
    cJSON *tasks =
        cJSON_AddArrayToObject(qk_json_append_object(cJSON_AddArrayToObject(root, "results")), "tasks");
    for (size_t i = 0; i < results->n; i++) {
        cJSON *item = qk_json_append_object(tasks);
        cJSON_AddStringToObject(item, "task", results->item[i].task);
        cJSON_AddNumberToObject(item, "right", (double)results->item[i].score.right);
        cJSON_AddNumberToObject(item, "total", (double)results->item[i].score.total);
    }
    char *text;
    QK_TRY(qk_json_text(root, true, &text, err));
    enum qk_code code = qk_write_text(path, text, strlen(text), err);
    free(text);
    return code;
}
