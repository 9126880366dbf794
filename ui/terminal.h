/* terminal.h - the terminal as a whole: start and stop of curses, signals, size, keys, mouse, stray output.
 *
 * Stopping restores the terminal and is done on every way out: terminal_stop, exit(3), and fatal signals. The
 * signals that a user sends only set events; the main loop acts on them. */
#ifndef QK_UI_TERMINAL_H
#define QK_UI_TERMINAL_H

#include "base/error.h"
#include "base/text.h"

#include <stdbool.h>

/* QK_USAGE when standard input or output is no terminal, or TERM is unknown or cannot place a cursor. */
enum qk_code terminal_check(struct qk_error *err);
/* Takes the terminal over. terminal_check must have passed. */
enum qk_code terminal_start(struct qk_error *err);
/* Gives the terminal back, and prints what was written to standard error meanwhile. Does nothing when not started. */
void terminal_stop(void);
/* Restores, after terminal_stop, the signals that end the program. Until then they do nothing more: the program
 * already obeys the first one, and a second one must not interrupt the work on the way out. */
void terminal_release(void);

enum terminal_event {
    EVENT_KEYS = 1,    /* terminal_key has something */
    EVENT_OTHER = 2,   /* the other descriptor is readable */
    EVENT_RESIZED = 4, /* the new size is in effect: draw everything */
    EVENT_SUSPEND = 8, /* SIGTSTP: call terminal_suspend */
    EVENT_END = 16,    /* SIGINT, SIGTERM, SIGHUP, SIGQUIT from outside, or the terminal is gone */
};
/* Waits for keys, for `other` to be readable, for signals, or for `milliseconds` (-1: without limit). */
unsigned terminal_wait(int other, int milliseconds);

/* The next key (key.h's codes) without waiting, or 0. */
int terminal_key(void);
/* True when the last key is part of a pasted text. */
bool terminal_pasting(void);
/* Discards keys that were typed ahead. */
void terminal_drain(void);

enum pointer_kind { POINTER_NONE, POINTER_PRESS, POINTER_UP, POINTER_DOWN };
struct pointer {
    enum pointer_kind kind;
    int y, x;
};
/* The action of the pointer, after terminal_key returned KEY_POINTER. */
struct pointer terminal_pointer(void);
void terminal_use_pointer(bool on);

/* Stops the process as Ctrl-Z does; afterwards the screen must be drawn anew. `from_key`: the terminal did not send
 * the signal to the process group, so this function does. False, without effect, where the signal was ignored when
 * the program began: no shell could continue it. */
bool terminal_suspend(bool from_key);
/* Sends the lines to the terminal's clipboard (OSC 52), hidden characters of each in their visible form: what is pasted
 * into a shell must not act. False without memory. */
bool terminal_copy(const struct qk_lines *names);

#endif
