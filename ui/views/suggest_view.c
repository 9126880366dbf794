/* suggest_view.c - proposals from needle masses: the heads that fetch needles, and choices that put them back. */
#include "ui/views/text_view.h"

#include "ui/format.h"
#include "ui/handlers.h"
#include "ui/message.h"
#include "ui/preconditions.h"

#include "base/text.h"

#include <stdio.h>

enum { SHOWN_HEADS = 6, NUMBER_CELLS = 3 /* of a proposal, with its blank */ };

struct suggest_view {
    struct page page;
    int selected;              /* proposal */
    int line[QK_PROPOSALS][2]; /* first line of each, and the one behind its last */
};

/* NULL with *err when there are none. They belong to the session, which may replace them at any poll. */
static const struct qk_suggestion *proposals(const struct app *app, struct qk_error *err)
{
    const struct qk_suggestion *suggestion;
    return qk_session_suggest(app->session, &suggestion, err) == QK_OK ? suggestion : NULL;
}

/* --- the page --- */

static void add_head(const struct app *app, struct page *page, const struct canvas *canvas,
    const struct qk_recall_head *head, bool recalls)
{
    char name[32], line[96];
    snprintf(name, sizeof name, "%d/q%d", head->of.layer, head->of.head);
    snprintf(line, sizeof line, "%*s%-9s %-6s %6.3f %6.3f %7.3f  %s%.3f", NUMBER_CELLS, "", name,
        qk_kind_name(app->pair->layer[head->of.layer].kind), head->of.mass[QK_PRE].mean,
        head->of.mass[QK_POST].mean, head->of.drop.mean, theme_glyph(&app->theme, GLYPH_PLUS_MINUS),
        head->of.drop.error);
    page_add(page, canvas, recalls ? STYLE_TEXT : STYLE_DIM, line, "");
}

static void add_heads(
    const struct app *app, struct page *page, const struct canvas *canvas, const struct qk_recall *recall)
{
    char heading[96];
    size_t shown = recall->n_recall + 1 < SHOWN_HEADS ? recall->n_recall + 1 : SHOWN_HEADS;
    snprintf(heading, sizeof heading, "%*s%-9s %-6s %6s %6s %7s", NUMBER_CELLS, "", "head", "kind", "pre",
        "post", "drop");
    page_add(page, canvas, STYLE_TEXT, "", "");
    page_add(page, canvas, STYLE_DIM, heading, "");
    for (size_t i = 0; i < recall->n && i < shown; i++)
        add_head(app, page, canvas, &recall->head[i], i < recall->n_recall);
    if (recall->n_recall > shown)
        page_add(page, canvas, STYLE_DIM, "   and more: qkscope heads lists all", "");
}

static void add_proposal(const struct app *app, struct page *page, const struct canvas *canvas,
    const struct qk_suggestion *suggestion, int i)
{
    struct suggest_view *view = app->state[SCREEN_SUGGEST];
    const struct qk_proposal *proposal = &suggestion->proposal[i];
    char number[16], bytes[QK_BYTES_TEXT], line[160];
    page_add(page, canvas, STYLE_TEXT, "", "");
    view->line[i][0] = (int)page->n;
    snprintf(number, sizeof number, "%d", i + 1);
    snprintf(line, sizeof line, "%s: q %d, k %d of %d layer%s, %s", proposal->name, proposal->heads[QK_Q],
        proposal->heads[QK_K], proposal->layers, proposal->layers == 1 ? "" : "s",
        qk_format_bytes(bytes, proposal->bytes));
    page_add(page, canvas, STYLE_CHOICE, number, line);
    page_add(page, canvas, STYLE_TEXT, "", proposal->reason);
    page_add(page, canvas, STYLE_TEXT, "", proposal->set);
    view->line[i][1] = (int)page->n;
}

static void place_suggest(struct app *app, const struct canvas *canvas, struct area area)
{
    struct suggest_view *view = app->state[SCREEN_SUGGEST];
    struct page *page = &view->page;
    struct qk_error err = {0};
    const struct qk_suggestion *suggestion = proposals(app, &err);
    page_begin(page, NUMBER_CELLS, text_width(area));
    page_add(page, canvas, STYLE_TEXT, "", suggestion != NULL ? suggestion->verdict : err.text);
    if (suggestion != NULL)
        add_heads(app, page, canvas, &suggestion->recall);
    for (int i = 0; suggestion != NULL && i < suggestion->n; i++)
        add_proposal(app, page, canvas, suggestion, i);
    if (suggestion != NULL && suggestion->n > 0) {
        view->selected = view->selected < suggestion->n ? view->selected : suggestion->n - 1;
        page->found = view->line[view->selected][0];
    }
    place_text(app, area);
}

static void draw_suggest(const struct app *app, struct canvas *canvas, struct area area)
{
    char heading[96];
    const struct qk_needles *needles = qk_session_needles_state(app->session)->needles;
    snprintf(heading, sizeof heading, "proposals, from needle masses on %zu prompts",
        needles != NULL ? needles->n : 0);
    draw_text_view(app, canvas, area, heading);
}

/* --- keys --- */

static void open_suggest(struct app *app)
{
    struct suggest_view *view = app->state[SCREEN_SUGGEST];
    view->selected = 0;
    view->page.top = 0;
}

static void move_suggest(struct app *app, enum action action)
{
    struct suggest_view *view = app->state[SCREEN_SUGGEST];
    struct qk_error err = {0};
    const struct qk_suggestion *suggestion = proposals(app, &err);
    int step = action == ACTION_DOWN ? 1 : action == ACTION_UP ? -1 : 0, to = view->selected + step;
    if (step == 0 || suggestion == NULL || to < 0 || to >= suggestion->n) {
        page_move(&view->page, action);
        return;
    }
    view->selected = to;
    const int *line = view->line[to];
    int height = view->page.area.h;
    if (line[1] > view->page.top + height)
        view->page.top = line[1] - height;
    if (line[0] < view->page.top)
        view->page.top = line[0];
}

bool has_proposal(const struct app *app)
{
    struct qk_error err = {0};
    const struct qk_suggestion *suggestion = proposals(app, &err);
    return suggestion != NULL && suggestion->n > 0;
}

unsigned run_suggest(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    return toggle_screen(app, SCREEN_SUGGEST);
}

/* Shows the layers again: the masses there follow the choice. */
unsigned run_take(struct app *app, enum action action, const char *argument)
{
    const struct suggest_view *view = app->state[SCREEN_SUGGEST];
    struct qk_error err = {0};
    const struct qk_suggestion *suggestion = proposals(app, &err);
    (void)action;
    (void)argument;
    if (suggestion == NULL)
        return say_error(app, &err);
    const struct qk_proposal *proposal = &suggestion->proposal[view->selected];
    if (qk_session_select(app->session, &proposal->selection, proposal->name, &err) != QK_OK)
        return say_error(app, &err);
    say(app, STYLE_DIM, "%s: %s; u takes that back", proposal->name, proposal->set);
    close_screen(app);
    return REFRESH_ROWS | REFRESH_DRAW;
}

const struct screen_ops suggest_screen = {
    .state_size = sizeof(struct suggest_view),
    .open = open_suggest,
    .place = place_suggest,
    .draw = draw_suggest,
    .go = move_suggest,
    .end = end_text,
};
