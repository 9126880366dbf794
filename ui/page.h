/* page.h - scrollable lines of two columns: help, messages, the tensors of an export. */
#ifndef QK_UI_PAGE_H
#define QK_UI_PAGE_H

#include "ui/actions.h"
#include "ui/draw.h"

struct page_line {
    enum style style; /* of the left part, or of the whole line without one */
    char *left, *right;
};

struct page {
    struct page_line *line;
    size_t n, capacity;
    int left_width; /* cells of the left column */
    int width;      /* of the right column when it was wrapped */
    int top;
    struct area area; /* where it is shown */
    int found;        /* line that a search found, or -1 */
};

/* Empties the page for lines of this width. */
void page_begin(struct page *page, int left_width, int width);
/* Adds a line, which continues in further lines where it does not fit the right column. Without memory it adds none. */
void page_add(
    struct page *page, const struct canvas *canvas, enum style style, const char *left, const char *right);
void page_free(struct page *page);
/* Shows the page in that area: brings its first line into range. */
void page_place(struct page *page, struct area area);
/* Draws the lines that are in the page's area. */
void page_draw(const struct page *page, struct canvas *canvas);
/* Scrolls by an action of the group "Moving". */
void page_move(struct page *page, enum action action);
/* Goes to the next line (or the one before) that contains the text, without regard to case. */
bool page_find(struct page *page, const char *text, bool backwards);

#endif
