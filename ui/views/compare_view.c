/* compare_view.c - two selections beside each other: one that was kept as A, and the present choices. */
#include "ui/views/text_view.h"

#include "blend/change.h"
#include "ui/format.h"
#include "ui/handlers.h"
#include "ui/message.h"

#include "base/mem.h"
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The numbers of a selection, as far as they are known. */
struct numbers {
    struct qk_selection selection;
    double *routing, *reach; /* n_layers: NaN where not known; owned */
    struct qk_score *score;  /* n_tasks; owned */
    size_t n_tasks;
    /* What an export of `counted`, with these norms, would change. */
    struct qk_selection counted;
    bool is_counted, norms;
    size_t n_changes;
    uint64_t bytes;
    struct qk_error error; /* why it cannot be written */
};

/* app->state[SCREEN_COMPARE] */
struct compare_view {
    struct page page;
    bool kept; /* a selection was kept; else A is post as it is */
    struct numbers a, now;
};

enum { NAME = 12, TASK = 20, ANSWER = 22, CELLS = 8, LEAST_CHOICE = 14, MOST_CHOICE = 44, ARROW = 3 };

/* --- numbers --- */

static double routing_of(const struct app *app, int layer, bool current)
{
    const struct qk_layer_drift *drift = model_drift(app, layer, current);
    return drift != NULL ? qk_metric_layer(drift, QK_METRIC_ROUTING, -1) : NAN;
}

static double reach_of(const struct app *app, int layer)
{
    struct qk_session_range range;
    if (!qk_session_range(app->session, layer, &range))
        return NAN;
    const struct qk_layer_range *now =
        range.current_is == QK_CURRENT_POST ? range.side[QK_POST] : range.current;
    return now != NULL ? now->layer.long_mass : NAN;
}

/* Walks over all tensors, so it does so for another selection alone, and not for each frame. */
static void count_changes(const struct app *app, struct numbers *numbers)
{
    struct qk_change *change = NULL;
    bool norms = qk_session_norms(app->session);
    if (numbers->is_counted && numbers->norms == norms &&
        qk_selection_equal(&numbers->counted, &numbers->selection))
        return;
    numbers->is_counted = true;
    numbers->norms = norms;
    qk_selection_assign(&numbers->counted, &numbers->selection);
    numbers->n_changes = 0;
    numbers->bytes = 0;
    numbers->error = (struct qk_error){.code = QK_OK};
    if (qk_changes_find(app->pair, &numbers->selection, norms, false, &change, &numbers->n_changes,
            &numbers->error) != QK_OK)
        numbers->n_changes = 0;
    for (size_t i = 0; i < numbers->n_changes; i++)
        numbers->bytes += change[i].bytes_changed;
    free(change);
}

/* Takes the scores of the current model, which are post's where nothing is chosen. */
static void take_scores(const struct app *app, struct numbers *numbers)
{
    const struct qk_evaluation_state *state = qk_session_evaluation(app->session);
    const struct qk_evaluated *model =
        &state->model[state->model[QK_ASKED_CURRENT].is_post ? QK_ASKED_POST : QK_ASKED_CURRENT];
    if (state->n_tasks == 0 || model->score == NULL)
        return;
    if (numbers->n_tasks != state->n_tasks) {
        free(numbers->score);
        numbers->n_tasks = 0;
        if (qk_alloc(&numbers->score, state->n_tasks, sizeof *numbers->score, NULL) != QK_OK)
            return;
        numbers->n_tasks = state->n_tasks;
    }
    memcpy(numbers->score, model->score, state->n_tasks * sizeof *numbers->score);
}

/* Fills in what is known of the present choices, whose selection these numbers have. */
static void take_numbers(const struct app *app, struct numbers *numbers)
{
    for (int i = 0; i < app->pair->n_layers; i++) {
        numbers->routing[i] = app->pair->layer[i].has_qk ? routing_of(app, i, true) : NAN;
        numbers->reach[i] = reach_of(app, i);
    }
    take_scores(app, numbers);
}

/* The numbers of post alone are there whatever is chosen. */
static void take_post(const struct app *app, struct numbers *numbers)
{
    const struct qk_evaluation_state *state = qk_session_evaluation(app->session);
    for (int i = 0; i < app->pair->n_layers; i++) {
        struct qk_session_range range;
        bool ranges = qk_session_range(app->session, i, &range) && range.side[QK_POST] != NULL;
        numbers->routing[i] = routing_of(app, i, false);
        numbers->reach[i] = ranges ? range.side[QK_POST]->layer.long_mass : NAN;
    }
    if (state->n_tasks > 0 && numbers->n_tasks == state->n_tasks)
        memcpy(numbers->score, state->model[QK_ASKED_POST].score, state->n_tasks * sizeof *numbers->score);
}

