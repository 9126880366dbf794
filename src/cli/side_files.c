/* side_files.c - the list of side files in an export and a plan. */
#include "cli/side_files.h"

#include "base/text.h"
#include "cli/print.h"

static const char *const HEADINGS[QK_SIDE_KINDS] = {
    [QK_SIDE_STATE] = "left out, for they are of the training (--everything copies them)",
    [QK_SIDE_HIDDEN] = "copied, though hidden",
    [QK_SIDE_OTHER] = "copied, though not of a model",
};

void qk_side_files_print(const struct qk_export_files *files)
{
    enum qk_side_kind last = QK_SIDE_MODEL;
    char bytes[QK_BYTES_TEXT];
    for (size_t i = 0; i < files->n_sides; i++) {
        const struct qk_side_file *side = &files->side[i];
        if (side->kind != last)
            qk_print("\n%s\n", HEADINGS[side->kind]);
        last = side->kind;
        qk_print("%9s  ", qk_format_bytes(bytes, side->bytes));
        qk_print_name(side->name);
        if (side->n_files > 1)
            qk_print(" (%zu files)", side->n_files);
        qk_print("\n");
    }
}
