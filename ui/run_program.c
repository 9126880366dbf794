/* run_program.c - handlers of recipes, of the ":" line, and of leaving: a view, or the program. */
#include "ui/app.h"

#include "base/guess.h"
#include "export/recipe.h"
#include "ui/complete.h"
#include "ui/dispatch.h"
#include "ui/handlers.h"
#include "ui/message.h"
#include "ui/screen.h"
#include "ui/terminal.h"

#include <stdlib.h>
#include <string.h>

/* --- recipes --- */

static unsigned load(struct app *app, bool force, struct qk_error *err)
{
    const char *path = app->loading;
    if (qk_session_load_recipe(app->session, path, force, err) != QK_OK)
        return say_error(app, err);
    app->taken = app->taken || (app->offered != NULL && strcmp(path, app->offered) == 0);
    say(app, STYLE_DIM, "choices of %s loaded: u takes that back", path);
    return REFRESH_ROWS;
}

static unsigned load_anyway(struct app *app)
{
    struct qk_error err = {0};
    return load(app, true, &err);
}

/* True when only the fingerprints of pre and post keep the recipe from loading. */
static bool fits_otherwise(const struct app *app, const char *path)
{
    struct qk_recipe recipe;
    struct qk_selection selection = {0};
    if (qk_recipe_read(path, &recipe, NULL) != QK_OK)
        return false;
    bool fits = qk_recipe_replay(&recipe, app->pair, true, &selection, NULL) == QK_OK;
    qk_selection_free(&selection);
    qk_recipe_free(&recipe);
    return fits;
}

unsigned run_load(struct app *app, enum action action, const char *argument)
{
    struct qk_error err = {0};
    bool offered = app->offered != NULL && !app->taken;
    if (argument == NULL)
        return ask_argument(app, action, "load recipe ", offered ? app->offered : "",
            offered ? "the choices that were left unsaved; Ctrl-U empties the line for another recipe"
                    : "a recipe's file, or an export's " QK_RECIPE_NAME);
    free(app->loading);
    app->loading = typed_path(argument);
    if (app->loading == NULL)
        return say_failure(app, "out of memory");
    unsigned refresh = load(app, false, &err);
    if (err.code != QK_INPUT || !fits_otherwise(app, app->loading))
        return refresh;
    ask(app, load_anyway, "load it anyway?");
    return REFRESH_DRAW;
}

unsigned run_save(struct app *app, enum action action, const char *argument)
{
    struct qk_error err = {0};
    if (argument == NULL)
        return ask_argument(app, action, "save recipe to ", "", "a file such as choices.json");
    char *path = typed_path(argument);
    if (path == NULL)
        return say_failure(app, "out of memory");
    enum qk_code code = qk_session_save_recipe(app->session, path, &err);
    if (code == QK_OK)
        say(app, STYLE_DIM, "choices saved: %s", path);
    free(path);
    return code == QK_OK ? REFRESH_DRAW : say_error(app, &err);
}

/* --- the ":" line --- */

static unsigned unknown_action(struct app *app, const char *name, size_t n)
{
    struct qk_guess guess = qk_guess_begin(name, n);
    for (int i = 0; i < ACTION_COUNT; i++)
        if (action_exists(app, (enum action)i))
            qk_guess_consider(&guess, qk_action_info(i)->name);
    if (guess.best == NULL)
        return say_failure(app, "no action is called '%.*s'", (int)n, name);
    return say_failure(app, "no action is called '%.*s': did you mean '%s'?", (int)n, name, guess.best);
}

unsigned run_command(struct app *app, enum action action, const char *argument)
{
    if (argument == NULL)
        return ask_argument(app, action, ":", "", "an action's name; Tab completes, ? lists them");
    argument += strspn(argument, " ");
    size_t n = strcspn(argument, " ");
    const char *rest = argument + n + strspn(argument + n, " ");
    if (n == 0)
        return REFRESH_DRAW;
    enum action named = action_of_name(argument, n, here(app));
    if (named == ACTION_NONE)
        return unknown_action(app, argument, n);
    if (rest[0] != '\0' && action_traits(named)->argument == NULL)
        return say_failure(app, "%s takes nothing after its name", qk_action_info((int)named)->name);
    return run_action(app, named, rest[0] != '\0' ? rest : NULL);
}

/* --- screen --- */

unsigned run_redraw(struct app *app, enum action action, const char *argument)
{
    (void)app;
    (void)action;
    (void)argument;
    return REFRESH_SCREEN;
}

unsigned run_pointer(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    app->pointer = !app->pointer;
    terminal_use_pointer(app->pointer);
    say(app, STYLE_DIM, app->pointer ? "mouse on: hold Shift to select text" : "mouse off");
    return REFRESH_DRAW;
}

unsigned run_suspend(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    if (!terminal_suspend(true))
        return say_failure(app, "what started this program ignores stopping: it could not be continued");
    return REFRESH_SCREEN;
}

/* --- leaving --- */

unsigned run_back(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    unsigned refresh = top_ops(app)->back != NULL ? top_ops(app)->back(app) : REFRESH_NONE;
    if (refresh != REFRESH_NONE)
        return refresh;
    if (app->depth > 1)
        close_screen(app);
    else
        say(app, STYLE_DIM, "q leaves");
    return REFRESH_DRAW;
}

static unsigned leave(struct app *app)
{
    (void)app;
    return REFRESH_QUIT;
}

unsigned run_quit(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    const struct qk_task *task = qk_session_task(app->session);
    int n = qk_selection_count(qk_session_selection(app->session));
    if (task->running)
        ask(app, leave, "%s is running: stop it and leave?",
            task->kind == QK_TASK_EXPORT ? "an export" : "a verification");
    else if (qk_session_search_state(app->session)->stage == QK_SEARCH_RUNNING)
        ask(app, leave, "a search is running: stop it and leave?");
    else if (n > 0 && qk_session_unsaved(app->session))
        ask(app, leave, "%d choice%s not exported or saved: leave?", n, n == 1 ? " is" : "s are");
    else
        return REFRESH_QUIT;
    return REFRESH_DRAW;
}

unsigned run_close(struct app *app, enum action action, const char *argument)
{
    if (app->depth == 1)
        return run_quit(app, action, argument);
    close_screen(app);
    return REFRESH_DRAW;
}
