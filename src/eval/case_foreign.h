/* case_foreign.h - the parts of a case's object, and the readers of the formats of other tools. */
#ifndef QK_EVAL_CASE_FOREIGN_H
#define QK_EVAL_CASE_FOREIGN_H

#include "base/json.h"
#include "eval/cases.h"

/* Every known key: X(ID, name). */
#define QK_CASE_KEY_LIST(X)                                                                                  \
    X(PROMPT, "prompt")                                                                                      \
    X(ANSWER, "answer")                                                                                      \
    X(TASK, "task")                                                                                          \
    X(DEPTH, "depth")                                                                                        \
    X(AFTER, "answer_after")                                                                                 \
    X(UNTIL, "answer_until")                                                                                 \
    X(NEW_TOKENS, "max_new_tokens")                                                                          \
    X(MATCH, "match")                                                                                        \
    X(REQUIRE, "require")                                                                                    \
    X(STOP, "stop")                                                                                          \
    X(MESSAGES, "messages")                                                                                  \
    X(INPUT, "input")                                                                                        \
    X(PREFIX, "answer_prefix")                                                                               \
    X(OUTPUTS, "outputs")                                                                                    \
    X(ARGUMENTS, "arguments")                                                                                \
    X(TARGET, "target")

#define QK_CASE_KEY_ID(id, name) QK_KEY_##id,
enum qk_case_key { QK_CASE_KEY_LIST(QK_CASE_KEY_ID) QK_CASE_KEYS };

const char *qk_case_key(enum qk_case_key key);

/* Where a value stands in the text; n is 0 where the key is missing or null. */
struct qk_case_span {
    size_t at, n;
};

/* One object, whose bytes and tokens are checked. All is borrowed but `name`. */
struct qk_case_line {
    const char *path, *text;
    char *name; /* "PATH:LINE", for messages */
    struct qk_case_span value[QK_CASE_KEYS];
};

bool qk_case_has(const struct qk_case_line *line, enum qk_case_key key);
/* The key's value as a tree, or as a text (`empty`: it may be ""). The caller frees. QK_INPUT names line and key. */
enum qk_code qk_case_tree(
    const struct qk_case_line *line, enum qk_case_key key, cJSON **out, struct qk_error *err);
enum qk_code qk_case_text(
    const struct qk_case_line *line, enum qk_case_key key, bool empty, char **out, struct qk_error *err);
/* Adds the answers of a key (a text, a number, or a list of these), one answer of n bytes, or a text at which the
 * continuation stops. */
enum qk_code qk_case_answers(
    const struct qk_case_line *line, enum qk_case_key key, struct qk_case *item, struct qk_error *err);
enum qk_code qk_case_add_answer(
    const struct qk_case_line *line, const char *text, size_t n, struct qk_case *item, struct qk_error *err);
enum qk_code qk_case_add_stop(const char *text, struct qk_case *item, struct qk_error *err);
/* Adds the texts of a tree that is a text or a list of texts. */
enum qk_code qk_case_stops(
    const struct qk_case_line *line, const cJSON *tree, struct qk_case *item, struct qk_error *err);

/* Each reads prompt, how answers are compared, and the answers where the item has none yet. `own`: this program's;
 * `chat`: messages of roles; `sample`: what lm-evaluation-harness logs of a question; `ruler`: RULER's. */
enum qk_code qk_case_read_own(const struct qk_case_line *line, struct qk_case *item, struct qk_error *err);
enum qk_code qk_case_read_chat(const struct qk_case_line *line, struct qk_case *item, struct qk_error *err);
enum qk_code qk_case_read_sample(const struct qk_case_line *line, struct qk_case *item, struct qk_error *err);
enum qk_code qk_case_read_ruler(const struct qk_case_line *line, struct qk_case *item, struct qk_error *err);

/* The task that a file's name gives, n bytes within it: the name without .jsonl; of the harness the task within
 * samples_TASK_DATE.jsonl; of RULER the folder TASK of TASK/validation.jsonl. */
const char *qk_case_file_task(const char *path, size_t *n);
const char *qk_case_sample_task(const char *path, size_t *n);
const char *qk_case_ruler_task(const char *path, size_t *n);

#endif
