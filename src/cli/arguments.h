/* arguments.h - a command line taken apart by a command's option table. */
#ifndef QK_CLI_ARGUMENTS_H
#define QK_CLI_ARGUMENTS_H

#include "cli/command.h"

#include <stdbool.h>
#include <stddef.h>

/* All texts are borrowed from argv. */
struct qk_arguments {
    const struct qk_command *command;
    const char **operand; /* n_operands */
    size_t n_operands;
    struct {
        const struct qk_option_info *option;
        const char *text; /* NULL when the option takes none */
    } * given;            /* in the order of the command line */
    size_t n_given;
    bool help, version; /* requested: then nothing else was checked */
    /* What main sets for the command after parsing. */
    const char *warning; /* why no number can be trusted; "" where they can */
    enum qk_code (*open_screen)(const struct qk_arguments *arguments, struct qk_error *err);
};

/* Parses the words after the command. Options may stand between operands, and `--` ends them. `--name=TEXT`, `--name
 * TEXT`, `-oTEXT` and `-o TEXT` are the same. QK_USAGE names the word that does not fit and, for a misspelt option,
 * the probable one. Freed with qk_arguments_free (also after a failure). */
enum qk_code qk_arguments_parse(const struct qk_command *command, int argc, char *const *argv,
    struct qk_arguments *out, struct qk_error *err);
void qk_arguments_free(struct qk_arguments *arguments);

/* True when the command's table has the option. */
bool qk_arguments_takes(const struct qk_arguments *arguments, const char *name);

/* True when the option was given. An option that is not in the command's table is a bug (assert). */
bool qk_arguments_has(const struct qk_arguments *arguments, const char *name);

/* The text of the option (the last one given wins), or NULL. */
const char *qk_arguments_text(const struct qk_arguments *arguments, const char *name);

/* *out = the texts of a repeatable option in their order, or NULL; the caller frees the list. */
enum qk_code qk_arguments_all(const struct qk_arguments *arguments, const char *name, const char *const **out,
    size_t *n, struct qk_error *err);

/* Index of the option's word among the words of its argument ("auto|always|never"); 0 when it was not given. */
int qk_arguments_word(const struct qk_arguments *arguments, const char *name);

/* Likewise of operand i among the words of its place in the table ("mergekit|brainsurgery"). */
int qk_arguments_operand_word(const struct qk_arguments *arguments, size_t i);

/* *out = the option's whole number, `fallback` when it was not given; QK_USAGE outside low..high. */
enum qk_code qk_arguments_number(const struct qk_arguments *arguments, const char *name, int low, int high,
    int fallback, int *out, struct qk_error *err);

/* *out = the bytes of --memory, a number with K, M, G or T (powers of 1,024); 0 when it was not given. QK_USAGE for
 * another text. */
enum qk_code qk_arguments_memory(const struct qk_arguments *arguments, size_t *out, struct qk_error *err);

/* Sets the precision of --precision (linalg/gemm.h). QK_INPUT where bfloat16 cannot be multiplied here. */
enum qk_code qk_arguments_precision(const struct qk_arguments *arguments, struct qk_error *err);

/* *out = the number of --threads, which limits all loops (qk_parallel_limit); 0 when it was not given. */
enum qk_code qk_arguments_threads(const struct qk_arguments *arguments, int *out, struct qk_error *err);

/* QK_USAGE when both options were given. */
enum qk_code qk_arguments_exclude(
    const struct qk_arguments *arguments, const char *one, const char *other, struct qk_error *err);

#endif
