/* message.h - the last line of the screen: messages and questions. */
#ifndef QK_UI_MESSAGE_H
#define QK_UI_MESSAGE_H

#include "ui/theme.h"

struct app;
struct qk_error;

void say(struct app *app, enum style style, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Puts the notes of the checkpoints (model/pair.h) among the messages and says how many there are, or the only one. */
void say_notes(struct app *app);
/* Shows the error and returns REFRESH_FAILED | REFRESH_DRAW. */
unsigned say_error(struct app *app, const struct qk_error *err);
/* The same with a text of its own. */
unsigned say_failure(struct app *app, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Asks on the last line; only "y" runs `answer`. Discards keys that were typed ahead. */
void ask(struct app *app, unsigned (*answer)(struct app *app), const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
