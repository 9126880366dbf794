/* mode_menu.c - the menu of choices: what it offers, and the trials behind its numbers. */
#include "ui/mode_menu.h"

#include "session/trials.h"
#include "ui/app.h"
#include "ui/format.h"
#include "ui/message.h"
#include "ui/preconditions.h"
#include "ui/run_heads.h"
#include "ui/views/layers_view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Lists the layers that a choice is for in app->targets: that of the head where heads have the keys. */
static int menu_layers(struct app *app)
{
    if (!heads_have_keys(app))
        return choice_targets(app);
    if (!layer_is_selected(app) || !selected_layer(app)->has_qk)
        return 0;
    app->targets[0] = app->rows.selected;
    return 1;
}

/* Lists the modes that the first of the layers allows for the roles on which keys act. */
static int offered_modes(const struct app *app, enum qk_mode out[QK_MODE_COUNT])
{
    const struct qk_layer *post = app->pair->layer[app->targets[0]].side[QK_POST];
    int n = 0;
    for (int m = 0; m < QK_MODE_COUNT; m++) {
        bool one_role = app->role >= 0 && !heads_have_keys(app);
        if (qk_blend_offers(post, (enum qk_mode)m) &&
            !(one_role && qk_mode_info((enum qk_mode)m)->both_roles))
            out[n++] = (enum qk_mode)m;
    }
    return n;
}

/* 0 for keep, as everywhere; else the first letter of the mode's name that no mode before it has. */
static int key_of_mode(const enum qk_mode *mode, int i)
{
    char taken[QK_MODE_COUNT + 3] = "jk"; /* these move */
    size_t n = strlen(taken);
    for (int m = 0; m <= i; m++) {
        const char *letter = qk_mode_info(mode[m])->name;
        while (*letter != '\0' && strchr(taken, *letter) != NULL)
            letter++;
        taken[n++] = mode[m] == QK_KEEP ? '0' : *letter;
        taken[n] = '\0';
    }
    return taken[n - 1];
}

/* --- trials --- */

static enum qk_code would_choose(
    struct app *app, int n_layers, struct qk_choice choice, struct qk_selection *next, struct qk_error *err)
{
    if (heads_have_keys(app))
        return would_choose_head(app, choice, next, err);
    return qk_session_would_choose(app->session, app->targets, n_layers, app->role, choice, next, err);
}

/* Requests the numbers of all offered choices; a failure leaves the menu without them. */
static void try_modes(struct app *app)
{
    enum qk_mode mode[QK_MODE_COUNT];
    struct qk_selection next[QK_MODE_COUNT] = {{0}};
    int n_layers = menu_layers(app), n = offered_modes(app, mode);
    enum qk_code code = QK_OK;
    struct qk_error err = {0};
    for (int i = 0; i < n && code == QK_OK; i++)
        code = would_choose(
            app, n_layers, (struct qk_choice){mode[i], app->last_param[mode[i]]}, &next[i], &err);
    if (code == QK_OK)
        code = qk_session_try(app->session, app->targets, n_layers, next, (size_t)n, &err);
    else
        qk_session_try(app->session, NULL, 0, NULL, 0, NULL);
    for (int i = 0; i < n; i++)
        qk_selection_free(&next[i]);
    if (code != QK_OK)
        say_error(app, &err);
}

/* --- the menu --- */

static void title_of(const struct app *app, int n_layers, char out[MENU_NOTE])
{
    int head;
    if (heads_have_keys(app) && n_layers > 0) {
        bool on_text = top_screen(app) == SCREEN_ATTENTION; /* there it is a query head */
        enum qk_role role = selected_head(app, &head);
        role = on_text ? QK_Q : role;
        head = on_text ? range_head(app) : head;
        snprintf(out, MENU_NOTE, "layer %d, %s%d: choice, and what it leaves between the layer and pre",
            app->rows.selected, qk_role_name(role), head);
        return;
    }
    const char *roles = app->role < 0 ? "q and k" : qk_role_name((enum qk_role)app->role);
    if (n_layers == 1)
        snprintf(out, MENU_NOTE, "layer %d, %s: choice, and what it leaves between the layer and pre",
            app->targets[0], roles);
    else
        snprintf(out, MENU_NOTE, "%d layers, %s: choice, and what it leaves from pre, on average", n_layers,
            roles);
}

