/* run_evaluation.c - the evaluation begun when its view is opened, paused when it is closed. */
#include "ui/app.h"

bool evaluation_busy(const struct app *app)
{
    const struct qk_evaluation_state *state = qk_session_evaluation(app->session);
    return state->stage == QK_EVALUATION_OPENING || state->stage == QK_EVALUATION_RUNNING;
}

unsigned run_evaluate(struct app *app, enum action action, const char *argument)
{
    struct qk_error err = {0};
    (void)action;
    (void)argument;
    if (top_screen(app) == &eval_screen) { /* the key that opened it closes it too */
        close_screen(app);
        return REFRESH_DRAW;
    }
    if (qk_session_evaluate(app->session, app->options->cases, app->options->n_cases, false, &err) != QK_OK)
        return say_error(app, &err);
    open_screen(app, &eval_screen);
    return REFRESH_DRAW;
}
