/* export_draw.c - the drawing of the export: target, options, changes, progress and result. */
#include "ui/views/export_view.h"

#include "ui/format.h"

#include <stdio.h>
#include <string.h>

enum { LABEL = 9, WIDEST_PROGRESS = 54 }; /* "100 %  1.23 GB of 4.56 GB  123 MB/s  1:23:45 left" */

static void draw_label(struct canvas *canvas, int y, int x, const char *label)
{
    draw_text(canvas, y, x, LABEL, ALIGN_LEFT, STYLE_HEADING, label);
}

static void draw_options(const struct app *app, struct canvas *canvas, int y, int x, int width)
{
    const struct export_view *view = app->state[SCREEN_EXPORT];
    const struct {
        const char *name;
        bool on;
    } options[] = {{"L link", view->link}, {"F force", view->force}, {"O patch", view->patch_only},
        {"N norms", qk_session_norms(app->session)}, {"A all", view->everything},
        {"S links", view->follow_links}};
    enum { ROOMY = 82 }; /* all of them, two blanks apart */
    int end = x + width;
    bool tight = width < ROOMY;
    draw_label(canvas, y, x, "options");
    x += LABEL;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        x += draw_format(canvas, y, x, end - x, options[i].on ? STYLE_CHOICE : STYLE_DIM, "%s[%c] %s",
            i == 0  ? ""
            : tight ? " "
                    : "  ",
            options[i].on ? 'x' : ' ', options[i].name);
}

/* The plan of the export, or why it cannot run. */
static void draw_manifest(const struct export_view *view, struct canvas *canvas, struct area area)
{
    char changed[QK_BYTES_TEXT], total[QK_BYTES_TEXT], written[QK_BYTES_TEXT], room[QK_BYTES_TEXT];
    const struct qk_export_manifest *manifest = &view->manifest;
    uint64_t bytes = 0;
    draw_label(canvas, area.y, area.x, "changes");
    area.x += LABEL;
    area.w -= LABEL;
    if (view->of_target) {
        for (size_t i = 0; i < view->n_changes; i++)
            bytes += view->change[i].bytes_changed;
        draw_format(canvas, area.y, area.x, area.w, STYLE_TEXT, "%zu tensor%s: %s", view->n_changes,
            view->n_changes == 1 ? "" : "s", qk_format_bytes(changed, bytes));
        return;
    }
    if (!view->has_manifest) {
        draw_wrapped(canvas, area, STYLE_WARNING, view->refused.text);
        return;
    }
    draw_format(canvas, area.y, area.x, area.w, STYLE_TEXT, "%zu tensor%s in %zu file%s: %s of %s",
        manifest->n_changes, manifest->n_changes == 1 ? "" : "s", manifest->n_shards_changed,
        manifest->n_shards_changed == 1 ? "" : "s", qk_format_bytes(changed, manifest->bytes_changed),
        qk_format_bytes(total, manifest->bytes_total));
    draw_label(canvas, area.y + 1, area.x - LABEL, "writes");
    draw_format(canvas, area.y + 1, area.x, area.w, STYLE_TEXT, "%s in %zu files, %s free%s",
        qk_format_bytes(written, manifest->bytes_written), manifest->n_files,
        qk_format_bytes(room, manifest->bytes_free),
        manifest->target_exists ? "; replaces what is there" : "");
}

/* A rate is meaningful only after a while. */
static bool rate_known(const struct qk_task *task)
{
    return task->seconds >= 1 && task->done > task->total / 200;
}

