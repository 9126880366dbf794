/* process.h - lines for sh, run in a process group of their own that ends with this program. */
#ifndef QK_BASE_PROCESS_H
#define QK_BASE_PROCESS_H

#include "base/progress.h"
#include "base/text.h"

#include <stdbool.h>

struct qk_process {
    const char *what; /* begins messages: "--engine" */
    const char *line; /* for sh -c */
    const char *log;  /* a new file, which gets the output and the messages */
    double seconds;   /* the longest run; 0: no limit */
    bool leave;       /* what it leaves running in its group goes on, unless it fails */
    void (*said)(void *context, const char *line); /* the last line of the log, now and then; may be NULL */
    void *context;
};

/* Runs the line and waits for its end. Standard input is empty. It ends with its whole group when `progress` is
 * cancelled or the time is up: SIGTERM, and SIGKILL after three seconds. It also ends when this program is killed: a
 * second sh waits for that. QK_IO when it cannot start, fails or takes too long: `last` then has the last lines of
 * its log. QK_CANCELLED. */
enum qk_code qk_process_run(const struct qk_process *process, struct qk_progress *progress,
    struct qk_lines *last, struct qk_error *err);

/* Adds `word` to a line for sh, in which `line` stands before it, so that it is part of one word there: outside of
 * quotes, within "..." or within '...'. */
void qk_process_quote(const char *line, size_t n, const char *word, struct qk_text *out);

#endif
