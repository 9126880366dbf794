/* probe.c - the probe text's passes: their start, by default or by a file's name, their stop, and reports of their
 * end. */
#include "ui/views/probe.h"

#include "ui/app.h"
#include "ui/complete.h"
#include "ui/dispatch.h"
#include "ui/handlers.h"
#include "ui/message.h"
#include "ui/preconditions.h"
#include "ui/views/attention_view.h"
#include "ui/views/layers_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool probe_busy(const struct app *app)
{
    const struct qk_probe_state *state = qk_session_probe_state(app->session);
    return state->stage == QK_PROBE_RUNNING || state->exact.running;
}

/* Options NULL: the last probe's. */
static enum qk_code start(struct app *app, const struct qk_probe_options *options, struct qk_error *err)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    view->probe.started = true;
    QK_TRY(options != NULL ? qk_session_probe(app->session, options, err)
                           : qk_session_probe_again(app->session, err));
    attention_follow(app);
    view->probe.seen = QK_PROBE_RUNNING;
    return QK_OK;
}

void probe_start(struct app *app)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    const struct qk_probe_options options = {.cached = true};
    struct qk_error err = {0};
    if (view->probe.started || !any_ranges(app))
        return;
    if (start(app, &options, &err) != QK_OK)
        say_error(app, &err);
}

void probe_again(struct app *app)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    struct qk_error err = {0};
    if (view->probe.started && start(app, NULL, &err) != QK_OK)
        say_error(app, &err);
}

/* Reports the failure of a requested probe in full. For the default probe it shows one short line, and the detail and
 * the messages have the whole text. */
static void report_failure(struct app *app, const char *why)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    bool quiet = app->message[0] != '\0' && !view->probe.asked;
    if (quiet)
        return;
    say(app, STYLE_ERROR, "no attention ranges: %s", why != NULL ? why : "the probe failed");
    if (!view->probe.asked)
        say(app, STYLE_DIM, "no attention ranges%s: W shows why",
            qk_session_probe_state(app->session)->estimated ? ", but an estimate from weights" : "");
}

static void report_exact(struct app *app, const char *why)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    bool failed = why != NULL;
    if (failed && !view->probe.exact_failed)
        say(app, STYLE_WARNING, "no exact ranges: %s", why);
    view->probe.exact_failed = failed;
}

void probe_report(struct app *app)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    const struct qk_probe_state *state = qk_session_probe_state(app->session);
    if (!view->probe.started)
        return;
    report_exact(app, state->exact.error);
    if (state->stage == view->probe.seen)
        return;
    view->probe.seen = state->stage;
    if (state->stage == QK_PROBE_FAILED)
        report_failure(app, state->error);
    else if (state->stage == QK_PROBE_READY && state->pre_cannot != NULL)
        say(app, STYLE_WARNING, "%s", state->pre_cannot);
    else if (state->stage == QK_PROBE_READY && view->probe.asked)
        say(app, STYLE_GOOD, "attention ranges over %zu tokens, %zu queries", state->n_ids,
            state->n_ids - state->first_query);
}

static unsigned start_asked(struct app *app, const struct qk_probe_options *options)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    struct qk_error err = {0};
    if (start(app, options, &err) != QK_OK)
        return say_error(app, &err); /* the probe before goes on, and ends as it would have */
    view->probe.asked = true;
    return REFRESH_ROWS;
}

static unsigned start_named(struct app *app, enum action action, const char *first, const char *second)
{
    struct qk_probe_options options = {.cached = action != ACTION_STATES};
    options.text_path = action == ACTION_PROBE ? first : NULL;
    options.ids_path = action == ACTION_IDS ? first : NULL;
    options.states_path[QK_POST] = action == ACTION_STATES ? first : NULL;
    options.states_path[QK_PRE] = second;
    return start_asked(app, &options);
}

unsigned run_probe(struct app *app, enum action action, const char *argument)
{
    static const struct qk_probe_options built_in = {.cached = true};
    if (argument == NULL)
        return ask_argument(app, action,
            action == ACTION_PROBE ? "probe text "
            : action == ACTION_IDS ? "token ids "
                                   : "states ",
            "",
            action == ACTION_PROBE ? "a text file; empty: the built-in text"
            : action == ACTION_IDS ? "a file of token ids in decimal, separated by white space"
                                   : "a safetensors file with post's hidden_states.{layer} and input_ids; "
                                     "behind it may stand one of pre's own, of the same tokens");
    if (argument[0] == '\0' && action != ACTION_PROBE)
        return say_failure(app, "a file is needed");
    if (argument[0] == '\0')
        return start_asked(app, &built_in);
    const char *behind = action == ACTION_STATES ? second_path(argument) : NULL;
    size_t n = behind != NULL ? (size_t)(behind - argument) : strlen(argument);
    while (behind != NULL && n > 0 && argument[n - 1] == ' ')
        n--;
    char name[PROMPT_TEXT];
    snprintf(name, sizeof name, "%.*s", (int)n, argument);
    char *first = typed_path(name), *second = behind != NULL && *behind != '\0' ? typed_path(behind) : NULL;
    unsigned refresh =
        first != NULL ? start_named(app, action, first, second) : say_failure(app, "out of memory");
    free(first);
    free(second);
    return refresh;
}

unsigned run_probe_stop(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    bool whole = qk_session_probe_state(app->session)->stage == QK_PROBE_RUNNING;
    bool needles = qk_session_needles_state(app->session)->stage == QK_NEEDLES_RUNNING;
    qk_session_probe_cancel(app->session);
    qk_session_needles_cancel(app->session);
    say(app, STYLE_WARNING, "stopped%s",
        whole     ? ": T and Enter run the built-in probe text"
        : needles ? ": r measures needles again"
                  : "");
    return REFRESH_ROWS;
}

unsigned run_plot(struct app *app, enum action action, const char *argument)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    (void)action;
    (void)argument;
    view->plot = view->plot == PLOT_RANGES ? PLOT_ANGLES : PLOT_RANGES;
    say(app, STYLE_DIM, "the detail shows %s",
        view->plot == PLOT_RANGES ? "attention ranges, and angles where there is room" : "angles alone");
    return REFRESH_DRAW;
}
