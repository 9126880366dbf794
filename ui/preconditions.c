/* preconditions.c - the table of preconditions, and their tests. */
#include "ui/preconditions.h"

#include "ui/app.h"
#include "ui/run_heads.h"
#include "ui/views/layers_view.h"
#include "ui/views/probe.h"

#include <assert.h>

static_assert(PRECONDITION_COUNT <= 31, "each has a bit of its own");

static const struct {
    precondition_test *met;
    const char *message;
    precondition_reason *why;
} TABLE[PRECONDITION_COUNT] = {
#define X(id, met_, message_, why_) {.met = met_, .message = message_, .why = why_},
    QK_PRECONDITIONS(X)
#undef X
};

const char *precondition_unmet(const struct app *app, unsigned needs)
{
    for (int i = 0; i < PRECONDITION_COUNT; i++) {
        if ((needs & 1u << i) == 0 || TABLE[i].met(app))
            continue;
        const char *why = TABLE[i].why != NULL ? TABLE[i].why(app) : NULL;
        return why != NULL ? why : TABLE[i].message;
    }
    return NULL;
}

bool may_write(const struct app *app)
{
    return !app->options->readonly;
}

/* --- layers and choices --- */

bool layer_is_selected(const struct app *app)
{
    return app->rows.selected >= 0;
}

bool layer_has_qk(const struct app *app)
{
    int n = rows_targets(&app->rows, app->targets);
    for (int i = 0; i < n; i++)
        if (app->pair->layer[app->targets[i]].has_qk)
            return true;
    return false;
}

bool heads_have_keys(const struct app *app)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    return top_screen(app) != SCREEN_LIST || view->panel == PANEL_HEADS;
}

const char *why_no_qk(const struct app *app)
{
    return layer_is_selected(app) ? layer_obstacle(selected_layer(app)) : NULL;
}

bool choice_has_param(const struct app *app)
{
    if (heads_have_keys(app) && layer_is_selected(app) && selected_layer(app)->has_qk)
        return qk_mode_info(head_choice(app).mode)->has_param;
    int n = rows_targets(&app->rows, app->targets);
    for (int i = 0; i < n; i++)
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            if ((app->role < 0 || app->role == r) &&
                qk_mode_info(qk_session_selection(app->session)->choice[app->targets[i]].role[r].mode)
                    ->has_param)
                return true;
    return false;
}

bool can_undo(const struct app *app)
{
    return qk_session_undo_depth(app->session) > 0;
}

bool can_redo(const struct app *app)
{
    return qk_session_redo_depth(app->session) > 0;
}

bool has_searched(const struct app *app)
{
    return app->rows.search[0] != '\0';
}

bool has_norms(const struct app *app)
{
    for (int i = 0; i < app->pair->n_layers; i++) {
        const struct qk_layer *post = app->pair->layer[i].side[QK_POST];
        if (post->role[QK_Q].norm != NULL || post->role[QK_K].norm != NULL)
            return true;
    }
    return false;
}

/* --- exports --- */

bool task_runs(const struct app *app)
{
    return qk_session_task(app->session)->running;
}

bool no_task_runs(const struct app *app)
{
    return !task_runs(app);
}

const char *why_busy(const struct app *app)
{
    return qk_session_task(app->session)->kind == QK_TASK_VERIFY ? "a verification is running: Esc stops it"
                                                                 : NULL;
}

/* --- attention and searches --- */

bool layer_has_attention(const struct app *app)
{
    return layer_is_selected(app) && why_no_attention(app) == NULL;
}

const char *why_no_attention(const struct app *app)
{
    struct qk_session_needle needle;
    int layer = app->rows.selected;
    if (!layer_is_selected(app) || (has_needle_text(app) && qk_session_needle(app->session, layer, &needle)))
        return NULL;
    return range_obstacle(app, layer);
}

bool has_needle_text(const struct app *app)
{
    return qk_session_needle_shown(app->session) >= 0;
}

const char *why_no_needle(const struct app *app)
{
    return qk_session_needles_state(app->session)->error;
}

bool has_masses(const struct app *app)
{
    return qk_session_needles_state(app->session)->stage == QK_NEEDLES_READY;
}

const char *why_no_masses(const struct app *app)
{
    const struct qk_needles_state *state = qk_session_needles_state(app->session);
    bool over =
        state->stage == QK_NEEDLES_CANCELLED || (state->stage == QK_NEEDLES_OFF && !needles_awaited(app));
    return over ? "proposals need needle masses: r measures them" : state->error;
}

bool passes_run(const struct app *app)
{
    return probe_busy(app) || needles_busy(app);
}

bool search_has_points(const struct app *app)
{
    return qk_session_search_state(app->session)->n_points > 0;
}

bool search_runs(const struct app *app)
{
    return qk_session_search_state(app->session)->stage == QK_SEARCH_RUNNING;
}

bool no_search_runs(const struct app *app)
{
    return !search_runs(app);
}
