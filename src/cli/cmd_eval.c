/* cmd_eval.c - qkscope eval: right answers of checkpoints, or of a pair with selections side by side. */
#include "base/json.h"
#include "cli/arguments.h"
#include "cli/engines.h"
#include "cli/inputs.h"
#include "cli/meter.h"
#include "cli/print.h"

#include "base/mem.h"
#include "base/read_file.h"
#include "base/text.h"
#include "eval/evaluation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One line of the result: a model and its right answers. */
struct row {
    char *name;
    const char *recipe; /* borrowed; NULL: none */
    char **set;         /* n_set; owned */
    size_t n_set, set_capacity;
    bool baseline;
    enum qk_side side;       /* of a baseline */
    struct qk_inputs inputs; /* selection and norms; the pair is the whole's */
    struct qk_score *score;  /* n_tasks; NULL before it was asked */
    signed char *answer;     /* n; NULL likewise */
};

struct eval {
    struct qk_cases cases;
    size_t *list, n; /* the cases to ask */
    struct row *row;
    size_t n_rows, capacity;
    struct qk_pair *pair;
    struct qk_evaluation *evaluation; /* of the pair */
    bool pairs, force, norms, streams, answers;
    bool said[QK_SIDE_COUNT]; /* what the side cannot be asked */
    int threads, limit;
    struct qk_evaluation_options options;
    struct qk_engine_talk talk;
};

static void free_eval(struct eval *e)
{
    for (size_t i = 0; i < e->n_rows; i++) {
        struct row *row = &e->row[i];
        for (size_t k = 0; k < row->n_set; k++)
            free(row->set[k]);
        free(row->set);
        free(row->name);
        free(row->score);
        free(row->answer);
        row->inputs.pair = NULL; /* shared by all rows */
        qk_inputs_free(&row->inputs);
    }
    free(e->row);
    free(e->list);
    qk_evaluation_close(e->evaluation);
    qk_pair_close(e->pair);
    qk_cases_free(&e->cases);
    qk_engines_free(&e->talk);
}

/* --- the rows --- */

static enum qk_code add_row(struct eval *e, const char *name, struct row **out, struct qk_error *err)
{
    QK_TRY(qk_grow(&e->row, &e->capacity, e->n_rows + 1, sizeof *e->row, err));
    *out = &e->row[e->n_rows++];
    return qk_strdup_to(&(*out)->name, name, err);
}

static enum qk_code add_set(struct row *row, const char *text, size_t n, struct qk_error *err)
{
    QK_TRY(qk_grow(&row->set, &row->set_capacity, row->n_set + 1, sizeof *row->set, err));
    QK_TRY(qk_strndup_to(&row->set[row->n_set], text, n, err));
    row->n_set++;
    return QK_OK;
}

/* --as, --set and --recipe in their order on the command line. */
static enum qk_code read_groups(const struct qk_arguments *arguments, struct eval *e, struct qk_error *err)
{
    struct row *row = NULL;
    for (size_t i = 0; i < arguments->n_given; i++) {
        const char *name = arguments->given[i].option->name, *text = arguments->given[i].text;
        bool as = strcmp(name, "as") == 0, set = strcmp(name, "set") == 0,
             recipe = strcmp(name, "recipe") == 0;
        if (as || ((set || recipe) && row == NULL))
            QK_TRY(add_row(e, as ? text : "current", &row, err));
        if (set)
            QK_TRY(add_set(row, text, strlen(text), err));
        if (recipe && row->recipe != NULL)
            return qk_fail(err, QK_USAGE,
                "--recipe: two recipes for one selection (expected --as NAME before the second)");
        if (recipe)
            row->recipe = text;
    }
    return QK_OK;
}

/* "NAME: SPEC SPEC ..." */
static enum qk_code read_selection(
    struct eval *e, const char *path, size_t number, const char *line, struct qk_error *err)
{
    const char *colon = strstr(line, ": "), *name = line + strspn(line, " \t");
    char text[256];
    struct row *row;
    if (*name == '\0' || *name == '#')
        return QK_OK;
    if (colon == NULL || colon == name || (size_t)(colon - name) >= sizeof text)
        return qk_fail(err, QK_INPUT, "%s:%zu: no name and choices (expected NAME: SPEC...)", path, number);
    snprintf(text, sizeof text, "%.*s", (int)(colon - name), name);
    QK_TRY(add_row(e, text, &row, err));
    for (const char *p = colon + 1; *(p += strspn(p, " \t\r")) != '\0' && *p != '#'; p += strcspn(p, " \t\r"))
        QK_TRY(add_set(row, p, strcspn(p, " \t\r"), err));
    return QK_OK;
}

