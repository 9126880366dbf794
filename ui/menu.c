/* menu.c - filling, placing and drawing a menu, and its keys. */
#include "ui/menu.h"

#include "ui/app.h"
#include "ui/key.h"

#include <stdio.h>
#include <string.h>

enum { KEY_CELLS = 2, GAP = 2 };

unsigned menu_open(struct app *app, void (*fill)(struct app *app, struct menu *menu),
    unsigned (*take)(struct app *app, int value), int value)
{
    struct menu *menu = &app->menu;
    *menu = (struct menu){.open = true, .fill = fill, .take = take};
    fill(app, menu);
    for (int i = menu->n - 1; i >= 0; i--) /* without it, on the first that can be taken */
        if (menu->entry[i].key != 0 &&
            (menu->entry[i].value == value || menu->entry[menu->selected].value != value))
            menu->selected = i;
    return REFRESH_DRAW;
}

struct menu_entry *menu_add(struct menu *menu, int key, int value, const char *name)
{
    static struct menu_entry full; /* what is written there is not shown */
    struct menu_entry *entry = menu->n < MENU_ENTRIES ? &menu->entry[menu->n++] : &full;
    *entry = (struct menu_entry){.key = key, .value = value};
    snprintf(entry->name, sizeof entry->name, "%s", name);
    return entry;
}

/* --- the layout --- */

static int name_cells(const struct canvas *canvas, const struct menu *menu)
{
    int most = 0;
    for (int i = 0; i < menu->n; i++) {
        int cells = text_cells(canvas, menu->entry[i].name);
        most = cells > most ? cells : most;
    }
    return most;
}

/* Cells of the widest entry: its key, name and note. */
static int entry_cells(const struct canvas *canvas, const struct menu *menu)
{
    int most = 0, name = name_cells(canvas, menu);
    for (int i = 0; i < menu->n; i++) {
        int note = text_cells(canvas, menu->entry[i].note);
        int cells = KEY_CELLS + name + (note > 0 ? GAP + note : 0);
        most = cells > most ? cells : most;
    }
    return most;
}

static int rows_of(const struct menu *menu)
{
    return (menu->n + menu->columns - 1) / menu->columns;
}

void menu_place(struct app *app, const struct canvas *canvas, struct area area, int keep)
{
    struct menu *menu = &app->menu;
    menu->n = 0;
    menu->fill(app, menu);
    if (menu->selected >= menu->n)
        menu->selected = 0;
    int width = area.w - 2, cells = entry_cells(canvas, menu) + GAP;
    menu->columns = cells < width ? width / cells : 1;
    int h = rows_of(menu) + 1;
    h = h > area.h ? area.h : h;
    int y = area.y + area.h - h;
    if (keep >= y && keep < area.y + area.h)
        y = area.y;
    menu->area = (struct area){y, area.x, h, area.w};
}

/* Where entry i stands; h 0: it has no place. Entries go down first. */
static struct area place_of(const struct menu *menu, int i)
{
    int rows = rows_of(menu), cells = (menu->area.w - 2) / menu->columns, row = i % rows;
    return (struct area){
        menu->area.y + 1 + row, menu->area.x + 1 + i / rows * cells, row < menu->area.h - 1, cells - 1};
}

void menu_draw(const struct menu *menu, struct canvas *canvas)
{
    struct area all = menu->area;
    int name = name_cells(canvas, menu);
    draw_rule(canvas, all.y, all.x, all.w, STYLE_FOCUS, menu->title);
    for (int y = all.y + 1; y < all.y + all.h; y++)
        draw_text(canvas, y, all.x, all.w, ALIGN_LEFT, STYLE_TEXT, "");
    for (int i = 0; i < menu->n; i++) {
        const struct menu_entry *entry = &menu->entry[i];
        struct area area = place_of(menu, i);
        if (area.h == 0)
            continue;
        char key[2] = {(char)entry->key, '\0'};
        canvas->selected = i == menu->selected && entry->key != 0;
        if (canvas->selected) {
            draw_text(canvas, area.y, area.x, area.w, ALIGN_LEFT, STYLE_TEXT, "");
            canvas->cursor_y = area.y;
            canvas->cursor_x = area.x;
        }
        draw_text(canvas, area.y, area.x, 1, ALIGN_LEFT, STYLE_KEY, key);
        draw_text(canvas, area.y, area.x + KEY_CELLS, name, ALIGN_LEFT,
            entry->key != 0 ? STYLE_TEXT : STYLE_HEADING, entry->name);
        if (entry->note[0] != '\0')
            draw_text(canvas, area.y, area.x + KEY_CELLS + name + GAP, area.w - KEY_CELLS - name - GAP,
                ALIGN_LEFT, entry->style, entry->note);
        canvas->selected = false;
    }
}

/* --- keys --- */

static unsigned take(struct app *app, int i)
{
    struct menu *menu = &app->menu;
    if (i >= menu->n || menu->entry[i].key == 0)
        return REFRESH_DRAW;
    menu->open = false;
    app->message[0] = '\0';
    return menu->take(app, menu->entry[i].value) | REFRESH_DRAW;
}

/* Goes on to an entry that can be taken. */
static void go(struct menu *menu, int step)
{
    int i = menu->selected;
    if (menu->n == 0)
        return;
    do
        i = (i + step + menu->n) % menu->n;
    while (menu->entry[i].key == 0 && i != menu->selected);
    menu->selected = i;
}

unsigned menu_takes(struct app *app, int key)
{
    struct menu *menu = &app->menu;
    for (int i = 0; i < menu->n; i++)
        if (menu->entry[i].key != 0 && menu->entry[i].key == key)
            return take(app, i);
    if (menu->key != NULL && menu->key(app, key, menu->entry[menu->selected].value))
        return REFRESH_DRAW;
    if (key == KEY_OF_CURSES(KEY_DOWN) || key == 'j' || key == '\t')
        go(menu, 1);
    else if (key == KEY_OF_CURSES(KEY_UP) || key == 'k' || key == KEY_OF_CURSES(KEY_BTAB))
        go(menu, -1);
    else if (key == KEY_OF_CURSES(KEY_RIGHT) && menu->selected + rows_of(menu) < menu->n)
        menu->selected += rows_of(menu);
    else if (key == KEY_OF_CURSES(KEY_LEFT) && menu->selected >= rows_of(menu))
        menu->selected -= rows_of(menu);
    else if (key == '\n' || key == ' ')
        return take(app, menu->selected);
    else if (key == 27 || key == 'q' || key == ('C' & 0x1f))
        menu->open = false;
    return REFRESH_DRAW;
}

unsigned menu_pressed(struct app *app, int y, int x)
{
    struct menu *menu = &app->menu;
    for (int i = 0; i < menu->n; i++) {
        struct area area = place_of(menu, i);
        if (menu->entry[i].key != 0 && area.h > 0 && y == area.y && x >= area.x && x < area.x + area.w)
            return take(app, i);
    }
    menu->open = false;
    return REFRESH_DRAW;
}
