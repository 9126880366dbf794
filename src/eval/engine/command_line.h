/* command_line.h - a command of the user's with the places in braces filled in, run in an engine's folder. */
#ifndef QK_EVAL_ENGINE_COMMAND_LINE_H
#define QK_EVAL_ENGINE_COMMAND_LINE_H

#include "eval/engine/place.h"

/* A word in braces and what it becomes. */
struct qk_filling {
    const char *name, *word;
};

/* *out = `command` with each {NAME} of the n fillings replaced by its word, quoted for sh as it stands there
 * (base/process.h); other braces stay. The caller frees. */
enum qk_code qk_command_fill(
    const char *command, const struct qk_filling *filling, size_t n, char **out, struct qk_error *err);

/* True when the command has {NAME}. */
bool qk_command_has(const char *command, const char *name);

/* Runs a filled command with the options' time limit and its output in place->log. `what` begins messages; with
 * `leave` what it starts in the background goes on. After a failure the last lines of its output go to the options'
 * note. Codes as qk_process_run. */
enum qk_code qk_command_run(const struct qk_engine_options *options, const char *what, const char *line,
    bool leave, const struct qk_place *place, struct qk_progress *progress, struct qk_error *err);

#endif
