/* eval_view.c - right answers: pre, post and the current model, task by task, each figure with its interval. */
#include "ui/views/eval_view.h"

#include "ui/app.h"
#include "ui/handlers.h"
#include "ui/message.h"
#include "ui/preconditions.h"
#include "ui/screen.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A figure: "57.0 50-64", its bar, and its number of cases. */
enum { RATE_CELLS = 5, INTERVAL_CELLS = 7, COUNT_CELLS = 5, SHORTEST_BAR = 4, LONGEST_BAR = 40 };
enum { LEAST_FIGURE = RATE_CELLS + INTERVAL_CELLS, SHORTEST_NAME = 12 };

static const struct {
    const char *name;
    enum style style;
} MODELS[QK_ASKED_COUNT] = {{"pre", STYLE_PRE}, {"post", STYLE_POST}, {"current", STYLE_CHOICE}};

/* The columns of a panel: a name and the cell behind it, then a figure for each model. */
struct columns {
    int name, figure, bar, count;
    int rows; /* of a task: two where bars have a row of their own */
};

static struct columns columns_of(const struct canvas *canvas, const struct qk_evaluation_state *state, int w)
{
    struct columns c = {.name = SHORTEST_NAME, .rows = 1};
    for (size_t t = 0; t < state->n_tasks; t++) {
        int cells = text_cells(canvas, state->task[t]) + 1;
        c.name = cells > c.name ? cells : c.name;
    }
    int most = w - 2 - QK_ASKED_COUNT * (LEAST_FIGURE + 1);
    c.name = c.name > most ? most : c.name;
    c.figure = (w - 2 - c.name) / QK_ASKED_COUNT;
    c.count = c.figure >= LEAST_FIGURE + COUNT_CELLS ? COUNT_CELLS : 0;
    c.bar = c.figure - LEAST_FIGURE - c.count - 2;
    c.bar = c.bar < SHORTEST_BAR ? 0 : c.bar > LONGEST_BAR ? LONGEST_BAR : c.bar;
    return c;
}

/* --- figures --- */

/* The bar ends at the share of right answers. The part of the interval beyond it is drawn as a removed part. */
static void draw_figure(
    struct canvas *canvas, int y, int x, struct columns c, enum style style, struct qk_score score, size_t of)
{
    char text[32];
    struct qk_interval interval = qk_score_interval(score);
    double rate = score.total > 0 ? (double)score.right / (double)score.total : 0;
    if (score.total == 0) {
        draw_text(
            canvas, y, x, RATE_CELLS, ALIGN_RIGHT, STYLE_PENDING, theme_glyph(canvas->theme, GLYPH_WAIT));
        return;
    }
    snprintf(text, sizeof text, "%.1f", 100 * rate);
    draw_text(canvas, y, x, RATE_CELLS, ALIGN_RIGHT, style, text);
    snprintf(text, sizeof text, "%.0f-%.0f", 100 * interval.low, 100 * interval.high);
    draw_text(canvas, y, x + RATE_CELLS + 1, INTERVAL_CELLS - 1, ALIGN_LEFT, STYLE_DIM, text);
    x += LEAST_FIGURE + (c.bar > 0 ? 1 : 0);
    if (c.bar > 0)
        draw_bar(canvas, y, x, c.bar, style, rate, interval.high);
    else if (c.rows > 1)
        draw_bar(canvas, y + 1, x - LEAST_FIGURE + 1, c.figure - 2, style, rate, interval.high);
    snprintf(text, sizeof text, "%zu", score.total);
    if (c.count > 0)
        draw_text(canvas, y, x + c.bar, c.count - 1, ALIGN_RIGHT,
            score.total < of ? STYLE_PENDING : STYLE_DIM, text);
}

static void draw_task(struct canvas *canvas, struct area row, struct columns c,
    const struct qk_evaluation_state *state, size_t task)
{
    draw_text(canvas, row.y, row.x + 1, c.name - 1, ALIGN_LEFT, STYLE_TEXT, state->task[task]);
    for (int who = 0; who < QK_ASKED_COUNT; who++) {
        const struct qk_evaluated *model = &state->model[who];
        int x = row.x + 1 + c.name + who * c.figure;
        if (model->is_post)
            draw_text(canvas, row.y, x + 1, c.figure - 1, ALIGN_LEFT, STYLE_DIM, "as post");
        else
            draw_figure(canvas, row.y, x, c, MODELS[who].style, model->score[task], state->n_of_task[task]);
    }
}