static enum qk_code start_numbers(const struct app *app, struct numbers *numbers, struct qk_error *err)
{
    size_t n = (size_t)app->pair->n_layers;
    QK_TRY(qk_selection_init(&numbers->selection, app->pair->n_layers, err));
    QK_TRY(qk_selection_init(&numbers->counted, app->pair->n_layers, err));
    QK_TRY(qk_alloc(&numbers->routing, n, sizeof *numbers->routing, err));
    return qk_alloc(&numbers->reach, n, sizeof *numbers->reach, err);
}

static void free_numbers(struct numbers *numbers)
{
    qk_selection_free(&numbers->selection);
    qk_selection_free(&numbers->counted);
    free(numbers->routing);
    free(numbers->reach);
    free(numbers->score);
}

static void update(struct app *app)
{
    struct compare_view *view = app->state[SCREEN_COMPARE];
    const struct qk_selection *now = qk_session_selection(app->session);
    if (!qk_selection_equal(&view->now.selection, now) && view->now.score != NULL)
        memset(view->now.score, 0, view->now.n_tasks * sizeof *view->now.score);
    qk_selection_assign(&view->now.selection, now);
    take_numbers(app, &view->now);
    if (qk_selection_equal(&view->a.selection, now))
        take_numbers(app, &view->a);
    else if (qk_selection_count(&view->a.selection) == 0)
        take_post(app, &view->a);
}

/* --- the page --- */

static void number_text(char out[NUMBER_TEXT], double value)
{
    format_number(out, 100 * value);
}

/* "  15.7    3.92": A's number and now's. */
static void pair_text(char out[64], double a, double now)
{
    char first[NUMBER_TEXT], second[NUMBER_TEXT];
    number_text(first, a);
    number_text(second, now);
    snprintf(out, 64, "%*s%*s", CELLS, first, CELLS, second);
}

static void pad(const struct canvas *canvas, struct qk_text *line, const char *text, int cells)
{
    int used = text_cells(canvas, text);
    qk_text_add(line, "%s%*s", text, used < cells ? cells - used : 1, "");
}

static void add_line(struct page *page, const struct canvas *canvas, enum style style, struct qk_text *line)
{
    if (line->s != NULL)
        page_add(page, canvas, style, line->s, "");
    qk_text_free(line);
}

static int choice_cells(int width)
{
    int cells = (width - NAME - 4 * CELLS) / 2;
    return cells < LEAST_CHOICE ? LEAST_CHOICE : cells > MOST_CHOICE ? MOST_CHOICE : cells;
}

static void add_layer(const struct app *app, const struct compare_view *view, struct page *page,
    const struct canvas *canvas, int i)
{
    const struct numbers *const side[] = {&view->a, &view->now};
    char name[32], numbers[64];
    struct qk_text line = {0};
    int cells = choice_cells(page->width);
    bool same = qk_layer_choice_equal(&view->a.selection.choice[i], &view->now.selection.choice[i]);
    snprintf(name, sizeof name, "%4d %s", i, qk_kind_name(app->pair->layer[i].kind));
    pad(canvas, &line, name, NAME);
    for (int s = 0; s < 2; s++) {
        char text[CHOICE_LABEL];
        for (int length = CHOICE_WHOLE; length <= CHOICE_SHORTEST; length++) {
            format_choices(text, &side[s]->selection.choice[i], app->theme.ascii, (enum choice_length)length);
            if (text_cells(canvas, text) < cells)
                break;
        }
        pad(canvas, &line, text, cells);
    }
    pair_text(numbers, view->a.routing[i], view->now.routing[i]);
    qk_text_add(&line, "%s", numbers);
    pair_text(numbers, view->a.reach[i], view->now.reach[i]);
    qk_text_add(&line, "%s", numbers);
    add_line(page, canvas, same ? STYLE_DIM : STYLE_TEXT, &line);
}

/* The layers with a choice on either side. */
static void add_layers(
    const struct app *app, const struct compare_view *view, struct page *page, const struct canvas *canvas)
{
    struct qk_text line = {0};
    int cells = choice_cells(page->width), n = 0;
    pad(canvas, &line, "layer", NAME);
    pad(canvas, &line, view->kept ? "A" : "A: post", cells);
    pad(canvas, &line, "now", cells);
    qk_text_add(&line, "%*s%*s%*s%*s", CELLS, "rout. A", CELLS, "now %", CELLS, "reach A", CELLS, "now %");
    add_line(page, canvas, STYLE_HEADING, &line);
    for (int i = 0; i < app->pair->n_layers; i++)
        if (!qk_layer_choice_keeps(&view->a.selection.choice[i]) ||
            !qk_layer_choice_keeps(&view->now.selection.choice[i])) {
            add_layer(app, view, page, canvas, i);
            n++;
        }
    if (n == 0)
        page_add(page, canvas, STYLE_DIM, "no choices on either side", "");
}

