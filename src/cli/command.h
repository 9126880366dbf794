/* command.h - the sub-commands, each of which describes itself in its own cmd_NAME.c. */
#ifndef QK_CLI_COMMAND_H
#define QK_CLI_COMMAND_H

#include "base/error.h"
#include "cli/option.h"

struct qk_arguments;

/* The use that a command makes of this machine's BLAS and LAPACK (linalg/selftest.h). */
enum qk_kernels {
    QK_KERNELS_NEEDED,   /* main tests them first and warns */
    QK_KERNELS_REPORTED, /* the command runs a test of its own */
    QK_KERNELS_UNUSED,   /* the command computes nothing */
};

struct qk_command {
    const char *name;     /* "diff"; "" for the screen */
    const char *operands; /* "PRE POST": one word for each operand, or for more where it ends in "...". "a|b"
                             stands for one of these words, as in an option's argument */
    const char *summary;  /* one sentence without a full stop */
    const struct qk_option_info *const *options; /* a table (option.h) */
    enum qk_kernels kernels;
    enum qk_code (*run)(const struct qk_arguments *arguments, struct qk_error *err);
};

/* Every command, in the order of --help: cmd_NAME.c holds qk_NAME_command. The screen comes first. */
#define QK_COMMANDS(X)                                                                                       \
    X(screen)                                                                                                \
    X(info)                                                                                                  \
    X(diff)                                                                                                  \
    X(heads)                                                                                                 \
    X(track)                                                                                                 \
    X(range) X(cases) X(plan) X(export) X(verify) X(emit) X(eval) X(search) X(suggest) X(clean) X(doctor)
#define QK_DECLARE_COMMAND(name) extern const struct qk_command qk_##name##_command;
QK_COMMANDS(QK_DECLARE_COMMAND)

/* Row i of the table; NULL past the end. Row 0 is the screen. */
const struct qk_command *qk_command_info(int i);

/* The sub-command of that name, or NULL. The screen has no name. */
const struct qk_command *qk_command_find(const char *name);

#endif
