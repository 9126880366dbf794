/* help.h - the text of --help, from the tables of options. */
#ifndef QK_CLI_HELP_H
#define QK_CLI_HELP_H

#include "cli/command.h"

#include <stdbool.h>

/* Prints the output of `qkscope COMMAND --help`; the screen's is the overview of the program. On standard output
 * through print.h, or on standard error when `to_stderr`. */
void qk_help_print(const struct qk_command *command, bool to_stderr);

#endif
