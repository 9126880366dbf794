/* choices.c - the choices of a session: every change is one edit that can be undone. */
#include "session/choices.h"
#include "session/layers.h"
#include "session/needles.h"
#include "session/session_internal.h"

#include "base/mem.h"
#include "base/text.h"
#include "blend/spec.h"
#include "export/recipe.h"

#include <stdlib.h>

struct choices {
    struct qk_history *history;
    bool norms;
    struct qk_selection saved; /* the selection last saved or exported, with its norms */
    bool saved_norms;
};

static enum qk_code open_choices(struct qk_session *session, struct qk_error *err)
{
    int n = session->pair->n_layers;
    QK_TRY(qk_alloc(&session->choices, 1, sizeof *session->choices, err));
    QK_TRY(qk_history_new(n, &session->choices->history, err));
    return qk_selection_init(&session->choices->saved, n, err);
}

static void close_choices(struct qk_session *session)
{
    struct choices *choices = session->choices;
    if (choices == NULL)
        return;
    qk_history_free(choices->history);
    qk_selection_free(&choices->saved);
    free(choices);
}

const struct session_part qk_choices_part = {.open = open_choices, .close = close_choices};

/* --- edits --- */

const struct qk_selection *qk_session_selection(const struct qk_session *session)
{
    return qk_history_current(session->choices->history);
}

static int count_changed(const struct qk_selection *a, const struct qk_selection *b)
{
    int n = 0;
    for (int i = 0; i < a->n_layers; i++)
        n += !qk_layer_choice_equal(&a->choice[i], &b->choice[i]);
    return n;
}

/* Makes `next` current as one edit; frees nothing. *n_changed (may be NULL) counts layers. */
static enum qk_code commit(struct qk_session *session, const struct qk_selection *next, const char *label,
    int *n_changed, struct qk_error *err)
{
    int changed = count_changed(next, qk_session_selection(session));
    QK_TRY(qk_history_commit(session->choices->history, next, label, err));
    if (n_changed != NULL)
        *n_changed = changed;
    qk_session_follow(session);
    return QK_OK;
}

static enum qk_code edit_label(
    const int *layers, int n, int role, struct qk_choice choice, char **out, struct qk_error *err)
{
    char mode[QK_CHOICE_TEXT];
    struct qk_text text = {0};
    qk_text_add(&text, "%s %s of", qk_choice_text(mode, choice),
        role < 0 ? "q and k" : qk_role_name((enum qk_role)role));
    if (n == 1)
        qk_text_add(&text, " layer %d", layers[0]);
    else
        qk_text_add(&text, " %d layers", n);
    return qk_text_take(&text, out, err);
}

enum qk_code qk_session_would_choose(const struct qk_session *session, const int *layers, int n, int role,
    struct qk_choice choice, struct qk_selection *next, struct qk_error *err)
{
    QK_TRY(qk_selection_copy(next, qk_session_selection(session), err));
    enum qk_code code = qk_choice_check(choice, err);
    for (int i = 0; i < n && code == QK_OK; i++) {
        if (n > 1 && !qk_selection_takes(&session->pair->layer[layers[i]], role, choice))
            continue;
        code = qk_selection_set(next, session->pair, layers[i], role, choice, err);
    }
    return code;
}

enum qk_code qk_session_choose(struct qk_session *session, const int *layers, int n, int role,
    struct qk_choice choice, int *n_changed, struct qk_error *err)
{
    struct qk_selection next = {0};
    char *label = NULL;
    enum qk_code code = qk_session_would_choose(session, layers, n, role, choice, &next, err);
    if (code == QK_OK)
        code = edit_label(layers, n, role, choice, &label, err);
    if (code == QK_OK)
        code = commit(session, &next, label, n_changed, err);
    free(label);
    qk_selection_free(&next);
    return code;
}

/* "restore q0-1,k0 of layer 10". */
static enum qk_code heads_label(int layer, const struct qk_head_run *run, size_t n, struct qk_choice choice,
    char **out, struct qk_error *err)
{
    char mode[QK_CHOICE_TEXT];
    struct qk_text text = {0};
    qk_text_add(&text, "%s", qk_choice_text(mode, choice));
    for (size_t i = 0; i < n; i++) {
        qk_text_add(&text, "%c%c%d", i == 0 ? ' ' : ',', qk_head_letter(run[i].of), run[i].first);
        if (run[i].last > run[i].first)
            qk_text_add(&text, "-%d", run[i].last);
    }
    qk_text_add(&text, " of layer %d", layer);
    return qk_text_take(&text, out, err);
}

enum qk_code qk_session_would_choose_heads(const struct qk_session *session, int layer,
    const struct qk_head_run *run, size_t n, struct qk_choice choice, struct qk_selection *next,
    struct qk_error *err)
{
    QK_TRY(qk_selection_copy(next, qk_session_selection(session), err));
    return qk_selection_set_heads(next, session->pair, layer, run, n, choice, err);
}

enum qk_code qk_session_choose_heads(struct qk_session *session, int layer, const struct qk_head_run *run,
    size_t n, struct qk_choice choice, int *n_changed, struct qk_error *err)
{
    struct qk_selection next = {0};
    char *label = NULL;
    enum qk_code code = qk_session_would_choose_heads(session, layer, run, n, choice, &next, err);
    if (code == QK_OK)
        code = heads_label(layer, run, n, choice, &label, err);
    if (code == QK_OK)
        code = commit(session, &next, label, n_changed, err);
    free(label);
    qk_selection_free(&next);
    return code;
}

