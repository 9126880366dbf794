/* cmd_plan.c - qkscope plan: a selection from --recipe and --set, shown, and written as a recipe. */
#include "cli/arguments.h"
#include "cli/inputs.h"
#include "cli/print.h"

#include <stdlib.h>
#include <string.h>

const struct qk_option_info qk_plan_options[] = {
    {"set", 's', "SPEC", "choose, as in full=restore or 4:q=lerp:0.5; repeatable, later wins"},
    {"recipe", 'r', "FILE", "begin with the choices of a recipe, before any --set"},
    {"output", 'o', "FILE",
        "write the recipe there; - is standard output; without it only show what is chosen"},
    {"norms", 0, NULL, "let the gains of q/k norms go with their role"},
    {"comment", 0, "TEXT", "a remark to keep in the recipe"},
    {"force", 'f', NULL, "take a --recipe that was made for other checkpoints"},
    {"threads", 'j', "N", "worker threads for tests such as routing>0.15; one a processor without it"},
    QK_REMOTE_OPTION,
    {NULL, 0, NULL, NULL},
};

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
            qk_inputs_print(inputs);
    }
    qk_recipe_free(&recipe);
    return code;
}

static enum qk_code run(const struct qk_arguments *arguments, struct qk_inputs *inputs, struct qk_error *err)
{
    const char *output = qk_arguments_text(arguments, "output");
    QK_TRY(qk_inputs_remote(arguments, err));
    QK_TRY(qk_inputs_open(arguments, qk_arguments_has(arguments, "force"), inputs, err));
    if (output != NULL)
        return write_recipe(inputs, output, err);
    qk_inputs_print(inputs);
    return QK_OK;
}

enum qk_code qk_plan_run(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct qk_inputs inputs = {0};
    QK_TRY(qk_inputs_want_choice(arguments, err));
    enum qk_code code = run(arguments, &inputs, err);
    qk_inputs_free(&inputs);
    return code;
}
