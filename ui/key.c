/* key.c - names of keys. */
#include "ui/key.h"

#include <ctype.h>
#include <curses.h>
#include <string.h>

static const struct {
    const char *name;
    int key;
} NAMES[] = {
    {"Space", ' '},
    {"Enter", '\n'},
    {"Esc", 27},
    {"Tab", '\t'},
    {"Shift-Tab", KEY_OF_CURSES(KEY_BTAB)},
    {"Up", KEY_OF_CURSES(KEY_UP)},
    {"Down", KEY_OF_CURSES(KEY_DOWN)},
    {"Left", KEY_OF_CURSES(KEY_LEFT)},
    {"Right", KEY_OF_CURSES(KEY_RIGHT)},
    {"Home", KEY_OF_CURSES(KEY_HOME)},
    {"End", KEY_OF_CURSES(KEY_END)},
    {"PgUp", KEY_OF_CURSES(KEY_PPAGE)},
    {"PgDn", KEY_OF_CURSES(KEY_NPAGE)},
    {"Backspace", KEY_OF_CURSES(KEY_BACKSPACE)},
    {"Delete", KEY_OF_CURSES(KEY_DC)},
    {"F1", KEY_OF_CURSES(KEY_F(1))},
    {"F5", KEY_OF_CURSES(KEY_F(5))},
};

int key_normal(int key)
{
    if (key == '\r' || key == KEY_OF_CURSES(KEY_ENTER))
        return '\n';
    if (key == 0x7f || key == '\b')
        return KEY_OF_CURSES(KEY_BACKSPACE);
    return key == 0 ? KEY_IGNORED : key;
}

int key_of_name(const char *name, size_t n)
{
    if (n == 1)
        return (unsigned char)name[0];
    if (n == 6 && strncmp(name, "Ctrl-", 5) == 0)
        return toupper((unsigned char)name[5]) & 0x1f;
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (strlen(NAMES[i].name) == n && strncmp(NAMES[i].name, name, n) == 0)
            return NAMES[i].key;
    return 0;
}