static void draw_heading(
    struct canvas *canvas, struct area row, struct columns c, const struct qk_evaluation_state *state)
{
    draw_text(canvas, row.y, row.x + 1, c.name, ALIGN_LEFT, STYLE_HEADING, "task, %");
    for (int who = 0; who < QK_ASKED_COUNT; who++) {
        char text[64];
        const struct qk_evaluated *model = &state->model[who];
        int x = row.x + 1 + c.name + who * c.figure;
        snprintf(text, sizeof text, model->is_post ? "%s" : "%s %zu/%zu", MODELS[who].name, model->n_known,
            state->n_cases);
        draw_text(canvas, row.y, x + 1, c.figure - 1, ALIGN_LEFT, MODELS[who].style, text);
    }
}

/* --- the state --- */

static enum style progress_text(
    const struct app *app, const struct qk_evaluation_state *state, char out[QK_ERROR_TEXT])
{
    bool searches = qk_session_search_state(app->session)->stage == QK_SEARCH_RUNNING;
    for (int who = 0; who < QK_ASKED_COUNT; who++)
        if (state->model[who].error != NULL) {
            snprintf(out, QK_ERROR_TEXT, "%s: %s", MODELS[who].name, state->model[who].error);
            return STYLE_ERROR;
        }
    if (state->stage == QK_EVALUATION_READY) {
        snprintf(out, QK_ERROR_TEXT, "every case is answered");
        return STYLE_GOOD;
    }
    snprintf(
        out, QK_ERROR_TEXT, searches ? "the search goes first: other cases are asked after it" : "waiting");
    for (int who = 0; who < QK_ASKED_COUNT; who++) {
        const struct qk_evaluated *model = &state->model[who];
        if (model->running)
            snprintf(out, QK_ERROR_TEXT, "asking %s: %d %% of %" PRIu64 " tokens; closing the view pauses it",
                MODELS[who].name,
                model->total > 0 ? (int)(100.0 * (double)model->done / (double)model->total) : 0,
                model->total);
    }
    return STYLE_PENDING;
}

/* The text while there are no tasks. */
static void draw_no_tasks(struct canvas *canvas, struct area area, const struct qk_evaluation_state *state)
{
    switch (state->stage) {
    case QK_EVALUATION_FAILED:
        draw_wrapped(canvas, area, STYLE_ERROR, state->error);
        break;
    case QK_EVALUATION_NO_CASES:
        draw_wrapped(canvas, area, STYLE_WARNING,
            "Nothing to ask: no cases were named, and there is no folder 'cases' with .jsonl files beside "
            "the "
            "checkpoints. Start with --cases FILE, which can be repeated. 'qkscope cases' writes such files, "
            "'man qkscope' documents their format.");
        break;
    default:
        draw_wrapped(canvas, area, STYLE_PENDING, "reading the cases");
        break;
    }
}

/* "evaluation: recall.jsonl, reasoning.jsonl", the names without their folders. */
static void draw_title(struct canvas *canvas, struct area area, const struct qk_evaluation_state *state)
{
    struct qk_text text = {0};
    qk_text_add(&text, "evaluation");
    for (size_t i = 0; i < state->n_files; i++) {
        const char *slash = strrchr(state->file[i], '/');
        qk_text_add(&text, "%s %s", i == 0 ? ":" : ",", slash != NULL ? slash + 1 : state->file[i]);
    }
    draw_rule(canvas, area.y, area.x, area.w, STYLE_HEADING, text.s != NULL ? text.s : "");
    qk_text_free(&text);
}

/* Rows for the tasks: all but those of the state, or half of them where a front is shown, too. */
static int tasks_height(const struct app *app, int h)
{
    bool front = qk_session_search_state(app->session)->n_points > 0;
    int n = 1 + (int)qk_session_evaluation(app->session)->n_tasks;
    if (!front)
        return h - 1;
    return n > h / 2 ? h / 2 : n;
}

/* Lays out the columns, and bars in rows of their own where all tasks fit with them. */
static struct columns columns_in(
    const struct canvas *canvas, const struct qk_evaluation_state *state, int w, int h)
{
    struct columns c = columns_of(canvas, state, w);
    if (c.bar == 0 && 1 + 2 * (int)state->n_tasks <= h)
        c.rows = 2;
    return c;
}

