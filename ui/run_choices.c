/* run_choices.c - handlers of the actions that make choices for layers. */
#include "ui/app.h"

#include "ui/dispatch.h"
#include "ui/format.h"
#include "ui/handlers.h"
#include "ui/message.h"
#include "ui/mode_menu.h"
#include "ui/preconditions.h"
#include "ui/run_heads.h"
#include "ui/screen.h"
#include "ui/views/layers_view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct qk_layer_choice *choices_of(const struct app *app, int layer)
{
    return &qk_session_selection(app->session)->choice[layer];
}

/* The layers with q and k on which keys act; NEEDS_QK guarantees at least one. */
int choice_targets(struct app *app)
{
    int n = rows_targets(&app->rows, app->targets), kept = 0;
    for (int i = 0; i < n; i++)
        if (app->pair->layer[app->targets[i]].has_qk)
            app->targets[kept++] = app->targets[i];
    return kept;
}

/* Reports the choice of n layers, and in a single layer what it made of the other role, which was `other`. */
static unsigned report_choice(
    struct app *app, int n, int role, struct qk_choice choice, struct qk_choice other)
{
    char text[CHOICE_LABEL], where[32], more[CHOICE_LABEL + 8] = "";
    enum qk_role of = role == QK_Q ? QK_K : QK_Q;
    struct qk_choice now = choices_of(app, app->targets[0])->role[of];
    snprintf(where, sizeof where, n == 1 ? "layer %d" : "%d layers", n == 1 ? app->targets[0] : n);
    if (n == 1 && role >= 0 && !qk_choice_equal(now, other))
        snprintf(more, sizeof more, ", %s %s", qk_role_name(of), format_choice(text, now, app->theme.ascii));
    say(app, STYLE_DIM, "%s: %s %s%s", where, role < 0 ? "q and k" : qk_role_name((enum qk_role)role),
        format_choice(text, choice, app->theme.ascii), more);
    return REFRESH_ROWS;
}

/* Sets the choice of the first n of app->targets and reports it. */
static unsigned choose(struct app *app, int n, int role, struct qk_choice choice)
{
    struct qk_error err = {0};
    struct qk_choice other = choices_of(app, app->targets[0])->role[role == QK_Q ? QK_K : QK_Q];
    if (qk_session_choose(app->session, app->targets, n, role, choice, NULL, &err) != QK_OK)
        return say_error(app, &err);
    if (qk_mode_info(choice.mode)->has_param)
        app->last_param[choice.mode] = choice.param;
    if (qk_mode_info(choice.mode)->both_roles)
        role = -1;
    return report_choice(app, n, role, choice, other);
}

/* Where all of it is restored, the key keeps post's again; otherwise it restores the rest. */
static bool all_restored(const struct app *app, int n, int role)
{
    for (int i = 0; i < n; i++)
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            if ((role < 0 || role == r) && choices_of(app, app->targets[i])->role[r].mode != QK_RESTORE)
                return false;
    return true;
}

unsigned run_toggle(struct app *app, enum action action, const char *argument)
{
    (void)argument;
    int role = action == ACTION_RESTORE_Q ? QK_Q : action == ACTION_RESTORE_K ? QK_K : app->role;
    int n = choice_targets(app);
    enum qk_mode mode = all_restored(app, n, role) ? QK_KEEP : QK_RESTORE;
    bool single = app->rows.anchor < 0 && rows_marked(&app->rows) == 0 && top_screen(app) == SCREEN_LIST;
    unsigned refresh = choose(app, n, role, (struct qk_choice){mode, 0});
    if (single && action == ACTION_RESTORE && (refresh & REFRESH_FAILED) == 0 &&
        app->rows.sort != COLUMN_CHOICE)
        rows_select(&app->rows, rows_at(&app->rows) + 1);
    return refresh;
}

unsigned run_keep(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    return choose(app, choice_targets(app), app->role, (struct qk_choice){QK_KEEP, 0});
}

/* --- modes --- */

