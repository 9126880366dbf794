/* cases.h - the questions to a model and their answers: files of JSON lines, and their tokens.
 *
 * A line is an object. It has "prompt" and "answer" (texts, not empty). Optional are "task" (a name; without it the
 * file's, without .jsonl) and "depth" (0 to 1, the place of the answer in the prompt). Optional are also
 * "answer_after" and "answer_until" (texts, see eval/answer.h) and "max_new_tokens". Other keys are skipped, so that
 * files may carry ids and remarks; null counts as a missing key. Blank lines, CRLF and a byte order mark at the
 * beginning of the file are allowed. */
#ifndef QK_EVAL_CASES_H
#define QK_EVAL_CASES_H

#include "base/digest.h"
#include "base/error.h"
#include "base/text.h"
#include "token/tokenizer.h"

#include <stddef.h>
#include <stdint.h>

enum {
    QK_CASES_MOST = 1 << 20,       /* cases of all files together */
    QK_CASES_TASKS = 1024,         /* tasks likewise */
    QK_CASES_BYTES = 256 << 20,    /* bytes of a file */
    QK_CASES_NEW_TOKENS = 1 << 20, /* the largest max_new_tokens */
};

/* Texts are UTF-8 without NUL; the list owns them. */
struct qk_case {
    char *prompt, *answer;
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
 * reports a key that is missing, appears twice, has another type or a value out of range. It also reports
 * answer_until without answer_after, or within the answer, and a file without cases or too large (256 MiB, 16 MiB a
 * line). Earlier cases stay in the list. */
enum qk_code qk_cases_read(const char *path, struct qk_cases *cases, struct qk_error *err);
void qk_cases_free(struct qk_cases *cases);

/* Appends the case to `text` as such a line. All its texts must be UTF-8. QK_IO when memory ran out. */
enum qk_code qk_case_write(
    const struct qk_case *item, const char *task, struct qk_text *text, struct qk_error *err);

/* A key for caches: 64 hex digits of SHA-256 over all that decides whether a continuation is right. That is prompt,
 * answer, answer_after, answer_until and max_new_tokens, but not names and places. */
void qk_case_digest(const struct qk_case *item, char out[QK_DIGEST_TEXT]);

/* A case in a tokenizer's ids. */
struct qk_case_tokens {
    int32_t *prompt; /* n_prompt, at least one; owned */
    size_t n_prompt;
    int32_t *answer; /* n_answer; owned. None where the answer is compared as text (eval/answer.h) */
    size_t n_answer;
    size_t limit; /* the most tokens to generate; at least 1 */
};

/* Encodes a case. The prompt has the special tokens that the tokenizer's template puts before a text. Those behind it
 * (EOS) are left out, because the text goes on.
 *
 * The answer's ids are those of prompt and answer together behind those of the prompt. Where these do not begin with
 * the prompt's there are no such ids, and n_answer is 0: the prompt's last letters and the answer's first make one
 * token. It is also 0 with answer_after.
 *
 * limit is max_new_tokens. Without it, it is the number of the answer's ids, or of its bytes where it has no ids, and
 * 256 with answer_after. QK_INPUT, with file and line, when the tokenizer refuses the text, or the prompt has no
 * token or more than QK_PROBE_MOST. Also when max_new_tokens is less than the answer's ids. *out is freed with
 * qk_case_tokens_free, on failure too. */
enum qk_code qk_case_encode(const struct qk_cases *cases, size_t i, const struct qk_tokenizer *tokenizer,
    struct qk_case_tokens *out, struct qk_error *err);
void qk_case_tokens_free(struct qk_case_tokens *tokens);

#endif