/* The area of the tasks, with their heading. */
static struct area tasks_area(const struct app *app, struct area area)
{
    return (struct area){area.y + 1, area.x, tasks_height(app, area.h - 1), area.w};
}

/* The area of the search, below the tasks and their progress. */
static struct area search_area(const struct app *app, struct area area, const struct columns *c)
{
    const struct eval_view *view = app->state[SCREEN_EVAL];
    int used = 3 + view->height * c->rows;
    return (struct area){area.y + used, area.x, area.h - used, area.w};
}

static void place_eval(struct app *app, const struct canvas *canvas, struct area area)
{
    const struct qk_evaluation_state *state = qk_session_evaluation(app->session);
    struct eval_view *view = app->state[SCREEN_EVAL];
    struct area tasks = tasks_area(app, area);
    struct columns c = columns_in(canvas, state, tasks.w, tasks.h);
    int n = (int)state->n_tasks;
    if (n == 0)
        return;
    view->height = tasks.h - 1 < n * c.rows ? tasks.h - 1 : n;
    view->top = view->top > n - view->height ? n - view->height : view->top < 0 ? 0 : view->top;
    place_search(app, canvas, search_area(app, area, &c));
}

static void draw_eval(const struct app *app, struct canvas *canvas, struct area area)
{
    const struct qk_evaluation_state *state = qk_session_evaluation(app->session);
    const struct eval_view *view = app->state[SCREEN_EVAL];
    char text[QK_ERROR_TEXT];
    draw_title(canvas, area, state);
    if (state->n_tasks == 0) {
        draw_no_tasks(canvas, (struct area){area.y + 1, area.x + 1, area.h - 1, area.w - 2}, state);
        return;
    }
    struct area tasks = tasks_area(app, area);
    struct columns c = columns_in(canvas, state, tasks.w, tasks.h);
    draw_heading(canvas, tasks, c, state);
    for (int i = 0; i < view->height; i++)
        draw_task(canvas, (struct area){tasks.y + 1 + i * c.rows, area.x, 1, area.w}, c, state,
            (size_t)(view->top + i));
    struct area search = search_area(app, area, &c);
    enum style style = progress_text(app, state, text);
    draw_text(canvas, search.y - 1, area.x + 1, area.w - 2, ALIGN_LEFT, style, text);
    draw_search(app, canvas, search);
}

static void move_eval(struct app *app, enum action action)
{
    struct eval_view *view = app->state[SCREEN_EVAL];
    int n_points = (int)qk_session_search_state(app->session)->n_points,
        *at = n_points > 0 ? &view->search.point : &view->top;
    int page = view->height > 1 ? view->height - 1 : 1, n = (int)qk_session_evaluation(app->session)->n_tasks;
    switch (action) {
    case ACTION_UP:
    case ACTION_POINT_RIGHT:
        --*at;
        break;
    case ACTION_DOWN:
    case ACTION_POINT_LEFT:
        ++*at;
        break;
    case ACTION_PAGE_UP:
    case ACTION_HALF_UP:
        view->top -= page;
        break;
    case ACTION_PAGE_DOWN:
    case ACTION_HALF_DOWN:
        view->top += page;
        break;
    default:
        *at = action == ACTION_LAST ? n + n_points : 0;
        break;
    }
    int point = view->search.point >= n_points ? n_points - 1 : view->search.point;
    view->search.point = point < 0 ? 0 : point;
}

static void close_eval(struct app *app)
{
    qk_session_evaluate_pause(app->session);
}

static void end_eval(void *state)
{
    struct eval_view *view = state;
    free(view->search.selection);
}

const struct screen_ops eval_screen = {
    .state_size = sizeof(struct eval_view),
    .place = place_eval,
    .draw = draw_eval,
    .go = move_eval,
    .report = report_search,
    .close = close_eval,
    .end = end_eval,
};

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
    if (top_screen(app) != SCREEN_EVAL &&
        qk_session_evaluate(app->session, app->options->cases, app->options->n_cases, false, &err) != QK_OK)
        return say_error(app, &err);
    return toggle_screen(app, SCREEN_EVAL);
}
