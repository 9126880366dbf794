/* cmd_doctor.c - qkscope doctor: versions, terminal, folders, and the test of this machine's kernels. */
#include "cli/arguments.h"
#include "cli/folders.h"
#include "cli/print.h"
#include "linalg/gemm.h"
#include "linalg/kernels.h"
#include "linalg/selftest.h"

#include "base/blas.h"
#include "base/json.h"
#include "base/onednn.h"
#include "base/processors.h"
#include "base/progress.h"
#include "forward/parts.h"
#include "model/layout.h"
#include "model/model.h"

#include <cjson/cJSON.h>
#include <nettle/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- the report --- */

static void print_versions(void)
{
    qk_print("qkscope %s\n\nlibraries\n", PACKAGE_VERSION);
    char version[32];
    struct qk_error missing;
    qk_print("  %-20s%s\n", "OpenBLAS", qk_blas_config());
    qk_print("  %-20s%s\n", "LAPACK", qk_lapack_version(version));
    if (qk_onednn_load(&missing) == QK_OK)
        qk_print("  %-20s%s\n", "oneDNN", qk_onednn_version(version));
    qk_print("  %-20s%s\n", "cJSON", cJSON_Version());
    qk_print("  %-20s%d.%d\n", "nettle", nettle_version_major(), nettle_version_minor());
}

/* Why these kernels compute. */
static const char *reason_of(const struct qk_kernels_choice *choice)
{
    if (choice->asked)
        return "OPENBLAS_CORETYPE asks for them";
    if (choice->n_refused > 0)
        return "the best of those that compute right";
    if (strcmp(choice->core, choice->own) != 0)
        return "OpenBLAS's own choice is of an older class";
    return "OpenBLAS's own choice";
}

static void print_core(const char *label, const char *core)
{
    qk_print("  %-20s%s (%s)", label, core, qk_kernel_class_name(qk_kernel_class_of(core)));
}

/* The rates of the best kernels of each class, slower classes last. Other kernels are loaded afterwards. */
static enum qk_code print_rates(
    const struct qk_processor *processor, const struct qk_kernels_choice *choice, struct qk_error *err)
{
    const char *order[QK_KERNELS_MOST];
    int n, last = QK_KERNEL_CLASSES;
    qk_kernels_order(processor, choice->core, order, &n);
    for (int i = 0; i < n; i++) {
        const char *core = order[i][0] != '\0' ? order[i] : choice->core;
        double rate;
        if ((int)qk_kernel_class_of(core) == last)
            continue;
        last = (int)qk_kernel_class_of(core);
        QK_TRY(qk_kernels_rate(core, &rate, err));
        print_core("sgemm on one core", core);
        if (rate > 0)
            qk_print(": %.0f Gflop/s\n", rate);
        else
            qk_print(": not here\n");
    }
    return QK_OK;
}

/* Which library multiplies in forward passes, why, and oneDNN's rates beside those of OpenBLAS. */
static enum qk_code print_products(struct qk_error *err)
{
    static const char *const labels[] = {
        [QK_FLOAT32] = "oneDNN on one core", [QK_BFLOAT16] = "bfloat16, one core"};
    const struct qk_gemm_choice *choice = qk_gemm_choose();
    qk_print("  %-20s", "forward passes");
    if (choice->onednn)
        qk_print("oneDNN: it is the faster one with AVX-512\n");
    else
        qk_print("OpenBLAS: %s\n", choice->why_not.text);
    for (int p = QK_FLOAT32; p <= QK_BFLOAT16; p++) {
        struct qk_error why_not = {0};
        double rate;
        QK_TRY(qk_gemm_rate((enum qk_precision)p, &rate, &why_not, err));
        if (rate > 0)
            qk_print("  %-20s%.0f Gflop/s\n", labels[p], rate);
        else
            qk_print("  %-20snot here: %s\n", labels[p], why_not.text);
    }
    return QK_OK;
}

