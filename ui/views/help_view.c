/* help_view.c - help: every action, those of the view below first, and on a second page modes, numbers and signs. */
#include "ui/views/text_view.h"

#include "ui/dispatch.h"
#include "ui/handlers.h"

#include <stdio.h>
#include <string.h>

static void action_keys(const struct qk_action_info *info, const struct action_traits *traits, char out[64])
{
    if (info->keys[0] != '\0' && traits->argument == NULL)
        snprintf(out, 64, " %s", info->keys);
    else if (info->keys[0] != '\0')
        snprintf(out, 64, " %s  :%s", info->keys, info->name);
    else
        snprintf(out, 64, " :%s %s", info->name, traits->argument);
}

/* app->state[SCREEN_HELP] */
struct help_view {
    struct page page;
    bool signs;         /* numbers and signs are shown instead of keys */
    enum screen_id of;  /* the view whose keys come first */
    bool made_of_signs; /* what the page holds */
    enum screen_id made_of;
};

static void add_heading(struct page *page, const struct canvas *canvas, const char *heading)
{
    if (page->n > 0)
        page_add(page, canvas, STYLE_TEXT, "", "");
    page_add(page, canvas, STYLE_HEADING, heading, "");
}

/* The actions of a view, or all others. */
static void add_actions(
    const struct app *app, struct page *page, const struct canvas *canvas, enum screen_id view, bool here)
{
    const char *group = "";
    for (int i = 0; i < ACTION_COUNT; i++) {
        char keys[64];
        const struct qk_action_info *info = qk_action_info(i);
        const struct action_traits *traits = action_traits((enum action)i);
        if (!action_exists(app, (enum action)i) || ((traits->where & 1u << view) != 0) != here)
            continue;
        if (strcmp(group, info->group) != 0)
            add_heading(page, canvas, info->group);
        group = info->group;
        action_keys(info, traits, keys);
        page_add(page, canvas, STYLE_KEY, keys, info->help);
    }
}

static void add_keys(
    const struct app *app, struct page *page, const struct canvas *canvas, enum screen_id view)
{
    add_actions(app, page, canvas, view, true);
    page_add(page, canvas, STYLE_TEXT, "", "");
    page_add(page, canvas, STYLE_FOCUS, "In other views", "");
    add_actions(app, page, canvas, view, false);
}

static void add_numbers(const struct app *app, struct page *page, const struct canvas *canvas)
{
    char name[64];
    add_heading(page, canvas, "Modes");
    for (int m = 0; m < QK_MODE_COUNT; m++) {
        const struct qk_mode_info *info = qk_mode_info((enum qk_mode)m);
        snprintf(name, sizeof name, " %s %s", info->name, app->theme.ascii ? info->ascii : info->symbol);
        page_add(page, canvas, STYLE_CHOICE, name, info->help);
    }
    add_heading(page, canvas, "Numbers");
    for (int m = 0; m < QK_METRIC_COUNT; m++) {
        const struct qk_metric_info *info = qk_metric_info((enum qk_metric)m);
        snprintf(name, sizeof name, " %s", info->key);
        page_add(page, canvas, STYLE_CHOICE, name, info->help);
    }
    page_add(page, canvas, STYLE_CHOICE, " shift",
        "Jensen-Shannon divergence of pre's attention from post's on the same inputs, in nats: 0 to ln 2");
    page_add(
        page, canvas, STYLE_CHOICE, " reach", "attention to tokens at that distance or farther, as a share");
    page_add(page, canvas, STYLE_CHOICE, " needle, drop",
        "attention from an answer to its needle, of the layer's strongest head, and what post lost of it");
}

static void add_signs(const struct app *app, struct page *page, const struct canvas *canvas)
{
    static const struct {
        enum glyph glyph;
        const char *text;
    } SIGNS[] = {{GLYPH_POINTER, "the selected layer"},
        {GLYPH_MARK, "a marked layer: keys act on all of them"},
        {GLYPH_RANGE, "a layer of the range that v began"},
        {GLYPH_ARROW, "from pre to post, or to what choices leave"},
        {GLYPH_BULLET, "a head with a choice; choices that are not exported or saved"},
        {GLYPH_WAIT, "a number that is being computed"},
        {GLYPH_GONE, "the part of a bar that a choice took away"},
        {GLYPH_UP, "rows are sorted by this column, the smallest first"},
        {GLYPH_DOWN, "rows are sorted by this column, the largest first"}, {GLYPH_MORE, "the text goes on"},
        {GLYPH_AT_LEAST, "this much or more"}, {GLYPH_PLUS_MINUS, "standard error"}};
    add_heading(page, canvas, "Signs");
    for (size_t i = 0; i < sizeof SIGNS / sizeof SIGNS[0]; i++) {
        char sign[64];
        snprintf(sign, sizeof sign, " %s", theme_glyph(&app->theme, SIGNS[i].glyph));
        page_add(page, canvas, STYLE_CHOICE, sign, SIGNS[i].text);
    }
    page_add(page, canvas, STYLE_CHOICE, " -", "there is no such number");
}

static void open_help(struct app *app)
{
    struct help_view *view = app->state[SCREEN_HELP];
    view->of = app->depth > 1 ? app->screen[app->depth - 2] : SCREEN_LIST;
    view->signs = false;
    view->page.top = 0;
    open_text(app);
}

static void place_help(struct app *app, const struct canvas *canvas, struct area area)
{
    struct help_view *view = app->state[SCREEN_HELP];
    struct page *page = &view->page;
    bool other = view->made_of_signs != view->signs || view->made_of != view->of;
    if (other || page->width != text_width(area)) {
        page_begin(page, 20, text_width(area));
        if (view->signs) {
            add_numbers(app, page, canvas);
            add_signs(app, page, canvas);
        } else {
            add_keys(app, page, canvas, view->of);
        }
        view->made_of_signs = view->signs;
        view->made_of = view->of;
    }
    place_text(app, area);
}

static void draw_help(const struct app *app, struct canvas *canvas, struct area area)
{
    const struct help_view *view = app->state[SCREEN_HELP];
    draw_text_view(app, canvas, area,
        view->signs ? "help: modes, numbers and signs; Tab shows the keys"
                    : "help: every action by key, or by name after ':'; Tab shows numbers and signs");
}

unsigned run_signs(struct app *app, enum action action, const char *argument)
{
    struct help_view *view = app->state[SCREEN_HELP];
    (void)action;
    (void)argument;
    view->signs = !view->signs;
    view->page.top = 0;
    view->page.found = -1;
    return REFRESH_DRAW;
}

const struct screen_ops help_screen = {
    .state_size = sizeof(struct help_view),
    .open = open_help,
    .place = place_help,
    .draw = draw_help,
    .go = move_text,
    .find = find_text,
    .end = end_text,
};
