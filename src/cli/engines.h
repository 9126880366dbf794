/* engines.h - the options that choose an engine (eval/engine/engine.h), and what an engine says meanwhile. */
#ifndef QK_CLI_ENGINES_H
#define QK_CLI_ENGINES_H

#include "base/text.h"
#include "cli/arguments.h"
#include "cli/meter.h"
#include "eval/engine/engine.h"

/* Every row of the options, for the table of a command. */
#define QK_ENGINE_OPTIONS                                                                                    \
    &qk_option_engine, &qk_option_tasks, &qk_option_metric, &qk_option_server, &qk_option_served,            \
        &qk_option_reload, &qk_option_parallel, &qk_option_scratch, &qk_option_timeout

enum { QK_ENGINE_LINES = 4, QK_ENGINE_LINE = 100 };

/* Zero-initialise. */
struct qk_engine_talk {
    struct qk_meter *meter; /* the running one, or NULL; its line shows what the engine says */
    char line[QK_ENGINE_LINES][QK_ENGINE_LINE]; /* in turn: the meter may still read the one before */
    size_t turn;
    bool sum; /* what is written is summed up, not reported each time */
    size_t n_written;
    uint64_t bytes;
    struct qk_lines notes;
};

/* Reads the options. *out is the built-in engine without any of them; `talk` must outlive it. QK_USAGE when options
 * do not go together. */
enum qk_code qk_engines_read(const struct qk_arguments *arguments, struct qk_engine_talk *talk,
    struct qk_engine_options *out, struct qk_error *err);

/* Prints the notes that came since the last call as notes; no meter may run. */
void qk_engines_print(struct qk_engine_talk *talk);
/* With talk->sum: says how much was written in all, if anything. */
void qk_engines_print_sum(const struct qk_engine_talk *talk);
void qk_engines_free(struct qk_engine_talk *talk);

#endif
