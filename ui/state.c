/* state.c - one recipe, $XDG_STATE_HOME/qkscope/unsaved.json, else below ~/.local/state. */
#include "ui/state.h"

#include "restore/recipe.h"
#include "ui/app.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file's path, or NULL when there is no home to keep it in. The caller frees. */
static char *state_path(void)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    struct qk_text text = {0};
    char *path = NULL;
    if (state != NULL && state[0] == '/')
        qk_text_add(&text, "%s/qkscope/unsaved.json", state);
    else if (home != NULL && home[0] == '/')
        qk_text_add(&text, "%s/.local/state/qkscope/unsaved.json", home);
    else
        return NULL;
    return qk_text_take(&text, &path, NULL) == QK_OK ? path : NULL;
}

/* Makes the folders above the file, for the user alone. */
static void make_folders(char *path)
{
    for (char *p = path + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        mkdir(path, 0700); /* one that is there already is as good; any other failure shows when writing */
        *p = '/';
    }
}

/* How many layers the kept recipe changes; 0 when there is none for this pair. */
static int kept_choices(const struct app *app, const char *path)
{
    struct qk_recipe recipe;
    struct qk_selection selection = {0};
    if (access(path, R_OK) != 0 || qk_recipe_read(path, &recipe, NULL) != QK_OK)
        return 0;
    int n = 0;
    if (qk_recipe_replay(&recipe, app->pair, false, &selection, NULL) == QK_OK)
        n = qk_selection_count(&selection);
    qk_selection_free(&selection);
    qk_recipe_free(&recipe);
    return n;
}

void state_offer(struct app *app)
{
    if (app->options->recipe != NULL || app->options->n_set > 0)
        return;
    char *path = state_path();
    int n = path != NULL ? kept_choices(app, path) : 0;
    if (n > 0) {
        app->offered = path;
        say(app, STYLE_WARNING, "last time %d choice%s left unsaved: o and Enter bring %s back", n,
            n == 1 ? " was" : "s were", n == 1 ? "it" : "them");
    } else {
        free(path);
    }
}

void state_keep(struct app *app)
{
    char *path = app->options->readonly ? NULL : state_path();
    if (path == NULL)
        return;
    bool unsaved = qk_session_unsaved(app->session);
    if (unsaved && qk_selection_count(qk_session_selection(app->session)) > 0) {
        make_folders(path);
        qk_session_save_recipe(app->session, path, NULL);
    } else if (!unsaved && app->offered != NULL && app->taken) {
        unlink(path);
    }
    free(path);
}
