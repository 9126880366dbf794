/* key.h - keys as one number each, and their names as the action table spells them. */
#ifndef QK_UI_KEY_H
#define QK_UI_KEY_H

#include <stddef.h>

/* A key is the code point of its character, or one of curses' codes moved out of their way. */
#define KEY_OF_CURSES(code) (0x200000 + (code))
#define KEY_POINTER KEY_OF_CURSES(KEY_MOUSE)
#define KEY_IGNORED (-1) /* a key that the program does not use */

/* Names that mean the same as another key (Enter of the number pad, DEL and Ctrl-H for Backspace) become that key. */
int key_normal(int key);
/* The key of a name such as "u", "Ctrl-R", "Space", "PgUp", "F1"; 0 for any other text (":set"). */
int key_of_name(const char *name, size_t n);

#endif
