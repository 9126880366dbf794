/* messages_view.c - earlier messages. */
#include "ui/views/text_view.h"

struct messages_view {
    struct page page;
    size_t n; /* messages in the page */
};

static void place_messages(struct app *app, const struct canvas *canvas, struct area area)
{
    struct messages_view *view = app->state[SCREEN_MESSAGES];
    struct page *page = &view->page;
    if (page->width != text_width(area) || view->n != app->messages.n) {
        view->n = app->messages.n;
        page_begin(page, 0, text_width(area));
        for (size_t i = view->n; i-- > 0;)
            page_add(page, canvas, STYLE_TEXT, "", app->messages.line[i]);
    }
    place_text(app, area);
}

static void draw_messages(const struct app *app, struct canvas *canvas, struct area area)
{
    draw_text_view(app, canvas, area, "messages, the newest first");
}

const struct screen_ops messages_screen = {
    .state_size = sizeof(struct messages_view),
    .open = open_text,
    .place = place_messages,
    .draw = draw_messages,
    .go = move_text,
    .find = find_text,
    .end = end_text,
};
