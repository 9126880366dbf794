/* cmd_track.c - qkscope track: the drift of every checkpoint of a run. */
#include "cli/arguments.h"
#include "cli/inputs.h"
#include "cli/print.h"
#include "cli/trajectory_report.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The request, and everything made for it. */
struct command {
    struct qk_track track;
    struct qk_track_options options;
    struct qk_spec layers;
    int metric, role;
    double part;
};

static enum qk_code read_metric(const struct qk_arguments *arguments, struct command *c, struct qk_error *err)
{
    const char *text = qk_arguments_text(arguments, "metric");
    c->role = -1;
    c->metric = c->options.ranges ? QK_TRACK_SHIFT : QK_METRIC_ROUTING;
    if (text == NULL)
        return QK_OK;
    const char *name = qk_metric_role(text, &c->role);
    if (!qk_track_metric_parse(name, &c->metric) || (c->role >= 0 && c->metric >= QK_METRIC_ROUTING))
        return qk_fail(err, QK_USAGE,
            "--metric: unknown number (found '%s', expected rel_fro, cosine, norm_ratio, angle, angle_max, routing, "
            "shift, mean or long)",
            text);
    if (c->metric >= QK_TRACK_SHIFT && !c->options.ranges)
        return qk_fail(err, QK_USAGE, "--metric %s needs --ranges, which runs the models", text);
    return QK_OK;
}

static enum qk_code read_options(
    const struct qk_arguments *arguments, struct command *c, struct qk_error *err)
{
    enum { HALF = 50, ALL = 100 };
    const char *layers = qk_arguments_text(arguments, "layers");
    int part, length;
    QK_TRY(qk_arguments_exclude(arguments, "json", "csv", err));
    QK_TRY(qk_arguments_exclude(arguments, "probe", "ids", err));
    QK_TRY(qk_arguments_exclude(arguments, "follow", "json", err));
    QK_TRY(qk_arguments_exclude(arguments, "follow", "csv", err));
    QK_TRY(qk_arguments_exclude(arguments, "follow", "no-cache", err));
    c->options.ranges = qk_arguments_has(arguments, "ranges");
    c->options.effective = qk_arguments_has(arguments, "effective");
    c->options.cached = !qk_arguments_has(arguments, "no-cache");
    c->options.probe.text_path = qk_arguments_text(arguments, "probe");
    c->options.probe.ids_path = qk_arguments_text(arguments, "ids");
    if (!c->options.ranges && (c->options.probe.text_path != NULL || c->options.probe.ids_path != NULL))
        return qk_fail(err, QK_USAGE, "--probe and --ids need --ranges, which runs the models");
    QK_TRY(qk_arguments_number(arguments, "length", 1, QK_PROBE_MOST, 0, &length, err));
    c->options.probe.length = (size_t)length;
    QK_TRY(read_metric(arguments, c, err));
    QK_TRY(qk_arguments_number(arguments, "passes", 1, ALL, HALF, &part, err));
    c->part = part / (double)ALL;
    QK_TRY(qk_arguments_threads(arguments, &c->options.threads, err));
    QK_TRY(qk_arguments_memory(arguments, &c->options.probe.memory, err));
    if (layers == NULL)
        return QK_OK;
    QK_TRY(qk_spec_parse_selector(layers, &c->layers, err));
    c->options.layers = &c->layers;
    if (c->layers.selector == QK_SELECT_TEST || c->layers.selector == QK_SELECT_HEADS)
        return qk_fail(err, QK_USAGE,
            "--layers: a test has another answer at each checkpoint (found '%s', expected a list or a kind)",
            layers);
    return QK_OK;
}

