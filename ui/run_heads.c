/* run_heads.c - handlers of the actions that make choices for single heads. */
#include "ui/run_heads.h"

#include "ui/app.h"
#include "ui/format.h"
#include "ui/handlers.h"
#include "ui/message.h"
#include "ui/screen.h"
#include "ui/views/layers_view.h"

#include <stdio.h>

static const struct qk_layer_choice *choices_of_layer(const struct app *app)
{
    return &qk_session_selection(app->session)->choice[app->rows.selected];
}

/* The selected head, or its group: on the probe text it is a query head. */
static struct qk_head_run selected_run(const struct app *app, bool group)
{
    const struct qk_pair_layer *layer = selected_layer(app);
    int head = range_head(app), n_q = qk_selection_heads(layer, QK_HEAD_Q),
        n_k = qk_selection_heads(layer, QK_HEAD_K);
    enum qk_role role = top_screen(app) != SCREEN_ATTENTION ? selected_head(app, &head) : QK_Q;
    if (!group)
        return (struct qk_head_run){(enum qk_head_kind)role, head, head};
    if (role == QK_Q && n_k > 0)
        head = head / (n_q / n_k);
    if (app->role == QK_Q && n_k > 0) /* of the group what the role's mark leaves */
        return (struct qk_head_run){QK_HEAD_Q, head * (n_q / n_k), (head + 1) * (n_q / n_k) - 1};
    return (struct qk_head_run){app->role == QK_K ? QK_HEAD_K : QK_HEAD_GROUP, head, head};
}

struct qk_choice head_choice(const struct app *app)
{
    struct qk_head_run run = selected_run(app, false);
    return qk_layer_choice_of(choices_of_layer(app), (enum qk_role)run.of, run.first);
}

/* Sets the choice of the run, and reports it. */
static unsigned set_run(struct app *app, const struct qk_head_run *run, struct qk_choice choice)
{
    static const char *const NAMES[] = {[QK_HEAD_Q] = "q", [QK_HEAD_K] = "k", [QK_HEAD_GROUP] = "group "};
    struct qk_error err = {0};
    char text[CHOICE_LABEL];
    int layer = app->rows.selected;
    if (!selected_layer(app)->has_qk) /* others are marked */
        return say_failure(app, "layer %d: %s", layer, layer_obstacle(selected_layer(app)));
    if (qk_session_choose_heads(app->session, layer, run, 1, choice, NULL, &err) != QK_OK)
        return say_error(app, &err);
    if (qk_mode_info(choice.mode)->has_param)
        app->last_param[choice.mode] = choice.param;
    char last[16] = "";
    if (run->last > run->first)
        snprintf(last, sizeof last, "-%d", run->last);
    say(app, STYLE_DIM, "layer %d: %s%d%s %s", layer, NAMES[run->of], run->first, last,
        format_choice(text, choice, app->theme.ascii));
    return REFRESH_ROWS;
}

enum qk_code would_choose_head(
    const struct app *app, struct qk_choice choice, struct qk_selection *next, struct qk_error *err)
{
    struct qk_head_run run = selected_run(app, qk_mode_info(choice.mode)->both_roles);
    return qk_session_would_choose_heads(app->session, app->rows.selected, &run, 1, choice, next, err);
}

unsigned choose_head(struct app *app, struct qk_choice choice)
{
    struct qk_head_run run = selected_run(app, qk_mode_info(choice.mode)->both_roles);
    return set_run(app, &run, choice);
}

static bool head_restored(const struct app *app, enum qk_role role, int head)
{
    return qk_layer_choice_of(choices_of_layer(app), role, head).mode == QK_RESTORE;
}

static bool run_restored(const struct app *app, const struct qk_head_run *run)
{
    const struct qk_pair_layer *layer = selected_layer(app);
    int n_q = qk_selection_heads(layer, QK_HEAD_Q), n_k = qk_selection_heads(layer, QK_HEAD_K);
    bool all = true;
    for (int h = run->first; h <= run->last && run->of != QK_HEAD_GROUP; h++)
        all = all && head_restored(app, (enum qk_role)run->of, h);
    if (run->of != QK_HEAD_GROUP)
        return all;
    all = head_restored(app, QK_K, run->first);
    for (int h = 0; n_k > 0 && h < n_q / n_k; h++)
        all = all && head_restored(app, QK_Q, run->first * (n_q / n_k) + h);
    return all;
}

unsigned run_toggle_head(struct app *app, enum action action, const char *argument)
{
    struct qk_head_run run = selected_run(app, action == ACTION_RESTORE_GROUP);
    (void)argument;
    return set_run(app, &run, (struct qk_choice){run_restored(app, &run) ? QK_KEEP : QK_RESTORE, 0});
}
