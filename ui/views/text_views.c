/* text_views.c - help and earlier messages: pages made from the action table and the message log. */
#include "ui/app.h"

#include "ui/handlers.h"

#include <stdio.h>
#include <string.h>

static bool find_in(struct app *app, struct page *page, bool backwards)
{
    return page_find(page, app->rows.search, backwards);
}

/* --- help --- */

static void action_keys(const struct qk_action_info *info, const struct action_traits *traits, char out[64])
{
    if (info->keys[0] != '\0' && traits->argument == NULL)
        snprintf(out, 64, " %s", info->keys);
    else if (info->keys[0] != '\0')
        snprintf(out, 64, " %s  :%s", info->keys, info->name);
    else
        snprintf(out, 64, " :%s %s", info->name, traits->argument);
}

static void make_help(struct app *app, const struct canvas *canvas, int width)
{
    struct page *page = &app->help;
    const char *group = "";
    page_begin(page, 20, width);
    for (int i = 0; i < ACTION_COUNT; i++) {
        char keys[64];
        const struct qk_action_info *info = qk_action_info(i);
        if (!action_exists(app, (enum action)i))
            continue;
        if (strcmp(group, info->group) != 0) {
            if (i > 0)
                page_add(page, canvas, STYLE_TEXT, "", "");
            page_add(page, canvas, STYLE_HEADING, info->group, "");
        }
        group = info->group;
        action_keys(info, action_traits((enum action)i), keys);
        page_add(page, canvas, STYLE_KEY, keys, info->help);
    }
    page_add(page, canvas, STYLE_TEXT, "", "");
    page_add(page, canvas, STYLE_HEADING, "Modes", "");
    for (int m = 0; m < QK_MODE_COUNT; m++) {
        char name[64];
        const struct qk_mode_info *info = qk_mode_info((enum qk_mode)m);
        snprintf(name, sizeof name, " %s %s", info->name, app->theme.ascii ? info->ascii : info->symbol);
        page_add(page, canvas, STYLE_CHOICE, name, info->help);
    }
    page_add(page, canvas, STYLE_TEXT, "", "");
    page_add(page, canvas, STYLE_HEADING, "Numbers", "");
    for (int m = 0; m < QK_METRIC_COUNT; m++) {
        char name[64];
        const struct qk_metric_info *info = qk_metric_info((enum qk_metric)m);
        snprintf(name, sizeof name, " %s", info->key);
        page_add(page, canvas, STYLE_CHOICE, name, info->help);
    }
}

static struct area below_rule(struct area area)
{
    return (struct area){area.y + 1, area.x + 1, area.h - 1, area.w - 2};
}

static void place_help(struct app *app, const struct canvas *canvas, struct area area)
{
    if (app->help.width != area.w - 2)
        make_help(app, canvas, area.w - 2);
    page_place(&app->help, below_rule(area));
}

static void draw_help(const struct app *app, struct canvas *canvas, struct area area)
{
    draw_rule(
        canvas, area.y, area.x, area.w, STYLE_HEADING, "help: every action by key, or by name after ':'");
    page_draw(&app->help, canvas);
}

static void move_help(struct app *app, enum action action)
{
    page_move(&app->help, action);
}

static bool find_help(struct app *app, bool backwards)
{
    return find_in(app, &app->help, backwards);
}

const struct screen_ops help_screen = {
    .where = ON_TEXT,
    .place = place_help,
    .draw = draw_help,
    .go = move_help,
    .find = find_help,
};

/* --- messages --- */

static void place_messages(struct app *app, const struct canvas *canvas, struct area area)
{
    struct page *page = &app->message_page;
    if (page->width != area.w - 2) {
        page_begin(page, 0, area.w - 2);
        for (size_t i = app->messages.n; i-- > 0;)
            page_add(page, canvas, STYLE_TEXT, "", app->messages.line[i]);
    }
    page_place(page, below_rule(area));
}

static void draw_messages(const struct app *app, struct canvas *canvas, struct area area)
{
    draw_rule(canvas, area.y, area.x, area.w, STYLE_HEADING, "messages, the newest first");
    page_draw(&app->message_page, canvas);
}

static void move_messages(struct app *app, enum action action)
{
    page_move(&app->message_page, action);
}

static bool find_messages(struct app *app, bool backwards)
{
    return find_in(app, &app->message_page, backwards);
}

const struct screen_ops messages_screen = {
    .where = ON_TEXT,
    .place = place_messages,
    .draw = draw_messages,
    .go = move_messages,
    .find = find_messages,
};

unsigned run_view(struct app *app, enum action action, const char *argument)
{
    (void)argument;
    const struct screen_ops *screen = action == ACTION_HELP ? &help_screen : &messages_screen;
    if (top_screen(app) == screen)
        close_screen(app); /* the key that opened it closes it too */
    else
        open_screen(app, screen);
    return REFRESH_DRAW;
}
