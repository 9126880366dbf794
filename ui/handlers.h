/* handlers.h - the handlers of all actions, declared from their table: those of run_NAME.c, and of the views. */
#ifndef QK_UI_HANDLERS_H
#define QK_UI_HANDLERS_H

#include "ui/actions.h"

struct app;

/* Runs the action and returns bits of enum refresh; never draws. `argument`: the text typed after the name or into the
 * prompt; NULL: none yet. */
typedef unsigned action_handler(struct app *app, enum action action, const char *argument);

/* A handler serves several actions: declaring it again does no harm. */
#define X(id, group, name, keys, rank, hint, help, argument, where, needs, run) action_handler run;
QK_ACTIONS(X)
#undef X

#endif