static enum qk_code read_selections(const char *path, struct eval *e, struct qk_error *err)
{
    enum { MOST_BYTES = 64 << 20 };
    char *text;
    size_t n, number = 0;
    QK_TRY(qk_read_file(path, MOST_BYTES, &text, &n, err));
    enum qk_code code = QK_OK;
    for (char *line = text, *end; code == QK_OK && line < text + n; line = end + 1) {
        number++;
        end = memchr(line, '\n', (size_t)(text + n - line));
        end = end != NULL ? end : text + n;
        *end = '\0';
        if (!qk_utf8_valid(line, (size_t)(end - line)) || line + strlen(line) != end)
            code = qk_fail(err, QK_INPUT, "%s:%zu: not a line of UTF-8 text", path, number);
        else
            code = read_selection(e, path, number, line, err);
    }
    free(text);
    return code;
}

static enum qk_code read_rows(const struct qk_arguments *arguments, struct eval *e, struct qk_error *err)
{
    static const char *const for_pairs[] = {"set", "recipe", "as", "selections", "baselines", "norms"};
    const char *selections = qk_arguments_text(arguments, "selections");
    struct row *row;
    e->pairs = arguments->n_operands == QK_SIDE_COUNT;
    for (size_t i = 0; i < sizeof for_pairs / sizeof for_pairs[0] && !e->pairs; i++)
        if (qk_arguments_has(arguments, for_pairs[i]))
            return qk_fail(err, QK_USAGE, "--%s needs two checkpoints (found %zu, expected PRE POST)",
                for_pairs[i], arguments->n_operands);
    for (size_t i = 0; i < arguments->n_operands && !e->pairs; i++)
        QK_TRY(add_row(e, arguments->operand[i], &row, err));
    if (!e->pairs)
        return QK_OK;
    for (int s = 0; s < QK_SIDE_COUNT && qk_arguments_has(arguments, "baselines"); s++) {
        QK_TRY(add_row(e, qk_side_name((enum qk_side)s), &row, err));
        row->baseline = true;
        row->side = (enum qk_side)s;
    }
    size_t before = e->n_rows;
    QK_TRY(read_groups(arguments, e, err));
    if (selections != NULL)
        QK_TRY(read_selections(selections, e, err));
    return e->n_rows == before && !qk_arguments_has(arguments, "baselines") ? add_row(e, "current", &row, err)
                                                                            : QK_OK;
}

/* --- the cases --- */

static enum qk_code list_cases(struct eval *e, struct qk_error *err)
{
    size_t *of_task;
    QK_TRY(qk_alloc(&of_task, e->cases.n_tasks, sizeof *of_task, err));
    enum qk_code code = qk_alloc(&e->list, e->cases.n, sizeof *e->list, err);
    for (size_t i = 0; i < e->cases.n && code == QK_OK; i++)
        if (e->limit == 0 || of_task[e->cases.item[i].task]++ < (size_t)e->limit)
            e->list[e->n++] = i;
    free(of_task);
    return code;
}

static enum qk_code read_options(const struct qk_arguments *arguments, struct eval *e, struct qk_error *err)
{
    enum { MOST = 1 << 20 };
    QK_TRY(qk_arguments_exclude(arguments, "json", "csv", err));
    QK_TRY(qk_arguments_number(arguments, "limit", 1, MOST, 0, &e->limit, err));
    QK_TRY(qk_arguments_threads(arguments, &e->threads, err));
    QK_TRY(qk_arguments_memory(arguments, &e->options.memory, err));
    QK_TRY(qk_arguments_precision(arguments, err));
    e->options.no_cache = qk_arguments_has(arguments, "no-cache");
    e->force = qk_arguments_has(arguments, "force");
    e->norms = qk_arguments_has(arguments, "norms");
    e->streams = !qk_arguments_has(arguments, "json") && !qk_arguments_has(arguments, "csv");
    QK_TRY(qk_engines_read(arguments, &e->talk, &e->options.engine, err));
    QK_TRY(qk_arguments_exclude(arguments, "tasks", "limit", err));
    QK_TRY(qk_arguments_exclude(arguments, "tasks", "answers", err));
    if (qk_arguments_has(arguments, "answers") && !qk_arguments_has(arguments, "json"))
        return qk_fail(err, QK_USAGE, "--answers: goes with --json");
    e->answers = qk_arguments_has(arguments, "answers");
    QK_TRY(read_rows(arguments, e, err));
    if (e->options.engine.kind == QK_ENGINE_TASKS)
        return QK_OK; /* the first run makes the cases */
    QK_TRY(qk_inputs_cases(arguments, &e->cases, err));
    return list_cases(e, err);
}

