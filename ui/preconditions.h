/* preconditions.h - the functions behind the rows of QK_PRECONDITIONS: what must be the case for an action. */
#ifndef QK_UI_PRECONDITIONS_H
#define QK_UI_PRECONDITIONS_H

#include "ui/actions.h"

#include <stdbool.h>

struct app;

typedef bool precondition_test(const struct app *app);
#define X(id, met, message, why) precondition_test met;
QK_PRECONDITIONS(X)
#undef X

/* The exact reason of an unmet precondition; NULL: the message of its row. */
typedef const char *precondition_reason(const struct app *app);
precondition_reason why_no_qk, why_busy, why_no_export, why_no_attention, why_no_needle, why_no_masses;

/* The reason of the first unmet precondition of these (NEEDS_ bits); NULL when all are met. */
const char *precondition_unmet(const struct app *app, unsigned needs);

#endif
