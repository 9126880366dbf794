/* command.h - one entry a sub-command, each in its own cmd_NAME.c: its words, its options, what runs it. Their --help
 * is in help.c. */
#ifndef QK_CLI_COMMAND_H
#define QK_CLI_COMMAND_H

#include "base/error.h"

#include <stdbool.h>

struct qk_arguments;

/* One option; --help, the parser and the manual read the same row. */
struct qk_option_info {
    const char *name;     /* long name without dashes: "json" */
    char letter;          /* short name, or 0 */
    const char *argument; /* NULL: takes none; else how help calls it: "DIR". Words with | between them
                             ("auto|always|never") are the only ones the parser takes */
    const char *help;     /* one sentence without a full stop */
};

struct qk_command {
    const char *name;                    /* "diff" */
    const char *operands;                /* "PRE POST": as many words as the parser wants operands, or more
                                            where they end in "..."; like an option's argument, "a|b" stands
                                            for one of these words */
    const char *summary;                 /* one sentence without a full stop */
    const struct qk_option_info *option; /* ends with a row whose name is NULL */
    /* NULL in row 0: the screen, which main opens (the library below knows no screen). */
    enum qk_code (*run)(const struct qk_arguments *arguments, struct qk_error *err);
};

/* Row i of the table; NULL past the end. Row 0 is the screen (name ""). */
const struct qk_command *qk_command_info(int i);

/* The sub-command of that name, or NULL. */
const struct qk_command *qk_command_find(const char *name);

/* Options that every command takes: --help and --version. Ends like any option table. */
extern const struct qk_option_info qk_common_options[];

/* What `qkscope COMMAND --help` prints; row 0 gives the overview of the program. On standard output through
 * print.h, or on standard error when `to_stderr`. */
void qk_command_help(const struct qk_command *command, bool to_stderr);

/* --- the sub-commands, each in its own file --- */

extern const struct qk_option_info qk_info_options[], qk_diff_options[], qk_range_options[],
    qk_cases_options[], qk_plan_options[], qk_export_command_options[], qk_verify_options[],
    qk_emit_options[], qk_eval_options[], qk_search_options[], qk_clean_options[], qk_doctor_options[];
enum qk_code qk_info_run(const struct qk_arguments *arguments, struct qk_error *err);
enum qk_code qk_diff_run(const struct qk_arguments *arguments, struct qk_error *err);
enum qk_code qk_range_run(const struct qk_arguments *arguments, struct qk_error *err);
enum qk_code qk_cases_run(const struct qk_arguments *arguments, struct qk_error *err);
enum qk_code qk_plan_run(const struct qk_arguments *arguments, struct qk_error *err);
enum qk_code qk_export_run(const struct qk_arguments *arguments, struct qk_error *err);
enum qk_code qk_verify_run(const struct qk_arguments *arguments, struct qk_error *err);
enum qk_code qk_emit_run(const struct qk_arguments *arguments, struct qk_error *err);
enum qk_code qk_eval_run(const struct qk_arguments *arguments, struct qk_error *err);
enum qk_code qk_search_command_run(const struct qk_arguments *arguments, struct qk_error *err);
enum qk_code qk_clean_run(const struct qk_arguments *arguments, struct qk_error *err);
enum qk_code qk_doctor_run(const struct qk_arguments *arguments, struct qk_error *err);

/* What `qkscope PRE POST` (arguments of row 0) prints where there is no terminal: the drift table, with a
 * column of choices when --set or --recipe makes some. */
enum qk_code qk_screen_table(const struct qk_arguments *arguments, struct qk_error *err);

#endif
