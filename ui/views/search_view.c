/* search_view.c - the search for selections: its start, stop and reports, and the choice of a point of its front. */
#include "ui/views/search_view.h"

#include "ui/dispatch.h"
#include "ui/handlers.h"
#include "ui/message.h"
#include "ui/views/eval_view.h"

#include <stdlib.h>
#include <string.h>

struct search_view *search_of(const struct app *app)
{
    struct eval_view *view = app->state[SCREEN_EVAL];
    return &view->search;
}

void report_search(struct app *app)
{
    struct search_view *view = search_of(app);
    const struct qk_search_state *found = qk_session_search_state(app->session);
    for (size_t i = 0; i < found->n_points && view->selection != NULL; i++)
        if (strcmp(found->point[i].text, view->selection) == 0)
            view->point = (int)i;
    if (found->stage == view->seen)
        return;
    view->seen = found->stage;
    if (found->stage == QK_SEARCH_FAILED)
        say(app, STYLE_ERROR, "the search failed: %s", found->error != NULL ? found->error : "out of memory");
    else if (found->stage != QK_SEARCH_RUNNING)
        say(app, STYLE_GOOD, "the search %s: %zu selections, %zu of them on the front or near it",
            found->stage == QK_SEARCH_COMPLETE  ? "came to its end"
            : found->stage != QK_SEARCH_LIMITED ? "was stopped"
            : found->limits.max_trials > 0      ? "has used its evaluations"
                                                : "has used its time",
            found->n_trials, found->n_points);
}

/* "10", "0.5 minutes", "200 evaluations": a number and its unit, or the unit's beginning. */
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
            "or as '200 evaluations'; it runs in the background; X stops it, and a new one continues from "
            "the kept answers");
    if (!read_limits(argument, &limits))
        return say_failure(
            app, "'%s' is no limit of a search (expected as '10 minutes' or '200 evaluations')", argument);
    if (qk_session_search(app->session, &limits, &err) != QK_OK)
        return say_error(app, &err);
    search_of(app)->seen = QK_SEARCH_RUNNING;
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
    const struct search_view *view = search_of(app);
    struct qk_error err = {0};
    (void)action;
    (void)argument;
    if (qk_session_take_point(app->session, (size_t)view->point, &err) != QK_OK)
        return say_error(app, &err);
    say(app, STYLE_DIM, "point %d: %s; u takes that back", view->point + 1,
        qk_session_search_state(app->session)->point[view->point].text);
    return REFRESH_ROWS;
}
