/* cases.h - the questions to a model and their answers: files of JSON objects, and their tokens.
 *
 * A file has one object a line. It may also be one list of objects, or have an object over several lines. An object
 * has "prompt" (a text) and "answer" (a text, a number, or a list of these; not empty). Optional are:
 *
 *   "task"            a name; without it the file's, without .jsonl
 *   "depth"           0 to 1, the place of the answer in the prompt
 *   "match"           "exact" (the default): the continuation begins with an answer; "contains": it holds them
 *   "require"         "any" (the default) of several answers, or "all"
 *   "stop"            a text or a list of texts, with "contains": where the continuation's text ends
 *   "answer_after", "answer_until", "max_new_tokens"     see eval/answer.h
 *
 * In place of "prompt" an object may have "messages" (a chat, for the tokenizer's template), "input" and "outputs" (of
 * RULER) or "arguments" and "target" (of lm-evaluation-harness); see eval/case_foreign.c. Other keys are skipped, so
 * that files may carry ids and remarks; null counts as a missing key. Of a key that stands twice the last one counts.
 * Blank lines, CRLF and a byte order mark at the beginning of the file are allowed. */
#ifndef QK_EVAL_CASES_H
#define QK_EVAL_CASES_H

#include "base/digest.h"
#include "base/error.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    QK_CASES_MOST = 1 << 20,       /* cases of all files together */
    QK_CASES_TASKS = 1024,         /* tasks likewise */
    QK_CASES_BYTES = 256 << 20,    /* bytes of a file */
    QK_CASES_NEW_TOKENS = 1 << 20, /* the largest max_new_tokens */
};

/* Texts are UTF-8 without NUL; the list owns them. */
struct qk_case {
    char *prompt;   /* NULL where the case has messages */
    char *messages; /* a JSON list of {"role", "content"}, both texts; NULL where the case has a prompt */
    char *answer;   /* the first answer */
    char **other;   /* n_other more */
    size_t n_other;
    bool contains, all; /* answers are looked for anywhere; all of them must be there */
    char **stop;        /* n_stop texts at which the continuation ends */
    size_t n_stop;
    char *after, *until;   /* answer_after and answer_until; NULL where they are not given */
    double depth;          /* NaN where it is not given */
    size_t max_new_tokens; /* 0 where it is not given */
    size_t task;           /* index among the list's tasks */
    size_t file, line;     /* its place: index among the list's files, and line from 1 on */
};

/* Zero-initialise. */
struct qk_cases {
    struct qk_case *item; /* n, in the order of the files and lines */
    size_t n, capacity;
    char **task; /* n_tasks names, in the order of their first case */
    size_t n_tasks, task_capacity;
    char **file; /* n_files paths */
    size_t n_files, file_capacity;
};

/* Appends the cases of the file. QK_INPUT names the file and the line of anything that is no JSON object. It also
 * reports a key that is missing, has another type or a value out of range, or whose text is not UTF-8 without NUL. It
 * also reports answer_until without answer_after, or within an answer, and a file without cases or too large (256 MiB,
 * 16 MiB a case). Earlier cases stay in the list. */
enum qk_code qk_cases_read(const char *path, struct qk_cases *cases, struct qk_error *err);
void qk_cases_free(struct qk_cases *cases);

/* Answer i of the case, or NULL behind the last. */
const char *qk_case_answer(const struct qk_case *item, size_t i);
/* Frees the texts of a case that no list owns. */
void qk_case_free(struct qk_case *item);

/* Appends the case to `text` as such a line. All its texts must be UTF-8. QK_IO when memory ran out. */
enum qk_code qk_case_write(
    const struct qk_case *item, const char *task, struct qk_text *text, struct qk_error *err);

/* A key for caches: 64 hex digits of SHA-256 over all that decides whether a continuation is right. That is all of a
 * case but names and places. */
void qk_case_digest(const struct qk_case *item, char out[QK_DIGEST_TEXT]);

#endif
