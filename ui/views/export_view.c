/* export_view.c - the export view: where to, how, what will change, progress, and verification afterwards. */
#include "ui/app.h"

#include "base/atomic_file.h"
#include "base/left_over.h"
#include "export/recipe.h"
#include "ui/format.h"
#include "ui/handlers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LABEL = 9, WIDEST_PROGRESS = 54 }; /* "100 %  1.23 GB of 4.56 GB  123 MB/s  1:23:45 left" */

/* --- state --- */

/* The length of a name of n bytes without what says that it is a file of weights. */
static size_t without_ending(const char *name, size_t n)
{
    static const char *const endings[] = {
        ".safetensors.index.json", ".bin.index.json", ".safetensors", ".bin", ".pth", ".pt"};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t ending = strlen(endings[i]);
        if (n > ending && strncmp(name + n - ending, endings[i], ending) == 0)
            return n - ending;
    }
    return n;
}

/* "NAME-qkscope" in the current folder, NAME being post's last part, without a file's ending. */
static enum qk_code default_target(const char *post, char **out, struct qk_error *err)
{
    char *whole = realpath(post, NULL);
    const char *path = whole != NULL ? whole : post;
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t start = n;
    while (start > 0 && path[start - 1] != '/')
        start--;
    n = start + without_ending(path + start, n - start);
    struct qk_text text = {0};
    qk_text_add(&text, "%.*s-qkscope", (int)(n - start), path + start);
    enum qk_code code = qk_text_take(&text, out, err);
    free(whole);
    return code;
}

enum qk_code export_init(struct app *app, struct qk_error *err)
{
    app->export.told = true;
    return default_target(app->path[QK_POST], &app->export.target, err);
}

static void forget_manifest(struct export_view *view)
{
    if (view->has_manifest)
        qk_export_manifest_free(&view->manifest);
    memset(&view->manifest, 0, sizeof view->manifest);
    memset(&view->refused, 0, sizeof view->refused);
    view->has_manifest = false;
    view->stale = true;
}

void export_free(struct app *app)
{
    forget_manifest(&app->export);
    page_free(&app->export.changes);
    free(app->export.target);
}

static struct qk_export_options options_of(const struct app *app)
{
    const struct export_view *view = &app->export;
    return (struct qk_export_options){.target = view->target,
        .force = view->force,
        .link = view->link,
        .patch_only = view->patch_only,
        .norms = qk_session_norms(app->session)};
}

static bool holds_export(const char *folder)
{
    char *recipe;
    if (qk_path_join(folder, QK_RECIPE_NAME, &recipe, NULL) != QK_OK)
        return false;
    bool there = access(recipe, F_OK) == 0;
    free(recipe);
    return there;
}

void export_manifest(struct app *app)
{
    struct export_view *view = &app->export;
    forget_manifest(view);
    view->exported = holds_export(view->target);
    struct qk_export_options options = options_of(app);
    view->has_manifest =
        qk_session_manifest(app->session, &options, &view->manifest, &view->refused) == QK_OK;
}

void export_tell(struct app *app)
{
    const struct qk_task *task = qk_session_task(app->session);
    char seconds[NUMBER_TEXT];
    if (app->export.told || task->running)
        return;
    app->export.told = true;
    app->export.stale = true;
    app->export.exported = holds_export(app->export.target);
    const char *what = task->kind == QK_TASK_EXPORT ? "export" : "verification";
    if (task->error.code == QK_CANCELLED)
        say(app, STYLE_WARNING, "%s stopped%s", what,
            task->kind == QK_TASK_EXPORT ? ": nothing was written" : "");
    else if (task->error.code != QK_OK)
        say(app, STYLE_ERROR, "%s", task->error.text);
    else if (task->kind == QK_TASK_EXPORT)
        say(app, STYLE_GOOD, "written in %s: %s", format_seconds(seconds, task->seconds), task->target);
    else
        say(app, STYLE_GOOD, "verified in %s, every byte as the recipe says: %s",
            format_seconds(seconds, task->seconds), task->target);
}

/* --- drawing --- */

static void draw_label(struct canvas *canvas, int y, int x, const char *label)
{
    draw_text(canvas, y, x, LABEL, ALIGN_LEFT, STYLE_HEADING, label);
}

static void draw_options(const struct app *app, struct canvas *canvas, int y, int x, int width)
{
    const struct export_view *view = &app->export;
    const struct {
        const char *name;
        bool on;
    } options[] = {{"L link", view->link}, {"F force", view->force}, {"O patch", view->patch_only},
        {"N norms", qk_session_norms(app->session)}};
    int end = x + width;
    draw_label(canvas, y, x, "options");
    x += LABEL;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        x += draw_format(canvas, y, x, end - x, options[i].on ? STYLE_CHOICE : STYLE_DIM, "%s[%c] %s",
            i > 0 ? "  " : "", options[i].on ? 'x' : ' ', options[i].name);
}

