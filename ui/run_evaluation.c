/* run_evaluation.c - the evaluation begun when its view is opened, paused when it is closed; the search begun
 * and stopped, and a point of its front chosen. */
#include "ui/app.h"

#include "ui/handlers.h"
#include "ui/preconditions.h"

#include <stdlib.h>

bool evaluation_busy(const struct app *app)
{
    const struct qk_evaluation_state *state = qk_session_evaluation(app->session);
    return state->stage == QK_EVALUATION_OPENING || state->stage == QK_EVALUATION_RUNNING || search_runs(app);
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

/* --- search --- */

unsigned run_front(struct app *app, enum action action, const char *argument)
{
    enum { MOST_MINUTES = 1 << 20 };
    struct qk_error err = {0};
    char *end;
    if (argument == NULL)
        return ask_argument(app, action, "minutes to search ", "10",
            "it runs in the background; X stops it, and run again it goes on from the answers that are kept");
    double minutes = strtod(argument, &end);
    if (end == argument || *end != '\0' || !(minutes > 0 && minutes <= MOST_MINUTES))
        return say_failure(app, "'%s' is no number of minutes (expected more than 0)", argument);
    if (qk_session_search(app->session, minutes, &err) != QK_OK)
        return say_error(app, &err);
    app->eval.told = QK_SEARCH_RUNNING;
    return REFRESH_DRAW;
}

unsigned run_front_stop(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    qk_session_search_cancel(app->session);
    return REFRESH_DRAW;
}

unsigned run_point(struct app *app, enum action action, const char *argument)
{
    struct qk_error err = {0};
    (void)action;
    (void)argument;
    if (qk_session_take_point(app->session, (size_t)app->eval.point, &err) != QK_OK)
        return say_error(app, &err);
    say(app, STYLE_DIM, "point %d: %s; u takes that back", app->eval.point + 1,
        qk_session_search_state(app->session)->point[app->eval.point].text);
    return REFRESH_ROWS;
}

void evaluation_tell(struct app *app)
{
    const struct qk_search_state *found = qk_session_search_state(app->session);
    if (found->stage == app->eval.told)
        return;
    app->eval.told = found->stage;
    if (found->stage == QK_SEARCH_FAILED)
        say(app, STYLE_ERROR, "the search failed: %s", found->error != NULL ? found->error : "out of memory");
    else if (found->stage != QK_SEARCH_RUNNING)
        say(app, STYLE_GOOD, "the search %s: %zu selections, %zu of them on the front",
            found->stage == QK_SEARCH_COMPLETE  ? "came to its end"
            : found->stage == QK_SEARCH_LIMITED ? "has used its time"
                                                : "was stopped",
            found->n_trials, found->n_points);
}
