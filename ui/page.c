/* page.c - scrolling, wrapping and finding in lines of two columns. */
#include "ui/page.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void page_free(struct page *page)
{
    for (size_t i = 0; i < page->n; i++) {
        free(page->line[i].left);
        free(page->line[i].right);
    }
    free(page->line);
    *page = (struct page){0};
}

void page_begin(struct page *page, int left_width, int width)
{
    int top = page->top;
    struct area area = page->area;
    page_free(page);
    *page = (struct page){.left_width = left_width, .width = width, .top = top, .area = area, .found = -1};
}

static void add_line(struct page *page, enum style style, const char *left, const char *right, size_t n)
{
    if (qk_grow(&page->line, &page->capacity, page->n + 1, sizeof *page->line, NULL) != QK_OK)
        return;
    struct page_line *line = &page->line[page->n];
    line->style = style;
    line->left = strdup(left);
    line->right = strndup(right, n);
    if (line->left != NULL && line->right != NULL) {
        page->n++;
        return;
    }
    free(line->left);
    free(line->right);
}

void page_add(
    struct page *page, const struct canvas *canvas, enum style style, const char *left, const char *right)
{
    int room = page->width - page->left_width;
    do {
        size_t n = text_fitting(canvas, right, room > 8 ? room : 8);
        add_line(page, style, left, right, n);
        right += n + strspn(right + n, " ");
        left = "";
    } while (*right != '\0');
}

static void clamp(struct page *page)
{
    int last = (int)page->n - page->area.h;
    page->top = page->top > last ? last : page->top;
    page->top = page->top < 0 ? 0 : page->top;
}

void page_place(struct page *page, struct area area)
{
    page->area = area;
    clamp(page);
}

void page_draw(const struct page *page, struct canvas *canvas)
{
    struct area area = page->area;
    for (int i = 0; i < area.h; i++) {
        int at = page->top + i, y = area.y + i;
        if (at >= (int)page->n)
            return;
        const struct page_line *line = &page->line[at];
        canvas->selected = at == page->found;
        bool whole = line->right[0] == '\0';
        draw_text(canvas, y, area.x, whole ? area.w : page->left_width, ALIGN_LEFT, line->style, line->left);
        if (!whole)
            draw_text(canvas, y, area.x + page->left_width, area.w - page->left_width, ALIGN_LEFT,
                line->left[0] == '\0' && page->left_width == 0 ? line->style : STYLE_TEXT, line->right);
        canvas->selected = false;
    }
}

void page_move(struct page *page, enum action action)
{
    int page_size = page->area.h > 1 ? page->area.h - 1 : 1, half = (page_size + 1) / 2;
    switch (action) {
    case ACTION_UP:
        page->top--;
        break;
    case ACTION_DOWN:
        page->top++;
        break;
    case ACTION_PAGE_UP:
        page->top -= page_size;
        break;
    case ACTION_PAGE_DOWN:
        page->top += page_size;
        break;
    case ACTION_HALF_UP:
        page->top -= half;
        break;
    case ACTION_HALF_DOWN:
        page->top += half;
        break;
    case ACTION_FIRST:
        page->top = 0;
        break;
    case ACTION_LAST:
        page->top = (int)page->n;
        break;
    default:
        break;
    }
    clamp(page);
}

bool page_find(struct page *page, const char *text, bool backwards)
{
    int n = (int)page->n, start = page->found >= 0 ? page->found : page->top - 1;
    if (page->found < 0 && backwards)
        start = page->top;
    for (int i = 1; i <= n; i++) {
        int at = ((backwards ? start - i : start + i) % n + n) % n;
        if (strcasestr(page->line[at].left, text) == NULL && strcasestr(page->line[at].right, text) == NULL)
            continue;
        page->found = at;
        if (at < page->top || at >= page->top + page->area.h)
            page->top = at - page->area.h / 2;
        clamp(page);
        return true;
    }
    return false;
}
