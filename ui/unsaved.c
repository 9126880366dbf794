/* unsaved.c - one recipe a pair, $XDG_STATE_HOME/qkscope/unsaved-DIGEST.json, else below ~/.local/state. */
#include "ui/unsaved.h"

#include "base/cache.h"
#include "base/digest.h"
#include "base/text.h"
#include "export/recipe.h"
#include "ui/app.h"
#include "ui/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* All kept recipes together: the oldest go first. A file takes a block of the disk, 4 kB, at least. */
enum { MOST_BYTES = 1 << 20 };

/* "unsaved-DIGEST.json", the digest being of the real paths of pre and post. */
static void name_of_pair(const struct app *app, char out[64])
{
    struct qk_digest digest;
    char hex[QK_DIGEST_TEXT];
    qk_digest_init(&digest);
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        char *whole = realpath(app->path[s], NULL);
        const char *path = whole != NULL ? whole : app->path[s];
        qk_digest_add(&digest, path, strlen(path) + 1);
        free(whole);
    }
    qk_digest_hex(&digest, hex);
    snprintf(out, 64, "unsaved-%.16s.json", hex);
}

/* The path of that file, or NULL without a home folder. The caller frees. */
static char *state_path(const char *name)
{
    char *folder, *path = NULL;
    if (qk_state_folder(&folder, NULL) == QK_OK && folder != NULL)
        qk_path_join(folder, name, &path, NULL);
    free(folder);
    return path;
}

/* The number of layers that the kept recipe changes; 0 without one for this pair. */
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

void unsaved_offer(struct app *app)
{
    char own[64];
    name_of_pair(app, own);
    const char *const names[] = {own, "unsaved.json"}; /* earlier versions had one file for all pairs */
    if (app->options->recipe != NULL || app->options->n_set > 0)
        return;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && app->offered == NULL; i++) {
        char *path = state_path(names[i]);
        int n = path != NULL ? kept_choices(app, path) : 0;
        if (n == 0) {
            free(path);
            continue;
        }
        app->offered = path;
        say(app, STYLE_WARNING, "last time %d choice%s left unsaved: o and Enter bring %s back", n,
            n == 1 ? " was" : "s were", n == 1 ? "it" : "them");
    }
}

/* Writes the choices to the file of the pair, which replaces the offered one. */
static void keep(const struct app *app, char *path)
{
    if (qk_make_folders(path, NULL) != QK_OK || qk_session_save_recipe(app->session, path, NULL) != QK_OK)
        return;
    if (app->offered != NULL && strcmp(app->offered, path) != 0)
        unlink(app->offered);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    qk_cache_trim(path, ".json", MOST_BYTES);
}

void unsaved_keep(struct app *app)
{
    char name[64];
    name_of_pair(app, name);
    char *path = app->options->readonly ? NULL : state_path(name);
    bool unsaved = qk_session_unsaved(app->session);
    if (path != NULL && unsaved && qk_selection_count(qk_session_selection(app->session)) > 0)
        keep(app, path);
    else if (path != NULL && !unsaved && app->offered != NULL && app->taken)
        unlink(app->offered);
    free(path);
}
