/* search_confirm.c - the answers of the front to the cases that were held out. */
#include "eval/search_steps.h"

#include "base/mem.h"

#include <stdlib.h>

/* *list = the trials on the front, those farthest from their neighbours first, as time may not suffice for all. */
static enum qk_code list_front(
    const struct qk_search *search, struct qk_trial ***list, size_t *n, struct qk_error *err)
{
    QK_TRY(qk_alloc(list, search->n_trials, sizeof **list, err));
    *n = 0;
    for (size_t i = 0; i < search->n_trials; i++)
        if (search->trial[i]->front)
            (*list)[(*n)++] = search->trial[i];
    return qk_search_rank(search, *list, *n, err);
}

enum qk_code qk_search_confirm(struct qk_search *search, struct qk_error *err)
{
    struct qk_trial **list = NULL;
    size_t n;
    if (search->parts->n_cases[QK_CONFIRMED] == 0)
        return QK_OK;
    search->parts->end = 1;
    QK_TRY(qk_search_mark_front(search, err));
    QK_TRY(qk_search_ask_held_out(search, search->trial[0], "confirm", err));
    QK_TRY(qk_search_ask_pre(search, QK_CONFIRMED, err));
    enum qk_code code = list_front(search, &list, &n, err);
    for (size_t i = 0; i < n && code == QK_OK; i++)
        code = qk_search_ask_held_out(search, list[i], "confirm", err);
    free(list);
    return code;
}