static double mean(const struct app *app, const double *value, bool softmax)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < app->pair->n_layers; i++)
        if (app->pair->layer[i].has_qk && (!softmax || qk_kind_softmax(app->pair->layer[i].kind))) {
            sum += value[i];
            n++;
        }
    return n > 0 ? sum / n : NAN;
}

/* "64.6   64.9   +0.3" of one mean over layers. */
static void add_mean(struct page *page, const struct canvas *canvas, const char *name, double a, double now)
{
    char numbers[64], difference[NUMBER_TEXT] = "-", line[256];
    bool known = !isnan(a) && !isnan(now);
    pair_text(numbers, a, now);
    if (known)
        snprintf(difference, sizeof difference, "%+.2f", 100 * (now - a));
    snprintf(line, sizeof line, "%-*s%s%*s%s", 2 * NAME, name, numbers, CELLS + 1, difference,
        known ? "" : "   not known yet: it comes by itself while that selection is chosen");
    page_add(page, canvas, known ? STYLE_TEXT : STYLE_PENDING, line, "");
}

static void score_text(char out[48], struct qk_score score)
{
    struct qk_interval interval = qk_score_interval(score);
    snprintf(out, 48, "-");
    if (score.total > 0)
        snprintf(out, 48, "%.1f (%.0f-%.0f) of %zu", 100 * (double)score.right / (double)score.total,
            100 * interval.low, 100 * interval.high, score.total);
}

static void add_task(const struct compare_view *view, struct page *page, const struct canvas *canvas,
    const char *task, size_t t)
{
    char a[48], now[48], difference[32] = "";
    struct qk_text line = {0};
    struct qk_score none = {0}, sa = t < view->a.n_tasks ? view->a.score[t] : none,
                    sn = t < view->now.n_tasks ? view->now.score[t] : none;
    struct qk_interval ia = qk_score_interval(sa), in = qk_score_interval(sn);
    bool known = sa.total > 0 && sn.total > 0, apart = known && (ia.low > in.high || in.low > ia.high);
    score_text(a, sa);
    score_text(now, sn);
    if (known)
        snprintf(difference, sizeof difference, "%+.1f%s",
            100 * ((double)sn.right / (double)sn.total - (double)sa.right / (double)sa.total),
            apart ? "" : " within");
    pad(canvas, &line, task, TASK);
    pad(canvas, &line, a, ANSWER);
    pad(canvas, &line, now, ANSWER);
    qk_text_add(&line, "%s", difference);
    add_line(page, canvas, apart ? STYLE_STRONG : STYLE_TEXT, &line);
}

/* What gives the answers that are missing, or NULL. */
static const char *missing_answers(const struct app *app, const struct compare_view *view)
{
    const struct qk_evaluation_state *state = qk_session_evaluation(app->session);
    size_t a = 0, now = 0;
    for (size_t t = 0; t < view->a.n_tasks; t++)
        a += view->a.score[t].total;
    for (size_t t = 0; t < view->now.n_tasks; t++)
        now += view->now.score[t].total;
    if (state->stage == QK_EVALUATION_OFF)
        return "no model was asked yet: t runs the cases";
    if (state->n_tasks == 0)
        return state->error != NULL ? state->error : "there are no cases: --cases names files of them";
    if (now == 0)
        return "the present choices have no answers yet: t asks them";
    return a == 0 ? "A has no answers: Enter makes it current, t asks it, and Enter goes back" : NULL;
}

static void add_answers(
    const struct app *app, const struct compare_view *view, struct page *page, const struct canvas *canvas)
{
    const struct qk_evaluation_state *state = qk_session_evaluation(app->session);
    const char *missing = missing_answers(app, view);
    struct qk_text line = {0};
    pad(canvas, &line, "right answers, %", TASK);
    pad(canvas, &line, "A (95 %)", ANSWER);
    pad(canvas, &line, "now (95 %)", ANSWER);
    qk_text_add(&line, "now - A");
    page_add(page, canvas, STYLE_TEXT, "", "");
    add_line(page, canvas, STYLE_HEADING, &line);
    for (size_t t = 0; t < state->n_tasks; t++)
        add_task(view, page, canvas, state->task[t], t);
    if (missing != NULL)
        page_add(page, canvas, STYLE_PENDING, missing, "");
}

