/* choices.c - the choices of a session: every change is one edit that can be undone. */
#include "session/choices.h"
#include "session/session_internal.h"

#include "base/text.h"
#include "blend/spec.h"
#include "export/recipe.h"

#include <stdlib.h>

const struct qk_selection *qk_session_selection(const struct qk_session *session)
{
    return qk_history_current(session->history);
}

/* After the current selection went from `before` to what it is: asks for the numbers of what changed. */
static void selection_changed(struct qk_session *session, const struct qk_selection *before)
{
    const struct qk_selection *now = qk_history_current(session->history);
    pthread_mutex_lock(&session->shared.mutex);
    for (int i = 0; i < now->n_layers; i++) {
        bool same = true;
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            same = same && qk_choice_equal(now->choice[i][r], before->choice[i][r]);
        if (same)
            continue;
        qk_session_ask_current(session, i);
        qk_session_forget_current(session, i);
    }
    pthread_cond_broadcast(&session->shared.work);
    pthread_mutex_unlock(&session->shared.mutex);
    qk_session_follow_choices(session);
    qk_session_ask_anew(session);
}

/* Makes `next` current as one edit; frees nothing. *n_changed counts layers. */
static enum qk_code commit(struct qk_session *session, const struct qk_selection *next, const char *label,
    int *n_changed, struct qk_error *err)
{
    struct qk_selection before;
    QK_TRY(qk_selection_copy(&before, qk_history_current(session->history), err));
    enum qk_code code = qk_history_commit(session->history, next, label, err);
    if (code == QK_OK) {
        int changed = 0;
        for (int i = 0; i < next->n_layers; i++)
            changed += !qk_choice_equal(next->choice[i][QK_Q], before.choice[i][QK_Q]) ||
                       !qk_choice_equal(next->choice[i][QK_K], before.choice[i][QK_K]);
        if (n_changed != NULL)
            *n_changed = changed;
        selection_changed(session, &before);
    }
    qk_selection_free(&before);
    return code;
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

enum qk_code qk_session_choose(struct qk_session *session, const int *layers, int n, int role,
    struct qk_choice choice, int *n_changed, struct qk_error *err)
{
    struct qk_selection next;
    char *label = NULL;
    QK_TRY(qk_selection_copy(&next, qk_history_current(session->history), err));
    enum qk_code code = qk_choice_check(choice, err);
    for (int i = 0; i < n && code == QK_OK; i++) {
        if (n > 1 && !qk_selection_takes(&session->pair->layer[layers[i]], role, choice))
            continue;
        code = qk_selection_set(&next, session->pair, layers[i], role, choice, err);
    }
    if (code == QK_OK)
        code = edit_label(layers, n, role, choice, &label, err);
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
        code = qk_selection_copy(&next, qk_history_current(session->history), err);
    if (code == QK_OK)
        code = qk_spec_apply(&parsed, session->pair, session->drift, &next, NULL, err);
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
    *n = 0;
    QK_TRY(qk_spec_parse_selector(selector, &parsed, err));
    for (int i = 0; i < session->pair->n_layers; i++) {
        /* An old number is kept while the layer is computed again: it must not answer for the new one. */
        bool known = parsed.selector != QK_SELECT_TEST || session->published[i].state == QK_LAYER_READY;
        if (known && qk_spec_matches(&parsed, session->pair, session->drift, i))
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

enum qk_code qk_session_save_recipe(struct qk_session *session, const char *path, struct qk_error *err)
{
    struct qk_recipe recipe;
    const struct qk_selection *now = qk_history_current(session->history);
    QK_TRY(qk_recipe_make(session->pair, now, session->norms, NULL, &recipe, err));
    enum qk_code code = qk_recipe_write(&recipe, path, err);
    qk_recipe_free(&recipe);
    struct qk_selection saved;
    if (code == QK_OK && (code = qk_selection_copy(&saved, now, err)) == QK_OK) {
        qk_selection_free(&session->saved);
        session->saved = saved;
    }
    return code;
}

bool qk_session_norms(const struct qk_session *session)
{
    return session->norms;
}

void qk_session_set_norms(struct qk_session *session, bool norms)
{
    if (session->norms == norms)
        return;
    session->norms = norms;
    pthread_mutex_lock(&session->shared.mutex);
    session->shared.norms = norms;
    for (int i = 0; session->effective && i < session->pair->n_layers; i++) {
        qk_session_ask_current(session, i);
        qk_session_forget_current(session, i);
    }
    pthread_cond_broadcast(&session->shared.work);
    pthread_mutex_unlock(&session->shared.mutex);
    qk_session_follow_choices(session);
    qk_session_ask_anew(session);
}

static bool step_history(
    struct qk_session *session, bool (*step)(struct qk_history *, const char **), const char **label)
{
    struct qk_selection before;
    if (qk_selection_copy(&before, qk_history_current(session->history), NULL) != QK_OK)
        return false;
    bool moved = step(session->history, label);
    if (moved)
        selection_changed(session, &before);
    qk_selection_free(&before);
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
    return qk_history_undo_depth(session->history);
}

int qk_session_redo_depth(const struct qk_session *session)
{
    return qk_history_redo_depth(session->history);
}

bool qk_session_unsaved(const struct qk_session *session)
{
    return !qk_selection_equal(qk_history_current(session->history), &session->saved);
}