/* Sets the choice of the selected head where heads have the keys, else of the first n of app->targets. */
static unsigned choose_here(struct app *app, int n, int role, struct qk_choice choice)
{
    return heads_have_keys(app) ? choose_head(app, choice) : choose(app, n, role, choice);
}

static unsigned set_mode(struct app *app, const char *text)
{
    char name[32];
    enum qk_mode mode;
    size_t n = strcspn(text, ": ");
    snprintf(name, sizeof name, "%.*s", (int)n, text);
    if (!qk_mode_parse(name, &mode)) {
        char modes[QK_MODE_LIST];
        return say_failure(
            app, "mode: unknown mode (found '%s', expected %s)", name, qk_mode_list(modes, NULL, false));
    }
    struct qk_choice choice = {mode, app->last_param[mode]};
    char *end = NULL;
    const char *number = text + n + (text[n] != '\0');
    if (number[0] != '\0') {
        choice.param = strtod(number, &end);
        if (*end != '\0')
            return say_failure(app, "mode: '%s' is no number", number);
    }
    return choose_here(app, choice_targets(app), app->role, choice);
}

unsigned run_mode(struct app *app, enum action action, const char *argument)
{
    (void)action;
    if (argument != NULL && argument[0] != '\0')
        return set_mode(app, argument);
    return open_modes(app);
}

unsigned choose_mode(struct app *app, enum qk_mode mode)
{
    return choose_here(app, choice_targets(app), app->role, (struct qk_choice){mode, app->last_param[mode]});
}

/* --- parameters --- */

/* Role whose parameter the keys change: the chosen one, or the one that has a parameter. */
static int param_role(const struct app *app, int layer)
{
    const struct qk_layer_choice *choice = choices_of(app, layer);
    bool q = qk_mode_info(choice->role[QK_Q].mode)->has_param,
         k = qk_mode_info(choice->role[QK_K].mode)->has_param;
    if (app->role >= 0)
        return app->role;
    if (q && k && choice->role[QK_Q].mode == choice->role[QK_K].mode)
        return -1;
    return q ? QK_Q : QK_K;
}

/* Keeps those of app->targets that are in the mode of the first with a parameter, which is `like`. Where heads have the
 * keys, it is the selected head's, and counts as one. */
static int param_targets(struct app *app, int *role, struct qk_choice *like)
{
    int n = choice_targets(app), kept = 0;
    bool found = false;
    if (heads_have_keys(app)) {
        *like = head_choice(app);
        return qk_mode_info(like->mode)->has_param ? 1 : 0;
    }
    for (int i = 0; i < n; i++) {
        int layer = app->targets[i], r = param_role(app, layer);
        struct qk_choice choice = choices_of(app, layer)->role[r < 0 ? QK_Q : r];
        if (!qk_mode_info(choice.mode)->has_param || (found && (choice.mode != like->mode || r != *role)))
            continue;
        if (!found) {
            *role = r;
            *like = choice;
            found = true;
        }
        app->targets[kept++] = layer;
    }
    return kept;
}

/* Alpha goes in steps of 0.05; lambda over nice numbers, ten to a decade, from 0.001 to 1000, and 0. */
static double next_param(const struct qk_mode_info *info, double value, int direction)
{
    static const double NICE[] = {1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8};
    enum { PER_DECADE = sizeof NICE / sizeof NICE[0], DECADES = 6 };
    if (isfinite(info->high)) {
        double next = (direction > 0 ? floor(value * 20 + 1e-9) + 1 : ceil(value * 20 - 1e-9) - 1) / 20;
        return fmin(fmax(next, info->low), info->high);
    }
    double best = direction > 0 ? 1000 : 0;
    for (int i = 0; i < PER_DECADE * DECADES; i++) {
        double nice = NICE[i % PER_DECADE] * pow(10, i / PER_DECADE) / 1000;
        if (direction > 0 && nice > value * (1 + 1e-9))
            return nice;
        if (direction < 0 && nice < value * (1 - 1e-9))
            best = nice;
    }
    return direction > 0 ? fmax(best, value) : best;
}

