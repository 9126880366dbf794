/* row_requests.c - the books of requests for rows of attention. */
#include "session/row_requests.h"

#include <stdlib.h>
#include <string.h>

void qk_answered_rows_free(struct answered_rows *rows)
{
    for (int s = 0; s < QK_RANGE_SIDES; s++)
        free(rows->row[s]);
    memset(rows, 0, sizeof *rows);
}

void qk_row_requests_init(struct row_requests *requests)
{
    *requests = (struct row_requests){.rows.layer = -1, .asked.layer = -1};
}

void qk_row_requests_free(struct row_requests *requests)
{
    qk_answered_rows_free(&requests->rows);
}

bool qk_row_requests_take(
    struct row_requests *requests, struct follow *follow, struct follow_job *job, size_t *query)
{
    if (!requests->wanted)
        return false;
    requests->wanted = false;
    *query = requests->query;
    *job = (struct follow_job){.layer = requests->layer,
        .generation = follow->asked[requests->layer],
        .norms = follow->norms,
        .chosen = qk_follow_chosen(follow, requests->layer)};
    return true;
}

void qk_row_requests_publish(
    struct row_requests *requests, struct answered_rows *rows, const struct qk_error *error)
{
    qk_answered_rows_free(&requests->rows);
    requests->rows = *rows;
    memset(rows, 0, sizeof *rows);
    requests->error = *error;
    if (error->code != QK_OK) {
        qk_answered_rows_free(&requests->rows);
        requests->rows.layer = -1;
    }
}

static void ask(struct row_requests *requests, struct follow *follow, int layer, size_t query)
{
    struct answered_rows *asked = &requests->asked;
    unsigned generation = follow->asked[layer];
    if (asked->layer == layer && asked->query == query && asked->generation == generation)
        return;
    asked->layer = layer;
    asked->query = query;
    asked->generation = generation;
    requests->error = (struct qk_error){0};
    pthread_mutex_lock(&follow->mutex);
    requests->wanted = true;
    requests->layer = layer;
    requests->query = query;
    pthread_cond_broadcast(&follow->work);
    pthread_mutex_unlock(&follow->mutex);
}

const float *qk_row_requests_get(struct row_requests *requests, struct follow *follow, int layer, int head,
    size_t query, enum qk_range_side side)
{
    const struct answered_rows *rows = &requests->rows;
    unsigned generation = follow->asked[layer];
    bool here = rows->layer == layer && rows->query == query;
    if (!here || rows->generation != generation)
        ask(requests, follow, layer, query);
    if (!here || head < 0 || head >= rows->n_heads)
        return NULL;
    if (side == QK_RANGE_CURRENT && !qk_follow_chosen(follow, layer))
        side = QK_RANGE_POST;
    else if (side == QK_RANGE_CURRENT && rows->generation != generation)
        return NULL;
    const float *row = rows->row[side];
    return row != NULL ? row + (size_t)head * (query + 1) : NULL;
}