/* What would be written, or why nothing can be. */
static void draw_manifest(const struct export_view *view, struct canvas *canvas, struct area area)
{
    char changed[QK_BYTES_TEXT], total[QK_BYTES_TEXT], written[QK_BYTES_TEXT], room[QK_BYTES_TEXT];
    const struct qk_export_manifest *manifest = &view->manifest;
    draw_label(canvas, area.y, area.x, "changes");
    area.x += LABEL;
    area.w -= LABEL;
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

/* A rate needs a while before it says anything. */
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

/* What can be done, or what became of the last task. */
static enum style outcome_text(const struct app *app, char out[QK_ERROR_TEXT])
{
    const struct qk_task *task = qk_session_task(app->session);
    const struct export_view *view = &app->export;
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
    }
    qk_printable(out, QK_ERROR_TEXT, text.s != NULL ? text.s : "");
    qk_text_free(&text);
    return style;
}

static void draw_outcome(const struct app *app, struct canvas *canvas, struct area area)
{
    const struct export_view *view = &app->export;
    char text[QK_ERROR_TEXT];
    enum style style = outcome_text(app, text);
    draw_label(canvas, area.y, area.x,
        !view->shows_task                                       ? (view->has_manifest ? "ready" : "not yet")
        : qk_session_task(app->session)->kind == QK_TASK_EXPORT ? "export"
                                                                : "verify");
    draw_wrapped(canvas, (struct area){area.y, area.x + LABEL, area.h, area.w - LABEL}, style, text);
}

/* The tensors that will change, or the differences that a verification found. */
static void make_changes(struct app *app, const struct canvas *canvas, int width)
{
    struct export_view *view = &app->export;
    const struct qk_task *task = qk_session_task(app->session);
    int name = width - 24;
    char shown[QK_ERROR_TEXT];
    view->stale = false;
    if (view->shows_task && !task->running && task->error.code == QK_DIFFERS) {
        page_begin(&view->changes, 0, width);
        for (size_t i = 0; i < task->differences.n; i++)
            page_add(&view->changes, canvas, STYLE_ERROR, "",
                qk_printable(shown, sizeof shown, task->differences.line[i]));
        return;
    }
    page_begin(&view->changes, name, width);
    for (size_t i = 0; view->has_manifest && i < view->manifest.n_changes; i++) {
        const struct qk_change *change = &view->manifest.change[i];
        char bytes[QK_BYTES_TEXT], layer[16] = "-", right[64];
        if (change->layer >= 0)
            snprintf(layer, sizeof layer, "%d", change->layer);
        snprintf(right, sizeof right, "%3s %-2s %9s", layer, change->roles,
            qk_format_bytes(bytes, change->bytes_changed));
        page_add(&view->changes, canvas, STYLE_TEXT, qk_printable(shown, sizeof shown, change->tensor->name),
            right);
    }
}

