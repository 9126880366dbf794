/* dispatch.c - keys and names as actions, actions and their handlers, and the prompt that asks for an argument. */
#include "ui/dispatch.h"

#include "ui/app.h"
#include "ui/complete.h"
#include "ui/handlers.h"
#include "ui/message.h"
#include "ui/preconditions.h"
#include "ui/screen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static action_handler *const HANDLERS[ACTION_COUNT] = {
#define X(id, group, name, keys, rank, hint, help, argument, where, needs, run) run,
    QK_ACTIONS(X)
#undef X
};

const char *action_blocked(const struct app *app, enum action action)
{
    return precondition_unmet(app, action_traits(action)->needs);
}

bool action_exists(const struct app *app, enum action action)
{
    return (action_traits(action)->needs & NEEDS_WRITE) == 0 || may_write(app);
}

/* --- dispatch --- */

enum action action_for_key(const struct app *app, int key)
{
    enum action blocked = ACTION_NONE;
    for (int n = 0;; n++) {
        enum action action = action_of_key(key, here(app), n);
        if (action == ACTION_NONE)
            return blocked;
        if (action_blocked(app, action) == NULL)
            return action;
        blocked = action; /* the last one is the most general */
    }
}

unsigned run_action(struct app *app, enum action action, const char *argument)
{
    if ((action_traits(action)->where & here(app)) == 0)
        return say_failure(app, "%s: not in this view", qk_action_info((int)action)->name);
    const char *why = action_blocked(app, action);
    if (why != NULL)
        return say_failure(app, "%s: %s", qk_action_info((int)action)->name, why);
    return HANDLERS[action](app, action, argument) | REFRESH_DRAW;
}

/* --- prompts --- */

unsigned ask_argument(
    struct app *app, enum action action, const char *label, const char *initial, const char *note)
{
    app->prompt_action = action;
    app->prompt_selected = app->rows.selected;
    snprintf(app->prompt_before, sizeof app->prompt_before, "%s",
        action == ACTION_FILTER ? app->rows.filter : app->rows.search);
    prompt_open(&app->prompt, label, initial, note, &app->history[action]);
    return REFRESH_DRAW;
}

/* Goes to the layer of the number as far as it is typed. */
static unsigned preview_layer(struct app *app)
{
    struct rows *rows = &app->rows;
    char *end;
    long number = strtol(app->prompt.text, &end, 10);
    rows->selected = app->prompt_selected;
    for (int i = 0; i < rows->n && end != app->prompt.text && *end == '\0'; i++)
        if (rows->layer[i] == number)
            rows_select(rows, i);
    return REFRESH_DRAW;
}

/* Search and filter show their effect while the text is typed. */
static unsigned preview(struct app *app)
{
    struct rows *rows = &app->rows;
    if (app->prompt_action == ACTION_FILTER) {
        snprintf(rows->filter, sizeof rows->filter, "%.*s", MATCH_TEXT - 1, app->prompt.text);
        rows->selected = app->prompt_selected; /* a partial word may have hidden it */
        return REFRESH_ROWS | REFRESH_DRAW;
    }
    if (app->prompt_action == ACTION_LAYER)
        return preview_layer(app);
    if (app->prompt_action != ACTION_SEARCH || (here(app) & ON_LAYERS) == 0)
        return REFRESH_DRAW;
    snprintf(rows->search, sizeof rows->search, "%.*s", MATCH_TEXT - 1, app->prompt.text);
    rows->selected = app->prompt_selected;
    if (rows->search[0] != '\0')
        rows_find(rows, app->session, rows_at(rows), false);
    return REFRESH_DRAW;
}

static unsigned take_back_preview(struct app *app)
{
    struct rows *rows = &app->rows;
    if (app->prompt_action == ACTION_FILTER)
        snprintf(rows->filter, sizeof rows->filter, "%s", app->prompt_before);
    if (app->prompt_action == ACTION_SEARCH)
        snprintf(rows->search, sizeof rows->search, "%s", app->prompt_before);
    rows->selected = app->prompt_selected;
    return REFRESH_ROWS | REFRESH_DRAW;
}

static unsigned accept_prompt(struct app *app)
{
    char text[PROMPT_TEXT];
    enum action action = app->prompt_action;
    memcpy(text, app->prompt.text, sizeof text);
    app->message[0] = '\0';
    prompt_accept(&app->prompt);
    unsigned refresh = HANDLERS[action](app, action, text);
    if ((refresh & REFRESH_FAILED) == 0 || app->prompt.open)
        return refresh | REFRESH_DRAW;
    /* The prompt stays open to correct a mistake. */
    app->prompt.open = true;
    app->prompt.wrong = true;
    memcpy(app->prompt.note, app->message, sizeof app->prompt.note);
    return refresh | REFRESH_DRAW;
}

/* A key that is no digit ends the number of a layer, and acts on that layer. */
static bool ends_number(const struct app *app, int key)
{
    return app->prompt_action == ACTION_LAYER && app->prompt.text[0] != '\0' && key >= ' ' && key < 0x7f &&
           (key < '0' || key > '9');
}

unsigned prompt_takes(struct app *app, int key)
{
    if (ends_number(app, key)) {
        unsigned refresh = accept_prompt(app);
        enum action action = action_for_key(app, key);
        bool there = (refresh & REFRESH_FAILED) == 0 && action != ACTION_NONE;
        return there ? refresh | run_action(app, action, NULL) : refresh;
    }
    switch (prompt_key(&app->prompt, key, complete_argument, app)) {
    case PROMPT_CHANGED:
        return preview(app);
    case PROMPT_ACCEPTED:
        return accept_prompt(app);
    case PROMPT_CANCELLED:
        app->message[0] = '\0';
        return take_back_preview(app);
    default:
        return REFRESH_DRAW;
    }
}
