/* eval_view.h - the evaluation: right answers, and below them the search for selections (search_view.h). */
#ifndef QK_UI_VIEWS_EVAL_VIEW_H
#define QK_UI_VIEWS_EVAL_VIEW_H

#include "ui/views/search_view.h"

/* app->state[SCREEN_EVAL] */
struct eval_view {
    int top, height; /* first task shown, and how many */
    struct search_view search;
};

/* True while cases are read or asked. */
bool evaluation_busy(const struct app *app);

#endif
