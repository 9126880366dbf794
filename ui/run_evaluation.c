/* run_evaluation.c - the evaluation begun when its view is opened, paused when it is closed; the search begun
 * and stopped, and a point of its front chosen. */
#include "ui/app.h"

#include "ui/handlers.h"
#include "ui/preconditions.h"

#include <stdlib.h>
#include <string.h>

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

/* "10", "0.5 minutes", "200 evaluations": a number and what it counts, or how it begins. */
static bool read_limits(const char *text, struct qk_search_limits *limits)
{
    enum { MOST_MINUTES = 1 << 20, MOST_TRIALS = 1 << 24 };
    static const char *const UNITS[] = {"minutes", "evaluations"};
    char *unit;
    double number = strtod(text, &unit);
    if (unit == text)
        return false;
    unit += strspn(unit, " ");
    size_t length = strlen(unit);
    while (length > 0 && unit[length - 1] == ' ')
        length--;
    if (strncmp(UNITS[0], unit, length) == 0) {
        *limits = (struct qk_search_limits){.seconds = 60 * number};
        return number > 0 && number <= MOST_MINUTES;
    }
    *limits =
        (struct qk_search_limits){.max_trials = number >= 1 && number <= MOST_TRIALS ? (size_t)number : 0};
    return strncmp(UNITS[1], unit, length) == 0 && (double)limits->max_trials == number;
}

unsigned run_front(struct app *app, enum action action, const char *argument)
{
    struct qk_error err = {0};
    struct qk_search_limits limits;
    if (argument == NULL)
        return ask_argument(app, action, "search for ", "10 minutes",
            "or as '200 evaluations'; it runs in the background; X stops it, and run again it goes on from "
            "the answers that are kept");
    if (!read_limits(argument, &limits))
        return say_failure(
            app, "'%s' is no limit of a search (expected as '10 minutes' or '200 evaluations')", argument);
    if (qk_session_search(app->session, &limits, &err) != QK_OK)
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
            : found->stage != QK_SEARCH_LIMITED ? "was stopped"
            : found->limits.max_trials > 0      ? "has used its evaluations"
                                                : "has used its time",
            found->n_trials, found->n_points);
}
