/* cmd_doctor.c - qkscope doctor: versions, terminal, folders, and the test of this machine's kernels. */
#include "cli/arguments.h"
#include "cli/folders.h"
#include "cli/print.h"
#include "linalg/selftest.h"

#include "base/progress.h"
#include "model/layout.h"

#include <cblas.h>
#include <cjson/cJSON.h>
#include <lapacke.h>
#include <nettle/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- the report --- */

static void print_versions(void)
{
    qk_print("qkscope %s\n\nlibraries\n", PACKAGE_VERSION);
    qk_print("  %-20s%s\n", "OpenBLAS", openblas_get_config());
    qk_print("  %-20s%s\n", "kernels for", openblas_get_corename());
    lapack_int major = 0, minor = 0, patch = 0;
    LAPACK_ilaver(&major, &minor, &patch);
    qk_print("  %-20s%d.%d.%d\n", "LAPACK", (int)major, (int)minor, (int)patch);
    qk_print("  %-20s%s\n", "cJSON", cJSON_Version());
    qk_print("  %-20s%d.%d\n", "nettle", nettle_version_major(), nettle_version_minor());
    qk_print("  %-20s%d\n", "processors", qk_cpu_count());
}

static void print_terminal(void)
{
    static const char *const names[] = {
        "TERM", "COLORTERM", "COLORFGBG", "NO_COLOR", "LC_ALL", "LANG", "ESCDELAY"};
    qk_print("\nterminal\n  %-20s%s\n", "standard output",
        isatty(STDOUT_FILENO) ? "a terminal" : "not a terminal");
    qk_print("  %-20s%s\n", "characters", qk_print_utf8() ? "UTF-8" : "ASCII alone");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *text = getenv(names[i]);
        if (text == NULL)
            continue;
        qk_print("  %-20s", names[i]);
        qk_print_name(text);
        qk_print("\n");
    }
}

/* The family whose line is being printed; "" before the first. Rows live only while they are visited. */
struct family_line {
    char family[64];
};

static void print_family(void *context, const char *family, const char *model_type)
{
    struct family_line *line = context;
    if (strncmp(line->family, family, sizeof line->family - 1) != 0) {
        qk_print(line->family[0] != '\0' ? "\n  " : "  ");
        qk_print_name(family);
        qk_print(":");
        snprintf(line->family, sizeof line->family, "%s", family);
    }
    qk_print(" ");
    qk_print_name(strcmp(model_type, "*") == 0 ? "any other, guessed" : model_type);
}

static enum qk_code print_families(struct qk_error *err)
{
    struct family_line line = {""};
    qk_print("\nfamilies, and their model types\n");
    QK_TRY(qk_layout_families(print_family, &line, err));
    qk_print("\n");
    return QK_OK;
}

static enum qk_code run_doctor(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct qk_selftest result[QK_SELFTEST_MAX];
    int n;
    (void)arguments;
    print_versions();
    print_terminal();
    qk_print("\nfolders\n");
    QK_TRY(qk_folders_print(err));
    QK_TRY(print_families(err));
    QK_TRY(qk_selftest_run(true, result, &n, err));
    qk_print("\nnumeric self-test (worst error, as a part of the limit)\n");
    for (int i = 0; i < n; i++)
        qk_print("  %-20s%-8s%.2g\n", result[i].name, result[i].worst <= 1 ? "ok" : "WRONG", result[i].worst);
    return qk_selftest_judge(result, n, err);
}

static const struct qk_option_info *const OPTIONS[] = {
    NULL,
};

const struct qk_command qk_doctor_command = {
    .name = "doctor",
    .operands = "",
    .summary = "Reports versions, folders and known families, and tests the numeric kernels of this machine",
    .options = OPTIONS,
    .kernels = QK_KERNELS_REPORTED,
    .run = run_doctor,
};
