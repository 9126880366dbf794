/* mode_menu.h - the menu of key m: the choices that the selected layers allow, with what each would do to them. */
#ifndef QK_UI_MODE_MENU_H
#define QK_UI_MODE_MENU_H

#include "blend/choice.h"

struct app;

unsigned open_modes(struct app *app);

/* --- run_choices.c --- */
/* Lists the layers with q and k on which keys act in app->targets; returns how many. NEEDS_QK guarantees one. */
int choice_targets(struct app *app);
/* Sets the mode, with its last parameter, of the selected head where heads have the keys, else of those layers. */
unsigned choose_mode(struct app *app, enum qk_mode mode);
/* The next parameter of a mode from `value` on, in its steps: alpha in 0.05, lambda over nice numbers. */
double step_param(const struct qk_mode_info *info, double value, int direction);

#endif