static void draw_progress(const struct app *app, struct canvas *canvas, int y, int x, int width)
{
    const struct qk_task *task = qk_session_task(app->session);
    char done[QK_BYTES_TEXT], total[QK_BYTES_TEXT], rate[QK_BYTES_TEXT], left[NUMBER_TEXT];
    double part = task->total > 0 ? (double)task->done / (double)task->total : 0;
    int bar = width - LABEL - WIDEST_PROGRESS;
    bar = bar > width / 3 ? width / 3 : bar < 8 ? 8 : bar;
    draw_label(canvas, y, x, task->kind == QK_TASK_EXPORT ? "export" : "verify");
    draw_bar(canvas, y, x + LABEL, bar, STYLE_ROUTING, part, 1);
    x += LABEL + bar + 1;
    width -= LABEL + bar + 1;
    int used = draw_format(canvas, y, x, width, STYLE_TEXT, "%d %%  %s of %s", (int)(100 * part),
        qk_format_bytes(done, task->done), qk_format_bytes(total, task->total));
    if (!rate_known(task))
        return;
    double speed = (double)task->done / task->seconds;
    uint64_t rest = task->total > task->done ? task->total - task->done : 0;
    char text[64];
    snprintf(text, sizeof text, "  %s/s  %s left", qk_format_bytes(rate, (uint64_t)speed),
        format_seconds(left, (double)rest / speed));
    const char *shown = text_cells(canvas, text) <= width - used ? text : strrchr(text, '/') + 2;
    draw_run(canvas, y, x + used, width - used, STYLE_TEXT, shown);
}

/* The possible keys, or the result of the last task. */
static enum style outcome_text(const struct app *app, char out[QK_ERROR_TEXT])
{
    const struct qk_task *task = qk_session_task(app->session);
    const struct export_view *view = app->state[SCREEN_EXPORT];
    bool export = task->kind == QK_TASK_EXPORT;
    struct qk_text text = {0};
    enum style style = STYLE_GOOD;
    if (!view->shows_task) {
        style = STYLE_DIM;
        qk_text_add(&text, "%s",
            view->has_manifest ? "w writes it, q goes back"
            : view->exported   ? "t names another, F replaces it, v verifies it"
                               : "t names another");
    } else if (task->error.code == QK_CANCELLED) {
        style = STYLE_WARNING;
        qk_text_add(
            &text, export ? "stopped, nothing was written: w starts again" : "stopped: v starts again");
    } else if (task->error.code == QK_DIFFERS) {
        style = STYLE_ERROR;
        qk_text_add(&text, "%zu difference%s from what its recipe says: %s", task->differences.n,
            task->differences.n == 1 ? "" : "s", task->target);
    } else if (task->error.code != QK_OK) {
        style = STYLE_ERROR;
        qk_text_add(&text, "%s", task->error.text);
    } else {
        qk_text_add(&text,
            export ? "written to %s; v reads it again and compares"
                   : "%s is what its recipe says, byte for byte",
            task->target);
        if (!export)
            qk_text_add(&text, "; %s", view->against);
        if (!export && strncmp(view->against, "but", 3) == 0)
            style = STYLE_WARNING;
    }
    snprintf(out, QK_ERROR_TEXT, "%s", text.s != NULL ? text.s : "");
    qk_text_free(&text);
    return style;
}

static void draw_outcome(const struct app *app, struct canvas *canvas, struct area area)
{
    const struct export_view *view = app->state[SCREEN_EXPORT];
    char text[QK_ERROR_TEXT];
    enum style style = outcome_text(app, text);
    draw_label(canvas, area.y, area.x,
        !view->shows_task                                       ? (view->has_manifest ? "ready" : "not yet")
        : qk_session_task(app->session)->kind == QK_TASK_EXPORT ? "export"
                                                                : "verify");
    draw_wrapped(canvas, (struct area){area.y, area.x + LABEL, area.h, area.w - LABEL}, style, text);
}

/* What is left out, or copied though it is of no model. */
static void add_side_files(struct export_view *view, const struct canvas *canvas)
{
    static const char *const what[QK_SIDE_KINDS] = {
        [QK_SIDE_STATE] = "left out: ", [QK_SIDE_HIDDEN] = "hidden: ", [QK_SIDE_OTHER] = "not of a model: "};
    for (size_t i = 0; view->has_manifest && i < view->manifest.files.n_sides; i++) {
        const struct qk_side_file *side = &view->manifest.files.side[i];
        char bytes[QK_BYTES_TEXT], shown[QK_ERROR_TEXT], line[QK_ERROR_TEXT + 32], right[64];
        snprintf(line, sizeof line, "%s%s", what[side->kind], qk_printable(shown, sizeof shown, side->name));
        snprintf(right, sizeof right, "%16s", qk_format_bytes(bytes, side->bytes));
        page_add(
            &view->changes, canvas, side->kind == QK_SIDE_STATE ? STYLE_DIM : STYLE_WARNING, line, right);
    }
}