/* --- the table --- */

enum { NAME_MOST = 34, TASK_LEAST = 19 };

static int name_width(const struct eval *e)
{
    int width = (int)strlen("model");
    for (size_t i = 0; i < e->n_rows; i++)
        width = (int)strlen(e->row[i].name) > width ? (int)strlen(e->row[i].name) : width;
    return width < NAME_MOST ? width : NAME_MOST;
}

static int task_width(const char *task)
{
    return strlen(task) > TASK_LEAST ? (int)strlen(task) : TASK_LEAST;
}

/* True when a row of all tasks fits; else each task has a line of its own. */
static bool is_wide(const struct eval *e)
{
    int width = name_width(e);
    for (size_t t = 0; t < e->cases.n_tasks; t++)
        width += 2 + task_width(e->cases.task[t]);
    return width <= qk_print_width();
}

static void figure(char out[TASK_LEAST + 1], struct qk_score score)
{
    struct qk_interval interval = qk_score_interval(score);
    snprintf(out, TASK_LEAST + 1, "%5.1f %% %5.1f-%.1f", 100 * (double)score.right / (double)score.total,
        100 * interval.low, 100 * interval.high);
}

static void print_heading(const struct eval *e)
{
    if (is_wide(e)) {
        qk_print("%-*s", name_width(e), "model");
        for (size_t t = 0; t < e->cases.n_tasks; t++) {
            qk_print("  %*s", task_width(e->cases.task[t]) - (int)strlen(e->cases.task[t]), "");
            qk_print_name(e->cases.task[t]);
        }
        qk_print("\n");
    }
}

static void print_row(const struct eval *e, const struct row *row)
{
    bool wide = is_wide(e);
    char name[4 * 256], text[TASK_LEAST + 1];
    qk_printable(name, sizeof name, row->name);
    qk_print("%-*s", wide ? name_width(e) : 0, name);
    for (size_t t = 0; t < e->cases.n_tasks; t++) {
        figure(text, row->score[t]);
        if (wide) {
            qk_print("  %*s", task_width(e->cases.task[t]), text);
            continue;
        }
        qk_print("\n    %s  %5zu of %-5zu ", text, row->score[t].right, row->score[t].total);
        qk_print_name(e->cases.task[t]);
    }
    qk_print("\n");
}

/* --- JSON and CSV --- */

static void task_json(cJSON *tasks, const struct eval *e, const struct row *row, size_t t)
{
    struct qk_interval interval = qk_score_interval(row->score[t]);
    cJSON *item = qk_json_append_object(tasks);
    qk_json_add_text(item, "task", e->cases.task[t]);
    cJSON_AddNumberToObject(item, "right", (double)row->score[t].right);
    cJSON_AddNumberToObject(item, "total", (double)row->score[t].total);
    cJSON_AddNumberToObject(item, "low", interval.low);
    cJSON_AddNumberToObject(item, "high", interval.high);
}

