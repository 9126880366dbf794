/* results.h - the results that other engines write: numbers of right answers to tasks, or answers to cases.
 *
 * Three formats are read:
 *
 *   ours: {"results": [{"tasks": [{"task", "right", "total"}], "answers": [...]}]}, what `qkscope eval --json
 *     [--answers]` prints of one model. An answer is 1 or 0, true or false, or the text that the model wrote.
 *   lm-evaluation-harness (results_*.json): {"results": {TASK: {"METRIC,FILTER": SHARE}}, "n-samples": {TASK:
 *     {"effective": N}}}. A metric that is a number is a length (RULER's tasks there) and makes TASK@LENGTH; -1 is a
 *     length without samples.
 *   RULER (summary*.csv): rows "Tasks", "Score" (per cent) and "Nulls" (EMPTY/TOTAL). In a folder LENGTH/pred, as
 *     RULER has them, tasks are TASK@LENGTH. */
#ifndef QK_EVAL_ENGINE_RESULTS_H
#define QK_EVAL_ENGINE_RESULTS_H

#include "base/json.h"
#include "eval/score.h"

struct qk_task_result {
    char *task;            /* owned */
    struct qk_score score; /* right: the share times the total, rounded, where only a share is given */
};

struct qk_results {
    struct qk_task_result *item; /* n, no name twice */
    size_t n, capacity;
    cJSON *answers; /* the list, or NULL */
};

/* Reads every file of results below the folder. `metric`, "NAME" or "NAME,FILTER", chooses among those of a task of
 * lm-evaluation-harness; NULL: the first. QK_INPUT names a file that is wrong, a task in two files, a metric that is
 * no share, and a folder without results. Freed with qk_results_free, on failure too. */
enum qk_code qk_results_read(
    const char *folder, const char *metric, struct qk_results *out, struct qk_error *err);
/* The same of one file in our format. */
enum qk_code qk_results_read_own(const char *path, struct qk_results *out, struct qk_error *err);
void qk_results_free(struct qk_results *results);

/* Writes the tasks as a file in our format. */
enum qk_code qk_results_write(const struct qk_results *results, const char *path, struct qk_error *err);

/* The result of a task, or NULL. */
const struct qk_task_result *qk_results_find(const struct qk_results *results, const char *task);

#endif