static void add_changes(
    struct page *page, const struct canvas *canvas, const char *name, const struct numbers *of)
{
    char line[QK_ERROR_TEXT + 64], bytes[QK_BYTES_TEXT];
    if (of->error.code != QK_OK)
        snprintf(line, sizeof line, "%-*s%s", 2 * NAME, name, of->error.text);
    else
        snprintf(line, sizeof line, "%-*s%zu tensor%s, %s", 2 * NAME, name, of->n_changes,
            of->n_changes == 1 ? "" : "s", qk_format_bytes(bytes, of->bytes));
    page_add(page, canvas, of->error.code != QK_OK ? STYLE_ERROR : STYLE_TEXT, line, "");
}

static void place_compare(struct app *app, const struct canvas *canvas, struct area area)
{
    struct compare_view *view = app->state[SCREEN_COMPARE];
    struct page *page = &view->page;
    char line[96];
    update(app);
    count_changes(app, &view->a);
    count_changes(app, &view->now);
    page_begin(page, text_width(area), text_width(area));
    add_layers(app, view, page, canvas);
    page_add(page, canvas, STYLE_TEXT, "", "");
    snprintf(line, sizeof line, "%-*s%*s%*s%*s", 2 * NAME, "mean over layers, %", CELLS, "A", CELLS, "now",
        CELLS + 1, "now - A");
    page_add(page, canvas, STYLE_HEADING, line, "");
    add_mean(page, canvas, "routing from pre", mean(app, view->a.routing, false),
        mean(app, view->now.routing, false));
    add_mean(
        page, canvas, "reach of softmax", mean(app, view->a.reach, true), mean(app, view->now.reach, true));
    add_answers(app, view, page, canvas);
    page_add(page, canvas, STYLE_TEXT, "", "");
    page_add(page, canvas, STYLE_HEADING, "an export changes", "");
    add_changes(page, canvas, "A", &view->a);
    add_changes(page, canvas, "now", &view->now);
    place_text(app, area);
}

static void draw_compare(const struct app *app, struct canvas *canvas, struct area area)
{
    const struct compare_view *view = app->state[SCREEN_COMPARE];
    draw_text_view(app, canvas, area,
        view->kept ? "A, as & kept it, and the present choices"
                   : "post as it is, and the present choices: & keeps choices as A");
}

/* --- keys --- */

/* A goes on filling in while its selection is the current one, whichever view is open. */
static void report_compare(struct app *app)
{
    const struct compare_view *view = app->state[SCREEN_COMPARE];
    if (view->kept && qk_selection_equal(&view->a.selection, qk_session_selection(app->session)))
        update(app);
}

static enum qk_code start_compare(struct app *app, struct qk_error *err)
{
    struct compare_view *view = app->state[SCREEN_COMPARE];
    QK_TRY(start_numbers(app, &view->a, err));
    return start_numbers(app, &view->now, err);
}

static void end_compare(void *state)
{
    struct compare_view *view = state;
    free_numbers(&view->a);
    free_numbers(&view->now);
    page_free(&view->page);
}

unsigned run_keep_a(struct app *app, enum action action, const char *argument)
{
    struct compare_view *view = app->state[SCREEN_COMPARE];
    const struct qk_selection *now = qk_session_selection(app->session);
    int n = qk_selection_count(now);
    (void)action;
    (void)argument;
    if (!qk_selection_equal(&view->a.selection, now) && view->a.score != NULL)
        memset(view->a.score, 0, view->a.n_tasks * sizeof *view->a.score);
    qk_selection_assign(&view->a.selection, now);
    view->kept = true;
    update(app);
    say(app, STYLE_DIM, "%d choice%s kept as A: = compares A with what is chosen then", n, n == 1 ? "" : "s");
    return REFRESH_DRAW;
}

unsigned run_compare(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    return toggle_screen(app, SCREEN_COMPARE);
}

/* A becomes current, and what was current becomes A. */
unsigned run_swap(struct app *app, enum action action, const char *argument)
{
    struct compare_view *view = app->state[SCREEN_COMPARE];
    struct qk_error err = {0};
    (void)action;
    (void)argument;
    update(app);
    if (qk_session_select(app->session, &view->a.selection, "choices of A", &err) != QK_OK)
        return say_error(app, &err);
    struct numbers a = view->a;
    view->a = view->now;
    view->now = a;
    view->kept = true;
    say(app, STYLE_DIM, "A is chosen now, and what was chosen is A: Enter turns that around");
    return REFRESH_ROWS | REFRESH_DRAW;
}

const struct screen_ops compare_screen = {
    .state_size = sizeof(struct compare_view),
    .start = start_compare,
    .place = place_compare,
    .draw = draw_compare,
    .go = move_text,
    .report = report_compare,
    .end = end_compare,
};
