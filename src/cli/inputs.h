/* inputs.h - the inputs of a command: checkpoints, and where it takes them, a selection and cases. */
#ifndef QK_CLI_INPUTS_H
#define QK_CLI_INPUTS_H

#include "blend/spec.h"
#include "cli/arguments.h"
#include "drift/drift.h"
#include "eval/cases.h"
#include "export/recipe.h"

struct qk_inputs {
    struct qk_pair *pair;
    struct qk_selection selection; /* all keep without --recipe and --set */
    bool norms;                    /* --norms, or the recipe says so */
    char *comment;                 /* --comment, else the recipe's, else NULL; owned */
};

/* With --remote (a row of the command's table), names of the hub mean the hub itself from here on. Codes as in
 * qk_remote_start. */
enum qk_code qk_inputs_remote(const struct qk_arguments *arguments, struct qk_error *err);
/* Reports how much was fetched, if any, and ends what qk_inputs_remote began. */
void qk_inputs_end_remote(void);

/* Opens the checkpoint that an operand names (tensor/hub/hub.h), with its layout. */
enum qk_code qk_inputs_model(const char *operand, struct qk_model **out, struct qk_error *err);

/* Opens the pair of two operands. What was set aside of them gets notes on standard error. */
enum qk_code qk_inputs_pair_of(const char *pre, const char *post, struct qk_pair **out, struct qk_error *err);
/* The same of the last two operands, PRE and POST. */
enum qk_code qk_inputs_pair(const struct qk_arguments *arguments, struct qk_pair **out, struct qk_error *err);

/* Reads every file of --cases into *out, in their order; QK_USAGE without one. The caller frees *out (also after a
 * failure). */
enum qk_code qk_inputs_cases(
    const struct qk_arguments *arguments, struct qk_cases *out, struct qk_error *err);

/* QK_USAGE when neither --set nor --recipe was given: there is nothing to plan or export. */
enum qk_code qk_inputs_want_choice(const struct qk_arguments *arguments, struct qk_error *err);

/* Opens the pair and builds the selection: --recipe first, then every --set in its order. Tests such as routing>0.15
 * compute the drift that they need with --threads workers. needle and drop run the prompts that `qkscope heads` makes.
 * The command takes --set, --recipe and --threads, and perhaps --norms, --comment and --force. --force accepts a recipe
 * whose fingerprints do not match. A --set that matches no layer gets a note on standard error. Freed with
 * qk_inputs_free (also after a failure). */
enum qk_code qk_inputs_open(
    const struct qk_arguments *arguments, struct qk_inputs *out, struct qk_error *err);
void qk_inputs_free(struct qk_inputs *inputs);

/* A selection in words: a recipe (NULL: none), then --set texts in their order. */
struct qk_choices {
    const char *recipe;
    const char *const *set; /* n_set */
    size_t n_set;
};
/* Builds the selection of an opened pair (out->pair); the rest as qk_inputs_open. It checks the texts and the recipe
 * in full. out->norms and out->comment follow the recipe unless they are set. */
enum qk_code qk_inputs_select(
    const struct qk_choices *choices, bool force, int threads, struct qk_inputs *out, struct qk_error *err);

/* QK_USAGE when the list of --layers names a layer that the pair does not have. */
enum qk_code qk_inputs_check_layers(
    const struct qk_spec *spec, const struct qk_pair *pair, struct qk_error *err);

/* Prints the table of choices: layers of equal kind and choice share a row. */
void qk_inputs_print(const struct qk_inputs *inputs);

#endif
