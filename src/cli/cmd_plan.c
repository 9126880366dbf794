/* cmd_plan.c - qkscope plan: a selection from --recipe and --set, shown, and written as a recipe. */
#include "cli/arguments.h"
#include "cli/inputs.h"
#include "cli/print.h"
#include "cli/side_files.h"

#include <stdlib.h>
#include <string.h>

/* The choices, and the side files that an export of them leaves out, or copies though they are of no model. What
 * refuses an export does not refuse a plan. */
static void print_plan(const struct qk_inputs *inputs)
{
    const struct qk_checkpoint *post = inputs->pair->model[QK_POST]->checkpoint;
    const struct qk_file_rules rules = {0};
    struct qk_export_files files;
    struct qk_error refused = {0};
    qk_inputs_print(inputs);
    if (qk_remote_has(post->folder))
        return;
    if (qk_export_files(post, &rules, &files, &refused) == QK_OK)
        qk_side_files_print(&files);
    else
        qk_print_note("an export would be refused: %s", refused.text);
    qk_export_files_free(&files);
}

static enum qk_code write_recipe(const struct qk_inputs *inputs, const char *path, struct qk_error *err)
{
    struct qk_recipe recipe;
    QK_TRY(qk_recipe_make(inputs->pair, &inputs->selection, inputs->norms, inputs->comment, &recipe, err));
    enum qk_code code;
    if (strcmp(path, "-") == 0) {
        char *text = NULL;
        code = qk_recipe_text(&recipe, &text, err);
        if (code == QK_OK)
            qk_print("%s", text);
        free(text);
    } else {
        code = qk_recipe_write(&recipe, path, err);
        if (code == QK_OK)
            print_plan(inputs);
    }
    qk_recipe_free(&recipe);
    return code;
}

static enum qk_code run(const struct qk_arguments *arguments, struct qk_inputs *inputs, struct qk_error *err)
{
    const char *output = qk_arguments_text(arguments, "output");
    QK_TRY(qk_inputs_remote(arguments, err));
    QK_TRY(qk_inputs_open(arguments, inputs, err));
    if (output != NULL)
        return write_recipe(inputs, output, err);
    print_plan(inputs);
    return QK_OK;
}

static enum qk_code run_plan(const struct qk_arguments *arguments, struct qk_error *err)
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
    QK_OPTION("output", 'o', "FILE",
        "write the recipe to FILE; - is standard output; without it only show the choices"),
    &qk_option_norms,
    &qk_option_comment,
    &qk_option_force,
    &qk_option_threads,
    &qk_option_remote,
    NULL,
};

const struct qk_command qk_plan_command = {
    .name = "plan",
    .operands = "PRE POST",
    .summary = "Writes a recipe: what to restore, and for which checkpoints",
    .options = OPTIONS,
    .run = run_plan,
};
