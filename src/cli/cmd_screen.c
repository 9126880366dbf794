/* cmd_screen.c - qkscope PRE POST: the screen, or the table of drift where standard output is not a terminal. */
#include "cli/arguments.h"
#include "cli/drifts.h"
#include "cli/inputs.h"
#include "cli/report.h"

#include "base/mem.h"

#include <stdlib.h>
#include <unistd.h>

static enum qk_code print_drift(
    const struct qk_arguments *arguments, const struct qk_inputs *inputs, int *order, struct qk_error *err)
{
    const struct qk_pair *pair = inputs->pair;
    bool chosen = qk_arguments_has(arguments, "set") || qk_arguments_has(arguments, "recipe");
    struct qk_layer_drift *drift;
    int threads;
    QK_TRY(qk_arguments_threads(arguments, &threads, err));
    QK_TRY(qk_drifts_compute(pair, NULL, false, threads, &drift, err));
    for (int i = 0; i < pair->n_layers; i++)
        order[i] = i;
    const struct qk_report report = {.pair = pair,
        .drift = drift,
        .order = order,
        .n = pair->n_layers,
        .ascii = qk_arguments_has(arguments, "ascii"),
        .selection = chosen ? &inputs->selection : NULL};
    qk_drifts_warn(pair, drift, NULL);
    qk_report_table(&report);
    qk_drifts_free(drift, pair->n_layers);
    return QK_OK;
}

static enum qk_code print_table(
    const struct qk_arguments *arguments, struct qk_inputs *inputs, struct qk_error *err)
{
    int *order;
    QK_TRY(qk_inputs_open(arguments, inputs, err));
    QK_TRY(qk_alloc(&order, (size_t)inputs->pair->n_layers, sizeof *order, err));
    enum qk_code code = print_drift(arguments, inputs, order, err);
    free(order);
    return code;
}

static enum qk_code run_screen(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct qk_inputs inputs = {0};
    if (isatty(STDOUT_FILENO))
        return arguments->open_screen(arguments, err);
    enum qk_code code = print_table(arguments, &inputs, err);
    qk_inputs_free(&inputs);
    return code;
}

static const struct qk_option_info *const OPTIONS[] = {
    &qk_option_set,
    &qk_option_recipe,
    QK_OPTION("cases", 'c', "FILE",
        "evaluate on these cases, as 'qkscope eval' does; repeatable; without it on those of a folder "
        "'cases' beside the checkpoints"),
    QK_OPTION("sort", 0, "COLUMN",
        "the order of the layers on the screen; without it by the drop of needle mass once that is known"),
    &qk_option_needles,
    QK_OPTION("no-needles", 0, NULL,
        "start without passes over needle prompts, which large models take long for; r begins them"),
    QK_OPTION("color", 0, "auto|always|never", "use colours; auto leaves them out where NO_COLOR is set"),
    QK_OPTION("theme", 0, "auto|dark|light", "colours for a dark or a light background; auto asks COLORFGBG"),
    &qk_option_ascii,
    QK_OPTION("readonly", 0, NULL, "remove exporting from the keys, the footer and the help"),
    &qk_option_threads,
    NULL,
};

const struct qk_command qk_screen_command = {
    .name = "",
    .operands = "PRE POST",
    .summary =
        "Shows how queries and keys drifted from PRE to POST, restores those that you choose, and exports "
        "the result; on a pipe prints the table of 'qkscope diff'",
    .options = OPTIONS,
    .run = run_screen,
};
