/* menu.h - a list of entries over the view, each with a key, from which one is taken. */
#ifndef QK_UI_MENU_H
#define QK_UI_MENU_H

#include "ui/draw.h"

#include <stdbool.h>

struct app;

enum { MENU_ENTRIES = 20, MENU_NAME = 24, MENU_NOTE = 120 };

struct menu_entry {
    int key;              /* that takes it; 0: none, it only says something */
    int value;            /* what it stands for, to the one who asks */
    char name[MENU_NAME]; /* "" without a note: a heading */
    char note[MENU_NOTE];
    enum style style; /* of the note */
};

struct menu {
    bool open;
    char title[MENU_NOTE];
    struct menu_entry entry[MENU_ENTRIES];
    int n, selected;
    /* Fills title and entries, before each frame: what they say may change while the menu is open. */
    void (*fill)(struct app *app, struct menu *menu);
    /* Called with the value of the taken entry, after the menu closed. Returns bits of enum refresh. */
    unsigned (*take)(struct app *app, int value);
    /* Takes a key that no entry has; false: it means nothing. NULL: there are none. */
    bool (*key)(struct app *app, int key, int value);
    struct area area; /* where it was placed: the title, then the entries */
    int columns;      /* entries beside each other */
};

/* Opens it with the pointer on the entry of that value. */
unsigned menu_open(struct app *app, void (*fill)(struct app *app, struct menu *menu),
    unsigned (*take)(struct app *app, int value), int value);
/* Adds an entry in `fill`. */
struct menu_entry *menu_add(struct menu *menu, int key, int value, const char *name);
/* Lays the menu out in the lower part of the area, or in the upper one where it would cover row `keep` of the screen.
 */
void menu_place(struct app *app, const struct canvas *canvas, struct area area, int keep);
void menu_draw(const struct menu *menu, struct canvas *canvas);
/* Gives a key to the open menu, or a press at that place of the screen. Returns bits of enum refresh. */
unsigned menu_takes(struct app *app, int key);
unsigned menu_pressed(struct app *app, int y, int x);

#endif
