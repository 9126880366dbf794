/* run_heads.h - the choice of the selected head, where heads have the keys. */
#ifndef QK_UI_RUN_HEADS_H
#define QK_UI_RUN_HEADS_H

#include "blend/selection.h"

struct app;

/* The present choice of the selected head: a query head's for q, a key head's for k. A layer is selected. */
struct qk_choice head_choice(const struct app *app);
/* *next = the selection with that choice for it, as choose_head makes it; the caller frees it, also after a failure. */
enum qk_code would_choose_head(
    const struct app *app, struct qk_choice choice, struct qk_selection *next, struct qk_error *err);
/* Sets it, for the head's group where the mode acts on q and k at once, and reports it. Returns bits of enum
 * refresh. */
unsigned choose_head(struct app *app, struct qk_choice choice);

#endif
