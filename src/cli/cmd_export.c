/* cmd_export.c - qkscope export: POST with the selection applied, or the list of changes that this makes. */
#include "base/atomic_file.h"
#include "base/left_over.h"
#include "cli/arguments.h"
#include "cli/inputs.h"
#include "cli/meter.h"
#include "cli/print.h"
#include "cli/side_files.h"
#include "export/export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_changes(const struct qk_export_manifest *manifest)
{
    char bytes[QK_BYTES_TEXT];
    if (manifest->n_changes > 0)
        qk_print("\n%5s  %-5s  %9s  %s\n", "layer", "role", "bytes", "tensor");
    for (size_t i = 0; i < manifest->n_changes; i++) {
        const struct qk_change *change = &manifest->change[i];
        char layer[16] = "-";
        if (change->layer >= 0)
            snprintf(layer, sizeof layer, "%d", change->layer);
        qk_print("%5s  %-5s  %9s  ", layer, change->layer >= 0 ? change->roles : "merge",
            qk_format_bytes(bytes, change->bytes_changed));
        qk_print_name(change->tensor->name);
        qk_print("\n");
    }
}

static void print_totals(const struct qk_export_manifest *manifest, const char *target, bool dry)
{
    char changed[QK_BYTES_TEXT], total[QK_BYTES_TEXT], written[QK_BYTES_TEXT], available[QK_BYTES_TEXT];
    qk_print("\n%s %s in %zu tensors\n", dry ? "would change" : "changed",
        qk_format_bytes(changed, manifest->bytes_changed), manifest->n_changes);
    qk_print_name(target);
    qk_print(": %zu files, %s", manifest->n_files, qk_format_bytes(total, manifest->bytes_total));
    if (manifest->bytes_written < manifest->bytes_total)
        qk_print(", %s of it new", qk_format_bytes(written, manifest->bytes_written));
    if (dry)
        qk_print("; %s free", qk_format_bytes(available, manifest->bytes_free));
    if (manifest->target_exists)
        qk_print(dry ? "; would replace the folder of that name" : "; replaced the folder of that name");
    qk_print("\n");
}

/* Reports the left-overs of other killed exports and writes beside the target; those of this target go. It reports
 * nothing where it cannot examine them. */
static void report_left_overs(const char *target)
{
    struct qk_left_overs left;
    char *parent, *name, bytes[QK_BYTES_TEXT];
    if (qk_split_path(target, &parent, &name, NULL) != QK_OK)
        return;
    if (qk_left_overs_beside(target, &left, NULL) == QK_OK && left.n > 0)
        qk_print_note("%s: %zu left-over%s of killed exports or writes, %s: see 'qkscope clean %s'", parent,
            left.n, left.n == 1 ? "" : "s", qk_format_bytes(bytes, qk_left_overs_bytes(&left)), parent);
    qk_left_overs_free(&left);
    free(parent);
    free(name);
}

static enum qk_code write_export(
    const struct qk_inputs *inputs, const struct qk_export_options *options, struct qk_error *err)
{
    struct qk_meter meter;
    qk_meter_start(&meter, "exporting", true);
    enum qk_code code = qk_export(inputs->pair, &inputs->selection, options, &meter.progress, err);
    qk_meter_stop(&meter);
    return code;
}

static enum qk_code run(const struct qk_arguments *arguments, struct qk_inputs *inputs, struct qk_error *err)
{
    bool dry = qk_arguments_has(arguments, "dry-run"), force = qk_arguments_has(arguments, "force");
    struct qk_export_manifest manifest = {0};
    QK_TRY(qk_inputs_open(arguments, inputs, err));
    const struct qk_export_options options = {
        .target = qk_arguments_text(arguments, "output"),
        .force = force,
        .link = qk_arguments_has(arguments, "link"),
        .adapter = qk_arguments_has(arguments, "adapter"),
        .patch_only = qk_arguments_has(arguments, "patch-only"),
        .norms = inputs->norms,
        .files = {.everything = qk_arguments_has(arguments, "everything"),
            .follow_links = qk_arguments_has(arguments, "follow-links")},
        .comment = inputs->comment,
    };
    QK_TRY(qk_export_manifest(inputs->pair, &inputs->selection, &options, &manifest, err));
    report_left_overs(options.target);
    enum qk_code code = dry ? QK_OK : write_export(inputs, &options, err);
    if (code == QK_OK) {
        qk_inputs_print(inputs);
        print_changes(&manifest);
        qk_side_files_print(&manifest.files);
        print_totals(&manifest, options.target, dry);
    }
    qk_export_manifest_free(&manifest);
    return code;
}

static enum qk_code run_export(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct qk_inputs inputs = {0};
    if (qk_arguments_has(arguments, "remote"))
        return qk_fail(err, QK_USAGE,
            "export: --remote: an export copies every byte of POST. Download PRE and POST (huggingface-cli "
            "download ORG/NAME), then export with --set or a recipe of 'qkscope plan --remote'");
    QK_TRY(qk_inputs_want_choice(arguments, err));
    if (qk_arguments_text(arguments, "output") == NULL)
        return qk_fail(err, QK_USAGE, "export: no folder to write (expected --output DIR)");
    QK_TRY(qk_arguments_exclude(arguments, "link", "patch-only", err));
    QK_TRY(qk_arguments_exclude(arguments, "adapter", "patch-only", err));
    enum qk_code code = run(arguments, &inputs, err);
    qk_inputs_free(&inputs);
    return code;
}

static const struct qk_option_info *const OPTIONS[] = {
    &qk_option_set,
    &qk_option_recipe,
    QK_OPTION(
        "output", 'o', "DIR", "the folder to write; it must not exist yet, and must not be in PRE or POST"),
    QK_OPTION("dry-run", 'n', NULL, "check everything and print what would change, but write nothing"),
    QK_OPTION("patch-only", 0, NULL, "write only the changed tensors and the recipe"),
    QK_OPTION("adapter", 0, NULL,
        "write POST's adapter with the choices in its factors, not the merged checkpoint"),
    QK_OPTION("everything", 0, NULL,
        "copy also what trainers keep to go on (optimizer.pt, global_step100 and the like), and a left-over "
        "adapter_config.json"),
    QK_OPTION("follow-links", 0, NULL,
        "copy also what links lead to that go out of POST's folder; without it such a link beside the weights is "
        "refused"),
    QK_OPTION("link", 0, NULL, "hard-link the shards that do not change, where the file system can"),
    &qk_option_norms,
    &qk_option_comment,
    QK_OPTION("force", 'f', NULL,
        "replace an earlier export, and take a --recipe that was made for other checkpoints"),
    &qk_option_threads,
    QK_OPTION("remote", 0, NULL,
        "refused: an export copies every byte of POST, so PRE and POST must be on this machine"),
    NULL,
};

const struct qk_command qk_export_command = {
    .name = "export",
    .operands = "PRE POST",
    .summary = "Writes POST with the chosen queries and keys restored",
    .options = OPTIONS,
    .run = run_export,
};
