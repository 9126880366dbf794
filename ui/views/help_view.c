/* help_view.c - help: every action, mode and number, from their tables. */
#include "ui/views/text_view.h"

#include "ui/dispatch.h"

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

static void make_help(const struct app *app, struct page *page, const struct canvas *canvas, int width)
{
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

static void place_help(struct app *app, const struct canvas *canvas, struct area area)
{
    struct page *page = app->state[SCREEN_HELP];
    if (page->width != text_width(area))
        make_help(app, page, canvas, text_width(area));
    place_text(app, area);
}

static void draw_help(const struct app *app, struct canvas *canvas, struct area area)
{
    draw_text_view(app, canvas, area, "help: every action by key, or by name after ':'");
}

const struct screen_ops help_screen = {
    .state_size = sizeof(struct page),
    .open = open_text,
    .place = place_help,
    .draw = draw_help,
    .go = move_text,
    .find = find_text,
    .end = end_text,
};
