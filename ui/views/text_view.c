/* text_view.c - views that are one page under a heading. */
#include "ui/views/text_view.h"

#include "ui/handlers.h"

static struct page *page_of(const struct app *app)
{
    return app->state[top_screen(app)];
}

int text_width(struct area area)
{
    return area.w - 2;
}

void open_text(struct app *app)
{
    page_of(app)->found = -1;
}

void place_text(struct app *app, struct area area)
{
    page_place(page_of(app), (struct area){area.y + 1, area.x + 1, area.h - 1, text_width(area)});
}

void draw_text_view(const struct app *app, struct canvas *canvas, struct area area, const char *heading)
{
    draw_rule(canvas, area.y, area.x, area.w, STYLE_HEADING, heading);
    page_draw(page_of(app), canvas);
}

void move_text(struct app *app, enum action action)
{
    page_move(page_of(app), action);
}

bool find_text(struct app *app, bool backwards)
{
    return page_find(page_of(app), app->rows.search, backwards);
}

void end_text(void *state)
{
    page_free(state);
}

unsigned run_view(struct app *app, enum action action, const char *argument)
{
    (void)argument;
    return toggle_screen(app, action == ACTION_HELP ? SCREEN_HELP : SCREEN_MESSAGES);
}