static enum qk_code print_report(
    const struct qk_arguments *arguments, const struct command *c, struct qk_error *err)
{
    const struct qk_track_report report = {.track = &c->track,
        .metric = c->metric,
        .role = c->role,
        .part = c->part,
        .heads = qk_arguments_has(arguments, "heads"),
        .ascii = qk_arguments_has(arguments, "ascii")};
    if (qk_arguments_has(arguments, "json"))
        return qk_track_json(&report, err);
    if (qk_arguments_has(arguments, "csv"))
        qk_track_csv(&report);
    else
        qk_track_table(&report);
    return QK_OK;
}

/* Looks for new checkpoints until a signal ends the program, or its reader is gone. One that cannot be read is perhaps
 * still being written, which is reported once. */
static enum qk_code follow(const struct qk_arguments *arguments, struct command *c, struct qk_error *err)
{
    enum { SECONDS = 5 };
    size_t n = c->track.n;
    struct qk_error before = {0};
    while (!ferror(stdout)) {
        struct qk_error now = {0};
        QK_TRY(qk_print_end(err));
        sleep(SECONDS);
        qk_track_free(&c->track);
        QK_TRY(qk_track_find(arguments, &c->track, err));
        if (c->track.n == n)
            continue;
        enum qk_code code = qk_track_compute(&c->track, &c->options, &now);
        if (code == QK_CANCELLED)
            return qk_fail(err, code, "%s", now.text);
        if (code == QK_OK) {
            n = c->track.n;
            qk_print("\n");
            QK_TRY(print_report(arguments, c, err));
        } else if (strcmp(now.text, before.text) != 0) {
            qk_print_note("%s; looking again", now.text);
            before = now;
        }
    }
    return QK_OK;
}

static enum qk_code run(const struct qk_arguments *arguments, struct command *c, struct qk_error *err)
{
    QK_TRY(read_options(arguments, c, err));
    QK_TRY(qk_inputs_remote(arguments, err));
    QK_TRY(qk_track_find(arguments, &c->track, err));
    QK_TRY(qk_track_compute(&c->track, &c->options, err));
    QK_TRY(print_report(arguments, c, err));
    return qk_arguments_has(arguments, "follow") ? follow(arguments, c, err) : QK_OK;
}

static enum qk_code run_track(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct command c = {0};
    enum qk_code code = run(arguments, &c, err);
    qk_track_free(&c.track);
    qk_spec_free(&c.layers);
    return code;
}

static const struct qk_option_info *const OPTIONS[] = {
    QK_OPTION("metric", 'm', "NUMBER",
        "the number of the table: rel_fro, cosine, norm_ratio, angle or angle_max (each also as q.NUMBER or "
        "k.NUMBER), routing, and with --ranges shift, mean or long; routing without it, and shift with --ranges"),
    QK_OPTION("ranges", 0, NULL, "run PRE and every POST over a text, for shift and reach"),
    QK_OPTION("probe", 'p', "FILE", "of --ranges: a UTF-8 text; a built-in document without it"),
    QK_OPTION("ids", 0, "FILE", "of --ranges: token ids instead of a text"),
    QK_OPTION(
        "length", 'n', "N", "of --ranges: cut the text to N tokens; 512 of the built-in text without it"),
    QK_OPTION("passes", 0, "PERCENT",
        "name the first step that has gone so much of the way from PRE to the last checkpoint; 50 without it"),
    QK_OPTION("effective", 'e', NULL, "multiply the gains of q/k norms into the rows first"),
    QK_OPTION("follow", 0, NULL, "stay, and print anew when a folder has another checkpoint"),
    &qk_option_layers,
    &qk_option_heads,
    &qk_option_no_cache,
    &qk_option_json,
    &qk_option_csv,
    &qk_option_ascii,
    &qk_option_memory,
    &qk_option_threads,
    &qk_option_remote,
    NULL,
};

const struct qk_command qk_track_command = {
    .name = "track",
    .operands = "PRE POST...",
    .summary = "Prints the drift of many checkpoints, or of folders of them, as they go away from PRE",
    .options = OPTIONS,
    .run = run_track,
};
