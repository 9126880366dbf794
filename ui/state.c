/* state.c - one recipe, $XDG_STATE_HOME/qkscope/unsaved.json, else below ~/.local/state. */
#include "ui/state.h"

#include "base/cache.h"
#include "base/text.h"
#include "export/recipe.h"
#include "ui/app.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The file's path, or NULL when there is no home to keep it in. The caller frees. */
static char *state_path(void)
{
    char *folder, *path = NULL;
    if (qk_state_folder(&folder, NULL) == QK_OK && folder != NULL)
        qk_path_join(folder, "unsaved.json", &path, NULL);
    free(folder);
    return path;
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
        if (qk_make_folders(path, NULL) == QK_OK)
            qk_session_save_recipe(app->session, path, NULL);
    } else if (!unsaved && app->offered != NULL && app->taken) {
        unlink(path);
    }
    free(path);
}
