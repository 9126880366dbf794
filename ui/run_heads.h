/* run_heads.h - the choice of the selected head, where heads have the keys. */
#ifndef QK_UI_RUN_HEADS_H
#define QK_UI_RUN_HEADS_H

#include "blend/selection.h"

struct app;

/* The present choice of the selected head: a query head's for q, a key head's for k. A layer is selected. */
struct qk_choice head_choice(const struct app *app);
/* Sets it, for the head's group where the mode acts on q and k at once, and reports it. Returns bits of enum
 * refresh. */
unsigned choose_head(struct app *app, struct qk_choice choice);

#endif