/* The tensors that change, or the differences that a verification found. */
static void make_changes(struct app *app, const struct canvas *canvas, int width)
{
    struct export_view *view = app->state[SCREEN_EXPORT];
    const struct qk_task *task = qk_session_task(app->session);
    int name = width - 24;
    view->stale = false;
    if (view->shows_task && !task->running && task->error.code == QK_DIFFERS) {
        page_begin(&view->changes, 0, width);
        for (size_t i = 0; i < task->differences.n; i++)
            page_add(&view->changes, canvas, STYLE_ERROR, "", task->differences.line[i]);
        return;
    }
    page_begin(&view->changes, name, width);
    add_side_files(view, canvas);
    const struct qk_change *changes = view->of_target ? view->change : view->manifest.change;
    size_t n = view->of_target ? view->n_changes : view->manifest.n_changes;
    for (size_t i = 0; i < n; i++) {
        const struct qk_change *change = &changes[i];
        char bytes[QK_BYTES_TEXT], layer[16] = "-", right[64];
        if (change->layer >= 0)
            snprintf(layer, sizeof layer, "%d", change->layer);
        snprintf(right, sizeof right, "%3s %-2s %9s", layer, change->roles,
            qk_format_bytes(bytes, change->bytes_changed));
        page_add(&view->changes, canvas, STYLE_TEXT, change->tensor->name, right);
    }
}

void place_export(struct app *app, const struct canvas *canvas, struct area area)
{
    enum { MOST = 3 }; /* rows of the refusal, of the result */
    struct export_view *view = app->state[SCREEN_EXPORT];
    char outcome[QK_ERROR_TEXT];
    int x = area.x + 1, width = area.w - 2, y = area.y + 1, rows = 1;
    if (view->of_target)
        rows += wrapped_rows(canvas, view->refused.text, width - LABEL, MOST);
    view->target_area = (struct area){y, x, rows, width};
    y += rows + 1; /* and the options */
    rows = view->of_target ? 1 : 2;
    if (!view->has_manifest && !view->of_target)
        rows = wrapped_rows(canvas, view->refused.text, width - LABEL, MOST);
    view->manifest_area = (struct area){y, x, rows, width};
    y += rows;
    outcome_text(app, outcome);
    rows = qk_session_task(app->session)->running ? 1 : wrapped_rows(canvas, outcome, width - LABEL, MOST);
    view->task_area = (struct area){y, x, rows, width};
    y += rows + 1;
    if (view->stale || view->changes.width != width)
        make_changes(app, canvas, width);
    page_place(&view->changes, (struct area){y, x, area.y + area.h - y, width});
}

static const char *heading_of(const struct export_view *view)
{
    return view->has_manifest && view->manifest.files.n_sides > 0
               ? "side files to know of, and tensors that change (layer, role, bytes)"
               : "tensors that change (layer, role, bytes)";
}

void draw_export(const struct app *app, struct canvas *canvas, struct area area)
{
    const struct export_view *view = app->state[SCREEN_EXPORT];
    struct area target = view->target_area;
    int x = target.x, width = target.w;
    draw_rule(canvas, area.y, area.x, area.w, STYLE_HEADING, "export: post with the choices applied");
    draw_label(canvas, target.y, x, "target");
    draw_text(canvas, target.y, x + LABEL, width - LABEL, ALIGN_TAIL, STYLE_STRONG, view->target);
    if (view->of_target)
        draw_wrapped(canvas, (struct area){target.y + 1, x + LABEL, target.h - 1, width - LABEL},
            STYLE_WARNING, view->refused.text);
    draw_options(app, canvas, target.y + target.h, x, width);
    draw_manifest(view, canvas, view->manifest_area);
    if (qk_session_task(app->session)->running)
        draw_progress(app, canvas, view->task_area.y, x, width);
    else
        draw_outcome(app, canvas, view->task_area);
    draw_rule(canvas, view->changes.area.y - 1, area.x, area.w, STYLE_HEADING,
        view->changes.left_width == 0 ? "what differs" : heading_of(view));
    page_draw(&view->changes, canvas);
}
