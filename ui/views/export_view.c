/* export_view.c - the export: target, options and manifest, and the tasks. */
#include "ui/views/export_view.h"

#include "base/atomic_file.h"
#include "base/left_over.h"
#include "blend/change.h"
#include "export/recipe.h"
#include "ui/complete.h"
#include "ui/dispatch.h"
#include "ui/format.h"
#include "ui/handlers.h"
#include "ui/message.h"
#include "ui/preconditions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- state --- */

/* The length of a name of n bytes without the ending of a file of weights. */
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

/* "NAME-qkscope" in the current folder, where NAME is post's last part without a file's ending. */
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

static enum qk_code start_view(struct app *app, struct qk_error *err)
{
    struct export_view *view = app->state[SCREEN_EXPORT];
    view->reported = true;
    return default_target(app->path[QK_POST], &view->target, err);
}

static void forget_manifest(struct export_view *view)
{
    if (view->has_manifest)
        qk_export_manifest_free(&view->manifest);
    memset(&view->manifest, 0, sizeof view->manifest);
    free(view->change);
    view->change = NULL;
    view->n_changes = 0;
    view->of_target = false;
    memset(&view->refused, 0, sizeof view->refused);
    view->has_manifest = false;
    view->stale = true;
}

static struct qk_export_options options_of(const struct app *app)
{
    const struct export_view *view = app->state[SCREEN_EXPORT];
    return (struct qk_export_options){.target = view->target,
        .force = view->force,
        .link = view->link,
        .patch_only = view->patch_only,
        .norms = qk_session_norms(app->session),
        .files = {.everything = view->everything, .follow_links = view->follow_links}};
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

static void make_manifest(struct app *app)
{
    struct export_view *view = app->state[SCREEN_EXPORT];
    forget_manifest(view);
    view->exported = holds_export(view->target);
    struct qk_export_options options = options_of(app);
    view->has_manifest =
        qk_session_manifest(app->session, &options, &view->manifest, &view->refused) == QK_OK;
    /* What would change does not depend on the target. */
    view->of_target =
        !view->has_manifest && qk_changes_find(app->pair, qk_session_selection(app->session), options.norms,
                                   false, &view->change, &view->n_changes, NULL) == QK_OK;
}

/* --- names --- */

static bool is_there(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

/* Gives the target a number, or the next one, until nothing of that name is there: "NAME-2". */
static void take_free_name(struct export_view *view)
{
    enum { MOST = 1000 };
    size_t n = strlen(view->target);
    while (n > 1 && view->target[n - 1] == '/')
        n--;
    size_t digits = n;
    while (digits > 0 && view->target[digits - 1] >= '0' && view->target[digits - 1] <= '9')
        digits--;
    bool numbered = digits < n && n - digits < 4 && digits > 1 && view->target[digits - 1] == '-';
    int number = numbered ? atoi(view->target + digits) : 1;
    size_t base = numbered ? digits - 1 : n;
    for (int i = 1; i < MOST && is_there(view->target); i++) {
        struct qk_text text = {0};
        char *next;
        qk_text_add(&text, "%.*s-%d", (int)base, view->target, number + i);
        if (qk_text_take(&text, &next, NULL) != QK_OK)
            return;
        free(view->target);
        view->target = next;
    }
}

/* --- the last task --- */

/* Says how the choices of a verified export compare with those on the screen. */
static void compare_choices(struct app *app, const char *folder)
{
    struct export_view *view = app->state[SCREEN_EXPORT];
    const struct qk_selection *now = qk_session_selection(app->session);
    struct qk_recipe recipe = {0};
    struct qk_selection of = {0};
    struct qk_text text = {0};
    char *path = NULL;
    int n = 0;
    snprintf(view->against, sizeof view->against, "its choices cannot be compared with those on the screen");
    if (qk_path_join(folder, QK_RECIPE_NAME, &path, NULL) == QK_OK &&
        qk_recipe_read(path, &recipe, NULL) == QK_OK &&
        qk_recipe_replay(&recipe, app->pair, false, &of, NULL) == QK_OK) {
        for (int i = 0; i < now->n_layers; i++)
            if (!qk_layer_choice_equal(&of.choice[i], &now->choice[i]))
                qk_text_add(&text, "%s%d", n++ > 0 ? ", " : "", i);
        if (n == 0 && recipe.norms != qk_session_norms(app->session) && qk_selection_count(now) > 0)
            snprintf(view->against, sizeof view->against, "but the screen has other norms");
        else if (n == 0)
            snprintf(view->against, sizeof view->against, "its choices are those on the screen");
        else
            snprintf(view->against, sizeof view->against,
                "but the screen has other choices for layer%s %.200s", n == 1 ? "" : "s",
                text.s != NULL ? text.s : "");
        qk_selection_free(&of);
    }
    qk_text_free(&text);
    qk_recipe_free(&recipe);
    free(path);
}

static void report_task(struct app *app)
{
    struct export_view *view = app->state[SCREEN_EXPORT];
    const struct qk_task *task = qk_session_task(app->session);
    char seconds[NUMBER_TEXT];
    if (view->reported || task->running)
        return;
    view->reported = true;
    view->stale = true;
    view->exported = holds_export(view->target);
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
    if (task->error.code == QK_OK && task->kind == QK_TASK_VERIFY)
        compare_choices(app, task->target);
}

static void move_changes(struct app *app, enum action action)
{
    struct export_view *view = app->state[SCREEN_EXPORT];
    page_move(&view->changes, action);
}

static void end_view(void *state)
{
    struct export_view *view = state;
    forget_manifest(view);
    page_free(&view->changes);
    free(view->target);
}

const struct screen_ops export_screen = {
    .state_size = sizeof(struct export_view),
    .start = start_view,
    .open = make_manifest,
    .place = place_export,
    .draw = draw_export,
    .go = move_changes,
    .report = report_task,
    .end = end_view,
};

/* --- preconditions --- */

bool export_has_manifest(const struct app *app)
{
    const struct export_view *view = app->state[SCREEN_EXPORT];
    return view->has_manifest;
}

const char *why_no_export(const struct app *app)
{
    const struct export_view *view = app->state[SCREEN_EXPORT];
    return view->refused.text;
}

bool target_holds_export(const struct app *app)
{
    const struct export_view *view = app->state[SCREEN_EXPORT];
    return view->exported;
}

/* --- handlers --- */

static unsigned set_target(struct app *app, const char *target)
{
    struct export_view *view = app->state[SCREEN_EXPORT];
    char *copy = typed_path(target);
    if (copy == NULL)
        return say_failure(app, "out of memory");
    free(view->target);
    view->target = copy;
    view->shows_task = false;
    return REFRESH_DRAW;
}

/* The left-overs of killed exports beside the target, except those of its own name. */
static unsigned remove_left_overs(struct app *app)
{
    const struct export_view *view = app->state[SCREEN_EXPORT];
    struct qk_left_overs left;
    struct qk_error err = {0};
    char *parent, *name, bytes[QK_BYTES_TEXT];
    if (qk_split_path(view->target, &parent, &name, &err) != QK_OK)
        return say_error(app, &err);
    enum qk_code code = qk_left_overs_beside(view->target, &left, &err);
    for (size_t i = 0; i < left.n && code == QK_OK; i++)
        code = qk_left_over_remove(parent, left.entry[i].name, &err);
    if (code == QK_OK)
        say(app, STYLE_GOOD, "removed: %s", qk_format_bytes(bytes, qk_left_overs_bytes(&left)));
    qk_left_overs_free(&left);
    free(parent);
    free(name);
    make_manifest(app); /* the disk has more room now */
    return code == QK_OK ? REFRESH_DRAW : say_error(app, &err);
}

static void offer_to_clean(struct app *app)
{
    struct export_view *view = app->state[SCREEN_EXPORT];
    struct qk_left_overs left;
    char bytes[QK_BYTES_TEXT];
    if (view->offered || qk_left_overs_beside(view->target, &left, NULL) != QK_OK)
        return;
    if (left.n > 0) {
        view->offered = true;
        ask(app, remove_left_overs, "%zu left-over%s of killed exports beside it, %s: remove?", left.n,
            left.n == 1 ? "" : "s", qk_format_bytes(bytes, qk_left_overs_bytes(&left)));
    }
    qk_left_overs_free(&left);
}

unsigned run_export(struct app *app, enum action action, const char *argument)
{
    struct export_view *view = app->state[SCREEN_EXPORT];
    bool named = argument != NULL && argument[0] != '\0';
    (void)action;
    unsigned refresh = named ? set_target(app, argument) : REFRESH_DRAW;
    if (qk_session_unsaved(app->session)) {
        view->shows_task = false; /* it was of earlier choices */
        if (!named && !view->force && !qk_session_task(app->session)->running)
            take_free_name(view);
    }
    open_screen(app, SCREEN_EXPORT);
    if (!named)
        offer_to_clean(app);
    return refresh;
}

unsigned run_target(struct app *app, enum action action, const char *argument)
{
    const struct export_view *view = app->state[SCREEN_EXPORT];
    if (argument == NULL)
        return ask_argument(
            app, action, "export to ", view->target, "a folder that will be made; Tab completes");
    if (argument[0] == '\0')
        return say_failure(app, "a folder is needed");
    unsigned refresh = set_target(app, argument);
    make_manifest(app);
    return refresh;
}

unsigned run_export_option(struct app *app, enum action action, const char *argument)
{
    (void)argument;
    struct export_view *view = app->state[SCREEN_EXPORT];
    const struct {
        enum action action;
        bool *option;
    } options[] = {{ACTION_EXPORT_LINK, &view->link}, {ACTION_EXPORT_FORCE, &view->force},
        {ACTION_EXPORT_PATCH, &view->patch_only}, {ACTION_EXPORT_EVERYTHING, &view->everything},
        {ACTION_EXPORT_LINKS, &view->follow_links}};
    if (action == ACTION_EXPORT_NORMS)
        qk_session_set_norms(app->session, !qk_session_norms(app->session));
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (options[i].action == action)
            *options[i].option = !*options[i].option;
    view->shows_task = false;
    make_manifest(app);
    return REFRESH_DRAW;
}

/* Updates the view after a task started, or failed to start. */
static unsigned started(struct app *app, enum qk_code code, const struct qk_error *err)
{
    struct export_view *view = app->state[SCREEN_EXPORT];
    view->shows_task = code == QK_OK;
    view->stale = true;
    if (code != QK_OK)
        return say_error(app, err);
    view->reported = false;
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
    struct export_view *view = app->state[SCREEN_EXPORT];
    (void)action;
    (void)argument;
    make_manifest(app); /* the folder may have appeared or gone meanwhile */
    if (!view->has_manifest)
        return say_error(app, &view->refused);
    bool nothing =
        qk_selection_count(qk_session_selection(app->session)) == 0 && view->manifest.n_changes == 0;
    if (nothing)
        ask(app, start_export, "nothing is chosen: write post as it is to %s?", view->target);
    else if (view->manifest.target_exists)
        ask(app, start_export, "replace %s?", view->target);
    else
        return start_export(app);
    return REFRESH_DRAW;
}

unsigned run_verify(struct app *app, enum action action, const char *argument)
{
    const struct export_view *view = app->state[SCREEN_EXPORT];
    (void)action;
    (void)argument;
    struct qk_error err = {0};
    return started(app, qk_session_verify(app->session, view->target, &err), &err);
}

unsigned run_cancel(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    qk_session_cancel(app->session);
    say(app, STYLE_WARNING, "stopping");
    return REFRESH_DRAW;
}
