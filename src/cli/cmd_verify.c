/* cmd_verify.c - qkscope verify: an export, compared with its recipe, pre and post. */
#include "cli/arguments.h"
#include "cli/meter.h"
#include "cli/print.h"
#include "export/export.h"
#include "export/verify.h"
#include "tensor/hub/hub.h"

#include <stdlib.h>

static enum qk_code resolve(const char *text, char **out, struct qk_error *err)
{
    *out = NULL;
    return text != NULL ? qk_hub_resolve(text, out, err) : QK_OK;
}

static enum qk_code verify(const char *folder, const char *pre, const char *post, struct qk_error *err)
{
    struct qk_lines differences = {0};
    struct qk_meter meter;
    qk_meter_start(&meter, "verifying", true);
    enum qk_code code = qk_verify(folder, pre, post, &meter.progress, &differences, err);
    qk_meter_stop(&meter);
    for (size_t i = 0; i < differences.n; i++) {
        qk_print_name(differences.line[i]);
        qk_print("\n");
    }
    qk_lines_free(&differences);
    if (code == QK_OK) {
        qk_print_name(folder);
        qk_print(": every byte is what its recipe says\n");
    }
    return code;
}

static enum qk_code run_verify(const struct qk_arguments *arguments, struct qk_error *err)
{
    char *pre, *post = NULL;
    QK_TRY(resolve(qk_arguments_text(arguments, "pre"), &pre, err));
    enum qk_code code = resolve(qk_arguments_text(arguments, "post"), &post, err);
    if (code == QK_OK)
        code = verify(arguments->operand[0], pre, post, err);
    free(pre);
    free(post);
    return code;
}

static const struct qk_option_info *const OPTIONS[] = {
    QK_OPTION("pre", 0, "PRE", "where PRE is now; without it the path in the recipe"),
    QK_OPTION("post", 0, "POST", "where POST is now; without it the path in the recipe"),
    NULL,
};

const struct qk_command qk_verify_command = {
    .name = "verify",
    .operands = "DIR",
    .summary = "Compares every byte of an export with its recipe, PRE and POST",
    .options = OPTIONS,
    .run = run_verify,
};