static enum qk_code print_json(const struct eval *e, struct qk_error *err)
{
    cJSON *root = cJSON_CreateObject(), *results = cJSON_AddArrayToObject(root, "results");
    enum qk_code code = QK_OK;
    for (size_t i = 0; i < e->n_rows && code == QK_OK; i++) {
        const struct row *row = &e->row[i];
        cJSON *item = qk_json_append_object(results);
        char *text = NULL;
        qk_json_add_text(item, "name", row->name);
        if (e->pairs && !row->baseline)
            code = qk_spec_text(&row->inputs.selection, e->pair, &text, err);
        if (text != NULL)
            cJSON_AddStringToObject(item, "set", text);
        free(text);
        cJSON *tasks = cJSON_AddArrayToObject(item, "tasks");
        for (size_t t = 0; t < e->cases.n_tasks; t++)
            task_json(tasks, e, row, t);
        cJSON *answers = e->answers ? cJSON_AddArrayToObject(item, "answers") : NULL;
        for (size_t k = 0; k < e->n && answers != NULL; k++)
            qk_json_append(answers, cJSON_CreateNumber(row->answer[k]));
    }
    if (code == QK_OK)
        return qk_print_json(root, err);
    cJSON_Delete(root);
    return code;
}

static void print_csv(const struct eval *e)
{
    qk_print("model,task,right,total,low,high\n");
    for (size_t i = 0; i < e->n_rows; i++)
        for (size_t t = 0; t < e->cases.n_tasks; t++) {
            struct qk_score score = e->row[i].score[t];
            struct qk_interval interval = qk_score_interval(score);
            qk_print_csv_name(e->row[i].name);
            qk_print(",");
            qk_print_csv_name(e->cases.task[t]);
            qk_print(",%zu,%zu,%.6f,%.6f\n", score.right, score.total, interval.low, interval.high);
        }
}

/* --- asking --- */

/* Asks the model of a row, once the cases are known. */
static enum qk_code ask_row(const struct eval *e, struct qk_evaluation *evaluation, struct qk_subject subject,
    struct row *row, struct qk_progress *progress, struct qk_error *err)
{
    uint64_t total = 0;
    QK_TRY(qk_alloc(&row->score, e->cases.n_tasks, sizeof *row->score, err));
    QK_TRY(qk_alloc(&row->answer, e->n, 1, err));
    for (size_t k = 0; k < e->n; k++)
        total += qk_evaluation_cost(evaluation, e->list[k]);
    qk_progress_total(progress, total);
    QK_TRY(qk_evaluation_answer(evaluation, subject, e->n, e->list, row->answer, NULL, progress, NULL, err));
    qk_evaluation_score(&e->cases, e->n, e->list, row->answer, row->score);
    return QK_OK;
}

/* The same with a line of progress. The first row makes the cases of an engine with tasks of its own. */
static enum qk_code ask(struct eval *e, struct qk_evaluation *evaluation, size_t i, struct qk_error *err)
{
    struct row *row = &e->row[i];
    struct qk_subject subject = {.side = row->baseline ? row->side : QK_POST,
        .selection = e->pairs && !row->baseline ? &row->inputs.selection : NULL,
        .norms = row->inputs.norms};
    char verb[80], name[64];
    struct qk_meter meter;
    enum qk_code code = QK_OK;
    snprintf(verb, sizeof verb, "%s (%zu of %zu)", qk_printable(name, 40, row->name), i + 1, e->n_rows);
    qk_meter_start(&meter, verb, false);
    e->talk.meter = &meter;
    if (qk_evaluation_whole(evaluation) && e->cases.n == 0) {
        code = qk_evaluation_learn(evaluation, subject, &e->cases, &meter.progress, err);
        if (code == QK_OK)
            code = list_cases(e, err);
    }
    if (code == QK_OK)
        code = ask_row(e, evaluation, subject, row, &meter.progress, err);
    e->talk.meter = NULL;
    qk_meter_stop(&meter);
    qk_engines_print(&e->talk);
    if (code == QK_OK && e->streams && i == 0)
        print_heading(e);
    if (code == QK_OK && e->streams)
        print_row(e, row);
    return code;
}

/* Says which cases a side cannot be asked, once, and where pre gets other tokens than post. */
static void say_tokens(struct eval *e, const struct qk_evaluation *evaluation, enum qk_side side)
{
    size_t n, first;
    const char *why = qk_evaluation_foreign(evaluation, side, &n);
    if (why != NULL && (!e->pairs || !e->said[side]))
        qk_print_note("%s; %zu of %zu cases are like this and count as wrong", why, n, e->cases.n);
    if (side == QK_PRE && !e->said[side] && (n = qk_evaluation_unlike(evaluation, &first)) > 0) {
        const struct qk_case *item = &e->cases.item[first];
        qk_print_note(
            "%s: its tokenizer reads %zu of %zu cases in other tokens than post's (the first is %s:%zu)",
            e->pair->model[QK_PRE]->checkpoint->path, n, e->cases.n, e->cases.file[item->file], item->line);
    }
    e->said[side] = true;
}