/* "3.92 %" right in its cells, a mark while it is to come, or "-". */
static void number_text(
    const struct app *app, char out[NUMBER_TEXT + 8], double value, bool percent, bool waits)
{
    char number[NUMBER_TEXT];
    if (isnan(value) && waits)
        snprintf(out, NUMBER_TEXT + 8, "%s", theme_glyph(&app->theme, GLYPH_WAIT));
    else if (isnan(value))
        snprintf(out, NUMBER_TEXT + 8, "-");
    else if (percent)
        snprintf(out, NUMBER_TEXT + 8, "%s %%", format_number(number, 100 * value));
    else
        snprintf(out, NUMBER_TEXT + 8, "%s", shift_text(number, value));
}

static void fill_modes(struct app *app, struct menu *menu)
{
    enum { CELLS = 10 };
    enum qk_mode mode[QK_MODE_COUNT];
    const struct qk_trials *trials = qk_session_trials(app->session);
    int n_layers = menu_layers(app);
    if (n_layers == 0)
        return;
    int n = offered_modes(app, mode);
    title_of(app, n_layers, menu->title);
    struct menu_entry *heading = menu_add(menu, 0, -1, "");
    snprintf(heading->note, sizeof heading->note, "%-*s%-*s-/+ changes a parameter", CELLS, "routing", CELLS,
        "shift");
    heading->style = STYLE_HEADING;
    for (int i = 0; i < n; i++) {
        char name[CHOICE_LABEL], routing[NUMBER_TEXT + 8] = "-", shift[NUMBER_TEXT + 8] = "-";
        format_choice(name, (struct qk_choice){mode[i], app->last_param[mode[i]]}, app->theme.ascii);
        struct menu_entry *entry = menu_add(menu, key_of_mode(mode, i), (int)mode[i], name);
        if ((size_t)i < trials->n) {
            bool waits = trials->n_done < trials->n;
            number_text(app, routing, trials->trial[i].routing, true, waits);
            number_text(app, shift, trials->trial[i].shift, false, waits && trials->ranges);
        }
        const struct canvas canvas = {.theme = &app->theme};
        int r = text_cells(&canvas, routing), s = text_cells(&canvas, shift);
        snprintf(entry->note, sizeof entry->note, "%s%*s%s%*s%s", routing, CELLS - r, "", shift, CELLS - s,
            "", qk_mode_info(mode[i])->help);
        entry->style = STYLE_TEXT;
    }
}

static unsigned take_mode(struct app *app, int mode)
{
    return choose_mode(app, (enum qk_mode)mode);
}

/* + and - change the parameter of the selected entry, and try it. */
static bool step_mode(struct app *app, int key, int value)
{
    if ((key != '+' && key != '-' && key != '_') || value < 0 ||
        !qk_mode_info((enum qk_mode)value)->has_param)
        return false;
    app->last_param[value] =
        step_param(qk_mode_info((enum qk_mode)value), app->last_param[value], key == '+' ? 1 : -1);
    try_modes(app);
    return true;
}

/* The pointer begins on the present choice. */
unsigned open_modes(struct app *app)
{
    int n = menu_layers(app);
    if (n == 0) /* others are marked */
        return say_failure(app, "mode: %s",
            layer_is_selected(app) ? layer_obstacle(selected_layer(app)) : "no layer is selected");
    const struct qk_layer_choice *now = &qk_session_selection(app->session)->choice[app->targets[0]];
    struct qk_choice choice =
        heads_have_keys(app) ? head_choice(app) : now->role[app->role == QK_K ? QK_K : QK_Q];
    if (qk_mode_info(choice.mode)->has_param)
        app->last_param[choice.mode] = choice.param;
    try_modes(app);
    unsigned refresh = menu_open(app, fill_modes, take_mode, (int)choice.mode);
    app->menu.key = step_mode;
    return refresh;
}
