/* needles.c - the passes over needle prompts: their start behind the probe text, their end, and the order by drop. */
#include "ui/views/needles.h"

#include "ui/app.h"
#include "ui/complete.h"
#include "ui/dispatch.h"
#include "ui/handlers.h"
#include "ui/message.h"
#include "ui/views/attention_view.h"
#include "ui/views/layers_view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool needles_awaited(const struct app *app)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    return !view->needles.started && (view->needles.wanted || !app->options->no_needles);
}

void needles_start(struct app *app)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    enum qk_probe_stage probe = qk_session_probe_state(app->session)->stage;
    bool over = probe == QK_PROBE_READY || probe == QK_PROBE_FAILED || !any_ranges(app);
    struct qk_error err = {0};
    if (!needles_awaited(app) || !over)
        return;
    view->needles.started = true;
    if (qk_session_needles(app->session, view->needles.file, &err) != QK_OK) {
        say_error(app, &err); /* those before, if any, go on */
        return;
    }
    view->needles.seen = QK_NEEDLES_RUNNING;
    attention_follow(app); /* the text of those before is gone */
}

void needles_again(struct app *app)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    view->needles.started = false;
    view->needles.wanted = true;
}

bool needles_busy(const struct app *app)
{
    const struct qk_needles_state *state = qk_session_needles_state(app->session);
    return state->stage == QK_NEEDLES_RUNNING || state->exact.running;
}

bool needles_state(const struct app *app, char out[96])
{
    const struct qk_needles_state *state = qk_session_needles_state(app->session);
    bool exact = state->exact.running;
    double done = (double)(exact ? state->exact.done : state->done);
    double total = (double)(exact ? state->exact.total : state->total);
    if (!needles_busy(app))
        return false;
    snprintf(out, 96, "%sneedles %.0f %%", exact ? "exact " : "", total > 0 ? floor(100 * done / total) : 0);
    return true;
}

/* The layer under the user's hands stays selected. Before the first key the top row is, and
 * in it the head that lost most. */
static void sort_by_drop(struct app *app)
{
    app->rows.sort = COLUMN_DROP;
    rows_update(&app->rows, app->session);
    if (!app->touched) {
        struct qk_session_needle needle;
        rows_select(&app->rows, 0);
        if (qk_session_needle(app->session, app->rows.selected, &needle))
            app->head = needle.largest_drop;
    }
    if (app->message[0] == '\0')
        say(app, STYLE_DIM, "sorted by drop, the loss of attention to needles; s goes to other orders");
}

static void report_ready(struct app *app)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    const struct qk_needles_state *state = qk_session_needles_state(app->session);
    bool fetches = state->fetches;
    if (fetches && !app->rows.ordered)
        sort_by_drop(app);
    else if (!fetches && !view->needles.reported && app->message[0] == '\0')
        say(app, STYLE_DIM, "no head of pre fetches needles: small drops mean nothing");
    if (state->file != NULL)
        say(app, STYLE_GOOD, "needle masses on %zu prompts of %s%s", state->needles->n, state->file,
            state->n_skipped > 0 ? "; its other cases are no needles" : "");
    app->rows.ordered = view->needles.reported = true;
}

void needles_report(struct app *app)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    const struct qk_needles_state *state = qk_session_needles_state(app->session);
    if (!view->needles.started || state->stage == view->needles.seen)
        return;
    view->needles.seen = state->stage;
    if (state->stage == QK_NEEDLES_READY)
        report_ready(app);
    /* Made prompts fail for the reason why there are no ranges either, unless these are there. */
    bool asked = state->file != NULL, ranges = qk_session_probe_state(app->session)->stage == QK_PROBE_READY;
    if (state->stage == QK_NEEDLES_FAILED && (asked || (ranges && app->message[0] == '\0')))
        say(app, asked ? STYLE_ERROR : STYLE_DIM, "no needle masses: %s", state->error);
}

unsigned run_needles(struct app *app, enum action action, const char *argument)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    if (argument == NULL)
        return ask_argument(app, action, "needles of ", "",
            "a file of cases, as 'qkscope cases' writes them; empty: prompts made for the tokenizer");
    char *file = argument[0] != '\0' ? typed_path(argument) : NULL;
    if (argument[0] != '\0' && file == NULL)
        return say_failure(app, "out of memory");
    free(view->needles.file);
    view->needles.file = file;
    needles_again(app);
    return REFRESH_ROWS;
}

double needle_value(const struct qk_session_needle *needle, enum needle_value which, int head)
{
    const struct qk_needle_layer *pre = needle->side[QK_PRE], *post = needle->side[QK_POST];
    if (head < 0 || head >= post->n_heads)
        return NAN;
    switch (which) {
    case NEEDLE_NOW:
        return needle->current != NULL ? qk_needle_mass(needle->current, head).mean : NAN;
    case NEEDLE_POST:
        return qk_needle_mass(post, head).mean;
    case NEEDLE_DROP:
        return qk_needle_drop(pre, post, head).mean;
    default:
        return qk_needle_mass(pre, head).mean;
    }
}
