/* engines.c - the reading of the engine's options, and its notes. */
#include "cli/engines.h"

#include "cli/print.h"

#include <stdatomic.h>
#include <stdio.h>

/* --- what it says --- */

static void note(void *context, const char *line)
{
    struct qk_engine_talk *talk = context;
    qk_lines_add(&talk->notes, NULL, "%s", line);
}

static void said(void *context, const char *line)
{
    struct qk_engine_talk *talk = context;
    char *text = talk->line[talk->turn++ % QK_ENGINE_LINES];
    if (talk->meter == NULL)
        return;
    qk_printable(text, QK_ENGINE_LINE, line);
    qk_meter_turn(talk->meter, text);
}

/* "2 hard links, 1 copied" */
static void add_counts(struct qk_text *text, const struct qk_export_written *written)
{
    const struct {
        size_t n;
        const char *what;
    } counts[] = {{written->linked, "hard-linked"}, {written->shared, "with shared blocks"},
        {written->named, "by a symbolic link"}, {written->copied, "copied"}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (counts[i].n > 0)
            qk_text_add(text, ", %zu %s", counts[i].n, counts[i].what);
}

static void wrote(void *context, const char *folder, const struct qk_export_written *written)
{
    struct qk_engine_talk *talk = context;
    struct qk_text text = {0};
    char bytes[QK_BYTES_TEXT];
    size_t all = written->changed + written->linked + written->shared + written->named + written->copied;
    talk->n_written++;
    talk->bytes += written->bytes;
    if (talk->sum)
        return;
    qk_text_add(&text, "%s: %s written for the engine (%zu of %zu shards changed", folder,
        qk_format_bytes(bytes, written->bytes), written->changed, all);
    add_counts(&text, written);
    qk_text_add(&text, ")");
    if (text.s != NULL && !text.failed)
        note(talk, text.s);
    qk_text_free(&text);
}

void qk_engines_print(struct qk_engine_talk *talk)
{
    for (size_t i = 0; i < talk->notes.n; i++)
        qk_print_note("%s", talk->notes.line[i]);
    qk_lines_free(&talk->notes);
}

void qk_engines_print_sum(const struct qk_engine_talk *talk)
{
    char bytes[QK_BYTES_TEXT];
    if (talk->n_written > 0)
        qk_print_note("%zu checkpoint%s written for the engine, %s in all, and removed", talk->n_written,
            talk->n_written == 1 ? "" : "s", qk_format_bytes(bytes, talk->bytes));
}

void qk_engines_free(struct qk_engine_talk *talk)
{
    qk_lines_free(&talk->notes);
}

/* --- options --- */

/* Options, and those of which each needs one. */
static const struct {
    const char *option, *needed, *other; /* other: NULL, or what may stand there instead */
} NEEDS[] = {
    {"tasks", "engine", NULL},
    {"metric", "tasks", NULL},
    {"served", "server", NULL},
    {"reload", "server", NULL},
    {"parallel", "server", NULL},
    {"scratch", "engine", "reload"},
    {"timeout", "engine", "server"},
};

static enum qk_code check_needs(const struct qk_arguments *arguments, struct qk_error *err)
{
    for (size_t i = 0; i < sizeof NEEDS / sizeof NEEDS[0]; i++) {
        const char *other = NEEDS[i].other;
        if (!qk_arguments_has(arguments, NEEDS[i].option) || qk_arguments_has(arguments, NEEDS[i].needed) ||
            (other != NULL && qk_arguments_has(arguments, other)))
            continue;
        return qk_fail(err, QK_USAGE, "--%s: goes with --%s%s%s", NEEDS[i].option, NEEDS[i].needed,
            other != NULL ? " or --" : "", other != NULL ? other : "");
    }
    QK_TRY(qk_arguments_exclude(arguments, "engine", "server", err));
    return qk_arguments_exclude(arguments, "tasks", "cases", err);
}

enum qk_code qk_engines_read(const struct qk_arguments *arguments, struct qk_engine_talk *talk,
    struct qk_engine_options *out, struct qk_error *err)
{
    enum { MOST_SECONDS = 7 * 24 * 3600, MOST_PARALLEL = 1024, USUAL_PARALLEL = 16 };
    int seconds;
    *out = (struct qk_engine_options){.command = qk_arguments_text(arguments, "engine"),
        .tasks = qk_arguments_text(arguments, "tasks"),
        .metric = qk_arguments_text(arguments, "metric"),
        .scratch = qk_arguments_text(arguments, "scratch"),
        .server = qk_arguments_text(arguments, "server"),
        .served = qk_arguments_text(arguments, "served"),
        .reload = qk_arguments_text(arguments, "reload"),
        .note = note,
        .said = said,
        .wrote = wrote,
        .context = talk};
    QK_TRY(check_needs(arguments, err));
    QK_TRY(qk_arguments_number(arguments, "parallel", 1, MOST_PARALLEL, USUAL_PARALLEL, &out->parallel, err));
    QK_TRY(qk_arguments_number(arguments, "timeout", 1, MOST_SECONDS, 0, &seconds, err));
    out->seconds = seconds;
    out->kind = out->server != NULL    ? QK_ENGINE_SERVER
                : out->tasks != NULL   ? QK_ENGINE_TASKS
                : out->command != NULL ? QK_ENGINE_COMMAND
                                       : QK_ENGINE_BUILT_IN;
    return QK_OK;
}
