/* cmd_clean.c - qkscope clean: the left-overs of killed exports and writes in a folder, listed and removed. */
#include "base/left_over.h"
#include "cli/arguments.h"
#include "cli/print.h"

#include "base/text.h"

#include <stdio.h>
#include <time.h>

enum { AGE_TEXT = 32 };

/* Writes "3 hours": the largest unit of which there are two. */
static const char *format_age(char out[AGE_TEXT], double seconds)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"days", 86400}, {"hours", 3600}, {"minutes", 60}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (seconds >= 2 * units[i].seconds) {
            snprintf(out, AGE_TEXT, "%.0f %s", seconds / units[i].seconds, units[i].name);
            return out;
        }
    snprintf(out, AGE_TEXT, "%.0f s", seconds > 0 ? seconds : 0.0);
    return out;
}

static void print_entries(const struct qk_left_overs *left)
{
    time_t now = time(NULL);
    if (left->n > 0)
        qk_print("%9s  %10s  %-6s  %s\n", "size", "age", "kind", "name");
    for (size_t i = 0; i < left->n; i++) {
        const struct qk_left_over *entry = &left->entry[i];
        char bytes[QK_BYTES_TEXT], age[AGE_TEXT];
        qk_print("%9s  %10s  %-6s  ", qk_format_bytes(bytes, entry->bytes),
            format_age(age, difftime(now, entry->changed)), entry->is_folder ? "folder" : "file");
        qk_print_name(entry->name);
        qk_print("\n");
    }
}

static void print_summary(const struct qk_left_overs *left, const char *folder, bool removed)
{
    char bytes[QK_BYTES_TEXT];
    qk_print(left->n > 0 ? "\n" : "");
    qk_print_name(folder);
    if (left->n == 0)
        qk_print(": no left-overs of killed exports or writes\n");
    else
        qk_print(": %zu left-over%s, %s%s\n", left->n, left->n == 1 ? "" : "s",
            qk_format_bytes(bytes, qk_left_overs_bytes(left)),
            removed        ? ", removed"
            : left->n == 1 ? "; --remove removes it"
                           : "; --remove removes them");
    if (left->n_held > 0)
        qk_print("%zu more stay%s: in use, another user's, or without locks\n", left->n_held,
            left->n_held == 1 ? "s" : "");
}

static enum qk_code run_clean(const struct qk_arguments *arguments, struct qk_error *err)
{
    const char *folder = arguments->operand[0];
    bool remove = qk_arguments_has(arguments, "remove");
    struct qk_left_overs left;
    QK_TRY(qk_left_overs_find(folder, &left, err));
    print_entries(&left);
    enum qk_code code = QK_OK;
    for (size_t i = 0; i < left.n && remove && code == QK_OK; i++)
        code = qk_left_over_remove(folder, left.entry[i].name, err);
    if (code == QK_OK)
        print_summary(&left, folder, remove);
    qk_left_overs_free(&left);
    return code;
}

static const struct qk_option_info *const OPTIONS[] = {
    QK_OPTION("remove", 0, NULL, "remove the listed left-overs"),
    NULL,
};

const struct qk_command qk_clean_command = {
    .name = "clean",
    .operands = "FOLDER",
    .summary = "Lists the left-overs of killed exports and writes in a folder, and removes them",
    .options = OPTIONS,
    .kernels = QK_KERNELS_UNUSED,
    .run = run_clean,
};