double step_param(const struct qk_mode_info *info, double value, int direction)
{
    char text[32]; /* a tenth has no exact double: take the one that the written number has */
    snprintf(text, sizeof text, "%.6g", next_param(info, value, direction));
    return strtod(text, NULL);
}

unsigned run_step(struct app *app, enum action action, const char *argument)
{
    (void)argument;
    int role = -1;
    struct qk_choice choice = {QK_KEEP, 0};
    int n = param_targets(app, &role, &choice);
    if (n == 0)
        return REFRESH_NONE;
    choice.param = step_param(qk_mode_info(choice.mode), choice.param, action == ACTION_MORE ? 1 : -1);
    return choose_here(app, n, role, choice);
}

unsigned run_param(struct app *app, enum action action, const char *argument)
{
    int role = -1;
    struct qk_choice choice = {QK_KEEP, 0};
    int n = param_targets(app, &role, &choice);
    if (n == 0)
        return REFRESH_NONE;
    const struct qk_mode_info *info = qk_mode_info(choice.mode);
    if (argument == NULL) {
        char label[48], now[32], note[96];
        snprintf(
            label, sizeof label, "%s of %s: ", app->theme.ascii ? info->ascii : info->symbol, info->name);
        snprintf(now, sizeof now, "%.6g", choice.param);
        snprintf(
            note, sizeof note, isfinite(info->high) ? "from %g to %g" : "%g or more", info->low, info->high);
        return ask_argument(app, action, label, now, note);
    }
    char *end;
    choice.param = strtod(argument, &end);
    if (end == argument || *end != '\0')
        return say_failure(app, "'%s' is no number", argument);
    return choose_here(app, n, role, choice);
}

unsigned run_role(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    app->role = app->role < 0 ? QK_Q : app->role == QK_Q ? QK_K : -1;
    say(app, STYLE_DIM, "keys that choose act on %s",
        app->role < 0 ? "q and k" : qk_role_name((enum qk_role)app->role));
    return REFRESH_DRAW;
}

unsigned run_set(struct app *app, enum action action, const char *argument)
{
    struct qk_error err = {0};
    int changed = 0;
    if (argument == NULL)
        return ask_argument(app, action, "set ", "", "SELECTOR[:ROLE]=MODE[:PARAM], such as full=restore");
    if (qk_session_set(app->session, argument, &changed, &err) != QK_OK)
        return say_error(app, &err);
    say(app, STYLE_DIM, "%s: %d layer%s changed", argument, changed, changed == 1 ? "" : "s");
    return REFRESH_ROWS;
}

/* Goes to the first layer whose choices differ from those before, unless those of the selected one do. */
static void go_to_change(struct app *app, const struct qk_selection *before)
{
    const struct qk_selection *now = qk_session_selection(app->session);
    int at = -1;
    for (int i = app->rows.n - 1; i >= 0; i--) {
        int layer = app->rows.layer[i];
        if (qk_layer_choice_equal(&before->choice[layer], &now->choice[layer]))
            continue;
        at = i;
        if (layer == app->rows.selected)
            return;
    }
    if (at >= 0)
        rows_select(&app->rows, at);
}

unsigned run_undo(struct app *app, enum action action, const char *argument)
{
    (void)argument;
    const char *label = "";
    struct qk_selection before;
    struct qk_error err = {0};
    if (qk_selection_copy(&before, qk_session_selection(app->session), &err) != QK_OK)
        return say_error(app, &err);
    if (action == ACTION_UNDO ? qk_session_undo(app->session, &label) : qk_session_redo(app->session, &label))
        say(app, STYLE_DIM, "%s: %s", action == ACTION_UNDO ? "undone" : "done again", label);
    go_to_change(app, &before);
    qk_selection_free(&before);
    return REFRESH_ROWS;
}

/* --- several layers --- */

unsigned run_range(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    if (app->rows.anchor < 0) {
        app->rows.anchor = app->rows.selected;
        say(app, STYLE_DIM, "range from layer %d: move to its other end, then choose; Esc ends it",
            app->rows.anchor);
    } else {
        app->rows.anchor = -1;
    }
    return REFRESH_DRAW;
}