static enum qk_code ask_alone(struct eval *e, const char *operand, size_t i, struct qk_error *err)
{
    struct qk_model *model;
    struct qk_evaluation *evaluation = NULL;
    QK_TRY(qk_inputs_model(operand, &model, err));
    for (size_t k = 0; k < model->checkpoint->notes.n; k++)
        qk_print_note("%s", model->checkpoint->notes.line[k]);
    enum qk_code code = qk_evaluation_open(NULL, model, &e->cases, &e->options, &evaluation, err);
    if (code == QK_OK)
        code = ask(e, evaluation, i, err);
    if (code == QK_OK)
        say_tokens(e, evaluation, QK_POST);
    qk_evaluation_close(evaluation);
    qk_model_close(model);
    return code;
}

static enum qk_code select_rows(const struct qk_arguments *arguments, struct eval *e, struct qk_error *err)
{
    size_t of_post = 0;
    QK_TRY(qk_inputs_pair(arguments, &e->pair, err));
    for (size_t i = 0; i < e->n_rows; i++) {
        struct row *row = &e->row[i];
        of_post += !row->baseline || row->side == QK_POST;
        const struct qk_choices choices = {row->recipe, (const char *const *)row->set, row->n_set};
        row->inputs.pair = e->pair;
        row->inputs.norms = e->norms;
        if (!row->baseline)
            QK_TRY(qk_inputs_select(&choices, e->force, e->threads, &row->inputs, err));
    }
    e->options.reuse = of_post > 1;
    return qk_evaluation_open(e->pair, NULL, &e->cases, &e->options, &e->evaluation, err);
}

static enum qk_code run(const struct qk_arguments *arguments, struct eval *e, struct qk_error *err)
{
    QK_TRY(read_options(arguments, e, err));
    if (e->pairs)
        QK_TRY(select_rows(arguments, e, err));
    for (size_t i = 0; i < e->n_rows; i++) {
        QK_TRY(e->pairs ? ask(e, e->evaluation, i, err) : ask_alone(e, arguments->operand[i], i, err));
        if (e->pairs)
            say_tokens(e, e->evaluation, e->row[i].baseline ? e->row[i].side : QK_POST);
    }
    if (qk_arguments_has(arguments, "json"))
        return print_json(e, err);
    if (qk_arguments_has(arguments, "csv"))
        print_csv(e);
    return QK_OK;
}

static enum qk_code run_eval(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct eval e = {0};
    enum qk_code code = run(arguments, &e, err);
    if (code == QK_CANCELLED && !e.options.no_cache)
        code = qk_fail(err, QK_CANCELLED, "interrupted: the answers so far are kept for the next time");
    free_eval(&e);
    return code;
}

static const struct qk_option_info *const OPTIONS[] = {
    &qk_option_cases,
    &qk_option_set,
    &qk_option_recipe,
    QK_OPTION(
        "as", 0, "NAME", "begin another selection of that name: the --set and --recipe after it are its"),
    QK_OPTION("selections", 0, "FILE",
        "more selections: lines of NAME: SPEC..., as in 'layer 7: 7=restore'; # begins a remark"),
    QK_OPTION("baselines", 'b', NULL, "measure PRE and POST before the selections"),
    &qk_option_norms,
    QK_OPTION("limit", 'n', "N", "only the first N cases of each task"),
    &qk_option_memory,
    &qk_option_precision,
    &qk_option_no_cache,
    QK_ENGINE_OPTIONS,
    &qk_option_json,
    QK_OPTION("answers", 0, NULL, "with --json: also 1 or 0 for each case, in the order of the files"),
    &qk_option_csv,
    &qk_option_force,
    &qk_option_threads,
    NULL,
};

const struct qk_command qk_eval_command = {
    .name = "eval",
    .operands = "CKPT...",
    .summary =
        "Asks checkpoints, or (PRE POST) POST with selections, a set of cases and counts the right answers",
    .options = OPTIONS,
    .run = run_eval,
};