enum qk_code qk_session_set(
    struct qk_session *session, const char *spec, int *n_changed, struct qk_error *err)
{
    struct qk_spec parsed;
    QK_TRY(qk_spec_parse(spec, &parsed, err));
    struct qk_selection next = {0};
    int done, total;
    qk_session_done(session, &done, &total);
    enum qk_code code = QK_OK;
    if (parsed.selector == QK_SELECT_TEST && done < total)
        code = qk_fail(err, QK_USAGE, "%s: the numbers it tests are not all known yet (%d of %d layers)",
            spec, done, total);
    if (code == QK_OK)
        code = qk_selection_copy(&next, qk_session_selection(session), err);
    if (code == QK_OK)
        code = qk_spec_apply(&parsed, session->pair,
            &(struct qk_spec_numbers){
                .drift = qk_layers_drift(session), .heads = qk_session_needle_numbers(session)},
            &next, NULL, err);
    if (code == QK_OK)
        code = commit(session, &next, spec, n_changed, err);
    qk_selection_free(&next);
    qk_spec_free(&parsed);
    return code;
}

enum qk_code qk_session_find(
    const struct qk_session *session, const char *selector, int *layers, int *n, struct qk_error *err)
{
    struct qk_spec parsed;
    const struct qk_spec_numbers numbers = {
        .drift = qk_layers_drift(session), .heads = qk_session_needle_numbers(session)};
    *n = 0;
    QK_TRY(qk_spec_parse_selector(selector, &parsed, err));
    for (int i = 0; i < session->pair->n_layers; i++) {
        /* The old number stays while the layer is computed again. It must not count as the new one. */
        bool known =
            parsed.selector != QK_SELECT_TEST || qk_session_layer_state(session, i) == QK_LAYER_READY;
        if (known && qk_spec_matches(&parsed, session->pair, &numbers, i))
            layers[(*n)++] = i;
    }
    qk_spec_free(&parsed);
    return QK_OK;
}

enum qk_code qk_session_select(
    struct qk_session *session, const struct qk_selection *selection, const char *label, struct qk_error *err)
{
    return commit(session, selection, label, NULL, err);
}

enum qk_code qk_session_load_recipe(
    struct qk_session *session, const char *path, bool force, struct qk_error *err)
{
    struct qk_recipe recipe;
    QK_TRY(qk_recipe_read(path, &recipe, err));
    struct qk_selection next = {0};
    struct qk_text label = {0};
    char *text = NULL;
    qk_text_add(&label, "recipe %s", path);
    enum qk_code code = qk_text_take(&label, &text, err);
    if (code == QK_OK)
        code = qk_recipe_replay(&recipe, session->pair, force, &next, err);
    if (code == QK_OK)
        code = commit(session, &next, text, NULL, err);
    if (code == QK_OK)
        qk_session_set_norms(session, recipe.norms);
    free(text);
    qk_selection_free(&next);
    qk_recipe_free(&recipe);
    return code;
}

/* --- saving --- */

enum qk_code qk_session_save_recipe(struct qk_session *session, const char *path, struct qk_error *err)
{
    struct qk_recipe recipe;
    struct qk_selection saved;
    const struct qk_selection *now = qk_session_selection(session);
    QK_TRY(qk_recipe_make(session->pair, now, session->choices->norms, NULL, &recipe, err));
    enum qk_code code = qk_recipe_write(&recipe, path, err);
    qk_recipe_free(&recipe);
    QK_TRY(code);
    QK_TRY(qk_selection_copy(&saved, now, err));
    qk_choices_saved(session, &saved, session->choices->norms);
    return QK_OK;
}

void qk_choices_saved(struct qk_session *session, struct qk_selection *selection, bool norms)
{
    struct choices *choices = session->choices;
    qk_selection_free(&choices->saved);
    choices->saved = *selection;
    choices->saved_norms = norms;
    *selection = (struct qk_selection){0};
}

bool qk_session_unsaved(const struct qk_session *session)
{
    const struct choices *choices = session->choices;
    const struct qk_selection *now = qk_session_selection(session);
    bool norms_differ = choices->norms != choices->saved_norms && qk_selection_count(now) > 0;
    return norms_differ || !qk_selection_equal(now, &choices->saved);
}

/* --- norms --- */

bool qk_session_norms(const struct qk_session *session)
{
    return session->choices->norms;
}

void qk_session_set_norms(struct qk_session *session, bool norms)
{
    if (session->choices->norms == norms)
        return;
    session->choices->norms = norms;
    qk_session_follow(session);
}

/* --- history --- */

static bool step_history(
    struct qk_session *session, bool (*step)(struct qk_history *, const char **), const char **label)
{
    bool moved = step(session->choices->history, label);
    if (moved)
        qk_session_follow(session);
    return moved;
}

bool qk_session_undo(struct qk_session *session, const char **label)
{
    return step_history(session, qk_history_undo, label);
}

bool qk_session_redo(struct qk_session *session, const char **label)
{
    return step_history(session, qk_history_redo, label);
}

int qk_session_undo_depth(const struct qk_session *session)
{
    return qk_history_undo_depth(session->choices->history);
}

int qk_session_redo_depth(const struct qk_session *session)
{
    return qk_history_redo_depth(session->choices->history);
}