/* A range becomes marks; without one the key toggles the mark of the cursor's row. */
static void mark_rows(struct rows *rows)
{
    if (rows->anchor < 0) {
        rows->marked[rows->selected] = !rows->marked[rows->selected];
        rows_select(rows, rows_at(rows) + 1);
        return;
    }
    for (int i = 0; i < rows->n; i++)
        if (rows_in_range(rows, i))
            rows->marked[rows->layer[i]] = true;
    rows->anchor = -1;
}

unsigned run_mark(struct app *app, enum action action, const char *argument)
{
    (void)argument;
    struct rows *rows = &app->rows;
    if (action == ACTION_MARK) {
        mark_rows(rows);
        return REFRESH_DRAW;
    }
    bool all = rows_marked(rows) < rows->n;
    for (int i = 0; i < rows->n; i++)
        rows->marked[rows->layer[i]] = all;
    return REFRESH_DRAW;
}

static unsigned mark_by(struct app *app, const char *selector)
{
    struct qk_error err = {0};
    struct rows *rows = &app->rows;
    int n = 0, done, total;
    if (qk_session_find(app->session, selector, rows->found, &n, &err) != QK_OK)
        return say_error(app, &err);
    memset(rows->marked, 0, (size_t)app->pair->n_layers * sizeof *rows->marked);
    for (int i = 0; i < n; i++)
        rows->marked[rows->found[i]] = true;
    rows->anchor = -1;
    qk_session_done(app->session, &done, &total);
    if (strpbrk(selector, "<>") != NULL && done < total)
        say(app, STYLE_WARNING, "%d marked; the numbers of %d layers are not known yet", n, total - done);
    else if (n == 0 && selector_doubt(selector) != NULL)
        say(app, STYLE_WARNING, "0 layers marked: %s", selector_doubt(selector));
    else
        say(app, STYLE_DIM, "%d layer%s marked", n, n == 1 ? "" : "s");
    return REFRESH_DRAW;
}

/* What the menu of key b marks: all, a kind, or what is typed. */
enum { BY_ALL = QK_KIND_COUNT, BY_TEXT };

static void fill_by(struct app *app, struct menu *menu)
{
    int count[QK_KIND_COUNT] = {0};
    for (int i = 0; i < app->pair->n_layers; i++)
        count[app->pair->layer[i].kind]++;
    snprintf(menu->title, sizeof menu->title, "mark layers; the next key acts on all of them");
    for (int k = 0; k < QK_KIND_COUNT; k++) {
        if (count[k] == 0 || k == QK_NONE)
            continue;
        struct menu_entry *entry =
            menu_add(menu, qk_kind_name((enum qk_kind)k)[0], k, qk_kind_name((enum qk_kind)k));
        snprintf(entry->note, sizeof entry->note, "%d layers", count[k]);
        entry->style = STYLE_DIM;
    }
    struct menu_entry *all = menu_add(menu, 'a', BY_ALL, "all");
    snprintf(all->note, sizeof all->note, "%d layers", app->pair->n_layers);
    all->style = STYLE_DIM;
    struct menu_entry *text = menu_add(menu, '/', BY_TEXT, "...");
    snprintf(text->note, sizeof text->note, "a list or a number: 3,5-8, routing>0.15, q.angle>=4");
    text->style = STYLE_DIM;
}

static unsigned take_by(struct app *app, int value)
{
    if (value == BY_TEXT)
        return ask_argument(app, ACTION_MARK_BY, "mark by ", "",
            "all, full, window, linear, 3,5-8, routing>0.15, q.angle>=4");
    return mark_by(app, value == BY_ALL ? "all" : qk_kind_name((enum qk_kind)value));
}

unsigned run_mark_by(struct app *app, enum action action, const char *argument)
{
    (void)action;
    return argument != NULL ? mark_by(app, argument) : menu_open(app, fill_by, take_by, QK_FULL);
}