static void place_export(struct app *app, const struct canvas *canvas, struct area area)
{
    enum { ABOVE = 3, MOST = 3 }; /* rule, target, options; rows of the plan, of the outcome */
    struct export_view *view = &app->export;
    char outcome[QK_ERROR_TEXT];
    int x = area.x + 1, width = area.w - 2, y = area.y + ABOVE, rows = 2;
    if (!view->has_manifest)
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

static void draw_export(const struct app *app, struct canvas *canvas, struct area area)
{
    const struct export_view *view = &app->export;
    char target[QK_ERROR_TEXT];
    int x = area.x + 1, width = area.w - 2, y = area.y;
    draw_rule(canvas, y++, area.x, area.w, STYLE_HEADING, "export: post with the choices applied");
    draw_label(canvas, y, x, "target");
    draw_text(canvas, y++, x + LABEL, width - LABEL, ALIGN_TAIL, STYLE_STRONG,
        qk_printable(target, sizeof target, view->target));
    draw_options(app, canvas, y, x, width);
    draw_manifest(view, canvas, view->manifest_area);
    if (qk_session_task(app->session)->running)
        draw_progress(app, canvas, view->task_area.y, x, width);
    else
        draw_outcome(app, canvas, view->task_area);
    draw_rule(canvas, view->changes.area.y - 1, area.x, area.w, STYLE_HEADING,
        view->changes.left_width == 0 ? "what differs" : "tensors that change (layer, role, bytes)");
    page_draw(&view->changes, canvas);
}

static void move_changes(struct app *app, enum action action)
{
    page_move(&app->export.changes, action);
}

const struct screen_ops export_screen = {
    .where = ON_EXPORT,
    .place = place_export,
    .draw = draw_export,
    .go = move_changes,
};

/* --- handlers --- */

static unsigned set_target(struct app *app, const char *target)
{
    char *copy = typed_path(target);
    if (copy == NULL)
        return say_failure(app, "out of memory");
    free(app->export.target);
    app->export.target = copy;
    app->export.shows_task = false;
    export_manifest(app);
    return REFRESH_DRAW;
}

/* What killed exports left beside the target, of other names than its own. */
static unsigned remove_left_overs(struct app *app)
{
    struct qk_left_overs left;
    struct qk_error err = {0};
    char *parent, *name, bytes[QK_BYTES_TEXT];
    if (qk_split_path(app->export.target, &parent, &name, &err) != QK_OK)
        return say_error(app, &err);
    enum qk_code code = qk_left_overs_beside(app->export.target, &left, &err);
    for (size_t i = 0; i < left.n && code == QK_OK; i++)
        code = qk_left_over_remove(parent, left.entry[i].name, &err);
    if (code == QK_OK)
        say(app, STYLE_GOOD, "removed: %s", qk_format_bytes(bytes, qk_left_overs_bytes(&left)));
    qk_left_overs_free(&left);
    free(parent);
    free(name);
    export_manifest(app); /* there is more room now */
    return code == QK_OK ? REFRESH_DRAW : say_error(app, &err);
}

static void offer_to_clean(struct app *app)
{
    struct qk_left_overs left;
    char bytes[QK_BYTES_TEXT];
    if (app->export.offered || qk_left_overs_beside(app->export.target, &left, NULL) != QK_OK)
        return;
    if (left.n > 0) {
        app->export.offered = true;
        ask(app, remove_left_overs, "%zu left-over%s of killed exports beside it, %s: remove?", left.n,
            left.n == 1 ? "" : "s", qk_format_bytes(bytes, qk_left_overs_bytes(&left)));
    }
    qk_left_overs_free(&left);
}

unsigned run_export(struct app *app, enum action action, const char *argument)
{
    (void)action;
    open_screen(app, &export_screen);
    if (argument != NULL && argument[0] != '\0')
        return set_target(app, argument);
    if (qk_session_unsaved(app->session))
        app->export.shows_task = false; /* of choices that have changed since */
    export_manifest(app);
    offer_to_clean(app);
    return REFRESH_DRAW;
}

unsigned run_target(struct app *app, enum action action, const char *argument)
{
    if (argument == NULL)
        return ask_argument(
            app, action, "export to ", app->export.target, "a folder that will be made; Tab completes");
    if (argument[0] == '\0')
        return say_failure(app, "a folder is needed");
    return set_target(app, argument);
}

unsigned run_export_option(struct app *app, enum action action, const char *argument)
{
    (void)argument;
    struct export_view *view = &app->export;
    bool *option = action == ACTION_EXPORT_LINK    ? &view->link
                   : action == ACTION_EXPORT_FORCE ? &view->force
                                                   : &view->patch_only;
    if (action == ACTION_EXPORT_NORMS)
        qk_session_set_norms(app->session, !qk_session_norms(app->session));
    else
        *option = !*option;
    view->shows_task = false;
    export_manifest(app);
    return REFRESH_DRAW;
}

/* What the view shows after a task was started, or was not. */
static unsigned started(struct app *app, enum qk_code code, const struct qk_error *err)
{
    struct export_view *view = &app->export;
    view->shows_task = code == QK_OK;
    view->stale = true;
    if (code != QK_OK)
        return say_error(app, err);
    view->told = false;
    return REFRESH_DRAW;
}

static unsigned start_export(struct app *app)
{
    struct qk_error err = {0};
    struct qk_export_options options = options_of(app);
    return started(app, qk_session_export(app->session, &options, &err), &err);
}

unsigned run_write(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    export_manifest(app); /* the folder may have come or gone since it was asked */
    if (!app->export.has_manifest)
        return say_error(app, &app->export.refused);
    if (!app->export.manifest.target_exists)
        return start_export(app);
    ask(app, start_export, "replace %s?", app->export.target);
    return REFRESH_DRAW;
}

unsigned run_verify(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    struct qk_error err = {0};
    return started(app, qk_session_verify(app->session, app->export.target, &err), &err);
}

unsigned run_cancel(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    qk_session_cancel(app->session);
    say(app, STYLE_WARNING, "stopping");
    return REFRESH_DRAW;
}
