/* dispatch.h - actions by key, by name, and with the argument that a prompt asks for. */
#ifndef QK_UI_DISPATCH_H
#define QK_UI_DISPATCH_H

#include "ui/actions.h"

#include <stdbool.h>

struct app;

/* Why the action cannot run in this view and state, or NULL. */
const char *action_blocked(const struct app *app, enum action action);
/* False for hidden actions: under --readonly those that write. */
bool action_exists(const struct app *app, enum action action);
/* Runs the action, or reports why it cannot. Functions that return unsigned return bits of enum refresh. */
unsigned run_action(struct app *app, enum action action, const char *argument);
/* The action that the key means here, or ACTION_NONE. */
enum action action_for_key(const struct app *app, int key);
/* Opens a prompt whose text becomes the argument of `action`. */
unsigned ask_argument(
    struct app *app, enum action action, const char *label, const char *initial, const char *note);
/* Gives a key to the open prompt. */
unsigned prompt_takes(struct app *app, int key);

#endif