static enum qk_code print_kernels(struct qk_error *err)
{
    struct qk_processor processor = qk_processor_read();
    struct qk_kernels_choice choice;
    struct qk_error wrong = {0};
    QK_TRY(qk_kernels_load(&choice, &wrong, err));
    qk_print("\nkernels\n  %-20s%s, %d of them\n", "processor", qk_kernel_class_name(processor.class),
        qk_cpu_count());
    if (!choice.asked) {
        print_core("OpenBLAS by itself", choice.own);
        qk_print("\n");
    }
    for (int i = 0; i < choice.n_refused; i++) {
        print_core("refused", choice.refused[i]);
        qk_print(": they compute wrong results or cannot run here\n");
    }
    print_core("used", choice.core);
    qk_print(": %s\n", reason_of(&choice));
    QK_TRY(print_rates(&processor, &choice, err));
    QK_TRY(print_products(err));
    return qk_kernels_load(&choice, &wrong, err);
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

/* --- families --- */

/* Model type number i of a row, or NULL. */
static const char *model_type(const struct qk_layout *row, int i)
{
    const cJSON *types = qk_json_get(row->row, "model_types");
    if (cJSON_IsString(types))
        return i == 0 ? types->valuestring : NULL;
    return cJSON_GetStringValue(cJSON_GetArrayItem(types, i));
}

static void print_family(void *context, const struct qk_layout *row)
{
    (void)context;
    const char *type;
    qk_print("  ");
    qk_print_name(row->family);
    qk_print(":");
    for (int i = 0; (type = model_type(row, i)) != NULL; i++) {
        qk_print(" ");
        qk_print_name(strcmp(type, "*") == 0 ? "any other, guessed" : type);
    }
    qk_print("\n");
}

/* Whether a mixer is softmax attention with rotary positions: 1 yes, 0 no, -1 where the config says so. */
static int turns(const cJSON *mixer)
{
    const cJSON *when = qk_json_get(mixer, "positions_when");
    bool rope = strncmp(qk_json_string(mixer, "positions", ""), "rope", 4) == 0, other = false;
    for (const cJSON *pair = when != NULL ? when->child : NULL; pair != NULL; pair = pair->next)
        other = other || (strncmp(cJSON_GetStringValue(pair->child->next), "rope", 4) == 0) != rope;
    return other ? -1 : rope;
}

/* "yes", "no", or "some": in some of the layers, or where the config says so. */
static const char *estimate_of(const struct qk_layout *row)
{
    bool any = false, all = true;
    for (const cJSON *mixer = qk_json_get(row->row, "mixers")->child; mixer != NULL; mixer = mixer->next) {
        enum qk_kind kind;
        if (!qk_kind_parse(qk_json_string(mixer, "kind", ""), &kind) || !qk_kind_softmax(kind))
            continue;
        any = any || turns(mixer) != 0;
        all = all && turns(mixer) == 1;
    }
    return !any ? "no" : all ? "yes" : "some";
}

static void add_answer(cJSON *object, const char *key, const char *reason)
{
    cJSON_AddStringToObject(object, key, reason == NULL ? "yes" : reason);
}

/* What the program can do with every checkpoint of a row's families, as JSON: "yes", or why not. */
static void add_family(void *context, const struct qk_layout *row)
{
    cJSON *object = qk_json_append_object(context), *conditions;
    const char *type, *key, *why;
    qk_json_add_text(object, "family", row->family);
    cJSON *types = cJSON_AddArrayToObject(object, "model_types");
    for (int i = 0; (type = model_type(row, i)) != NULL; i++)
        cJSON_AddItemToArray(types, cJSON_CreateString(type));
    cJSON_AddBoolToObject(object, "guessed", row->guessed);
    cJSON_AddStringToObject(object, "estimate", estimate_of(row));
    add_answer(object, "states", qk_row_refused(row));
    add_answer(object, "pass", qk_row_missing(row));
    conditions = cJSON_AddObjectToObject(object, "unless");
    for (int i = 0; (key = qk_row_condition(row, i, &why)) != NULL; i++)
        qk_json_add_text(conditions, key, why);
}

static enum qk_code print_families(bool json, struct qk_error *err)
{
    if (!json) {
        qk_print("\nfamilies, and their model types\n");
        return qk_layout_rows(print_family, NULL, err);
    }
    cJSON *rows = cJSON_CreateArray();
    enum qk_code code = qk_layout_rows(add_family, rows, err);
    if (code == QK_OK)
        return qk_print_json(rows, err);
    cJSON_Delete(rows);
    return code;
}

static enum qk_code run_doctor(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct qk_selftest result[QK_SELFTEST_MAX];
    int n;
    if (qk_arguments_has(arguments, "families"))
        return print_families(true, err);
    QK_TRY(qk_blas_load(NULL, err));
    print_versions();
    QK_TRY(print_kernels(err));
    print_terminal();
    qk_print("\nfolders\n");
    QK_TRY(qk_folders_print(err));
    QK_TRY(print_families(false, err));
    QK_TRY(qk_selftest_run(true, result, &n, err));
    qk_print("\nnumeric self-test (worst error, as a part of the limit)\n");
    for (int i = 0; i < n; i++)
        qk_print("  %-20s%-8s%.2g\n", result[i].name, result[i].worst <= 1 ? "ok" : "WRONG", result[i].worst);
    return qk_selftest_judge(result, n, err);
}

static const struct qk_option_info *const OPTIONS[] = {
    QK_OPTION(
        "families", 0, NULL, "print as JSON what the program can do with each family, and nothing else"),
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
