/* row_requests.h - requests for the attention of a layer from one token, and their answers. A run that follows choices
 * (follow.h) has one, and its thread computes the rows. */
#ifndef QK_SESSION_ROW_REQUESTS_H
#define QK_SESSION_ROW_REQUESTS_H

#include "session/follow.h"
#include "session/ranges.h"

enum { QK_RANGE_SIDES = QK_RANGE_CURRENT + 1 };

/* The attention of all heads of a layer from one query; in events and published. */
struct answered_rows {
    int layer;
    size_t query;
    unsigned generation; /* of the layer's choices; for `current` */
    int n_heads;
    float *row[QK_RANGE_SIDES]; /* (n_heads, query + 1), owned */
};
void qk_answered_rows_free(struct answered_rows *rows);

struct row_requests {
    /* Guarded by the follow's lock. */
    bool wanted;
    int layer;
    size_t query;
    /* --- the front end's --- */
    struct answered_rows rows, asked;
    struct qk_error error; /* of the last answer */
};
void qk_row_requests_init(struct row_requests *requests);
void qk_row_requests_free(struct row_requests *requests);

/* With the lock held: takes the request, if there is one: job->chosen says whether `current` differs from post. */
bool qk_row_requests_take(
    struct row_requests *requests, struct follow *follow, struct follow_job *job, size_t *query);
/* Publishes an answer, whose rows it takes over. */
void qk_row_requests_publish(
    struct row_requests *requests, struct answered_rows *rows, const struct qk_error *error);
/* The row of a head, or NULL; it asks for what is not there. A new request replaces the one before. */
const float *qk_row_requests_get(struct row_requests *requests, struct follow *follow, int layer, int head,
    size_t query, enum qk_range_side side);

#endif
