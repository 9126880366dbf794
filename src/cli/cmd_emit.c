/* cmd_emit.c - qkscope emit: a selection as a file for another tool. */
#include "cli/arguments.h"
#include "cli/inputs.h"
#include "cli/print.h"
#include "export/emit.h"

#include <stdlib.h>
#include <string.h>

static enum qk_code write_text(
    const struct qk_inputs *inputs, const char *path, const char *text, struct qk_error *err)
{
    if (path == NULL || strcmp(path, "-") == 0) {
        qk_print("%s", text);
        return QK_OK;
    }
    struct qk_recipe recipe;
    QK_TRY(qk_recipe_make(inputs->pair, &inputs->selection, inputs->norms, NULL, &recipe, err));
    enum qk_code code = qk_recipe_write_beside(&recipe, path, text, err);
    qk_recipe_free(&recipe);
    if (code == QK_OK)
        qk_inputs_print(inputs);
    return code;
}

static enum qk_code run(const struct qk_arguments *arguments, struct qk_inputs *inputs, struct qk_error *err)
{
    char *text;
    QK_TRY(qk_inputs_open(arguments, inputs, err));
    QK_TRY(qk_emit_text((enum qk_emit_tool)qk_arguments_operand_word(arguments, 0), inputs->pair,
        &inputs->selection, inputs->norms, &text, err));
    enum qk_code code = write_text(inputs, qk_arguments_text(arguments, "output"), text, err);
    free(text);
    return code;
}

static enum qk_code run_emit(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct qk_inputs inputs = {0};
    QK_TRY(qk_inputs_want_choice(arguments, err));
    enum qk_code code = run(arguments, &inputs, err);
    qk_inputs_free(&inputs);
    return code;
}

static const struct qk_option_info *const OPTIONS[] = {
    &qk_option_set,
    &qk_option_recipe,
    QK_OPTION(
        "output", 'o', "FILE", "write to FILE and print the choices; - and nothing are standard output"),
    &qk_option_norms,
    &qk_option_force,
    &qk_option_threads,
    NULL,
};

const struct qk_command qk_emit_command = {
    .name = "emit",
    .operands = "mergekit|brainsurgery PRE POST",
    .summary = "Writes a selection as a file for another tool",
    .options = OPTIONS,
    .run = run_emit,
};
